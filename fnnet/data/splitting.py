"""Which examples of a data set without a split of its own are held out."""

import numpy as np

HELD_OUT = 0.2


def held_out_rows(ys: np.ndarray, share: float = HELD_OUT, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The rows to train on and those to hold out, each in order: of every class the same share, at least one.

    Raises:
        ValueError: The share is not between 0 and 1, or a class has fewer than two examples.
    """
    if not 0 < share < 1:
        raise ValueError(f"load: held_out (={share!r}) must be a number between 0 and 1")
    rng = np.random.default_rng(seed)
    is_held_out = np.zeros(len(ys), bool)
    for label in np.unique(ys):
        rows = rng.permutation(np.flatnonzero(ys == label))
        if len(rows) < 2:
            raise ValueError(f"load: class {label} has one example; it must have two, one of them to hold out")
        is_held_out[rows[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
