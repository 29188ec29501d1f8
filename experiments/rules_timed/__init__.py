"""Each rule beside autodiff and PyTorch: see __main__.py."""
