"""Mini-batches of noise, the same for all; NumPy alone, since every contestant's process may need them."""

import numpy as np

from benchmarks.nets import Net

CLASSES = 10


def batches(net: Net, number: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (number, size, *image), channels last, and labels (number, size).

    For texts: tokens, and the token after each, both (number, size, length).
    """
    draw = np.random.default_rng(seed)
    if net.vocabulary is not None:
        texts = draw.integers(0, net.vocabulary, (number, size, net.shape[0] + 1)).astype(np.int32)
        return texts[..., :-1], texts[..., 1:]
    xs = draw.normal(size=(number, size, *net.shape)).astype(np.float32)
    return xs, draw.integers(0, CLASSES, (number, size)).astype(np.int32)


def noise(*shape: int, seed: int) -> np.ndarray:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
