"""How fast fnnet is beside autodiff, Flax NNX, Equinox and PyTorch, measured in turn: see README.md."""
