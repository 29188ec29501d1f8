"""Tests that need other libraries: cases that others wrote (ONNX, PyTorch), and fnnet beside PyTorch, Flax, Equinox."""
