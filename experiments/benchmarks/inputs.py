"""Mini-batches of noise, the same for all; NumPy alone, since every contestant's process may need them."""

import numpy as np

from benchmarks.nets import Net

CLASSES = 10


def batches(net: Net, number: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (number, size, *image), channels last, and labels (number, size)."""
    draw = np.random.default_rng(seed)
    xs = draw.normal(size=(number, size, *net.shape)).astype(np.float32)
    return xs, draw.integers(0, CLASSES, (number, size)).astype(np.int32)


def noise(*shape: int, seed: int) -> np.ndarray:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
