"""Cases that others wrote: the ONNX backend's, and PyTorch's OpInfo with torch's autograd as the oracle."""
