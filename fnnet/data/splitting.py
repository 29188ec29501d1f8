"""Which examples of a data set without a split of its own are held out."""

import numpy as np
from jaxtyping import Int, Int32

HELD_OUT = 0.2


def held_out_rows(
    function: str, ys: Int32[np.ndarray, " examples"], share: int | float = HELD_OUT, seed: int = 0
) -> tuple[Int[np.ndarray, " kept"], Int[np.ndarray, " held"]]:
    """The rows to train on and those to hold out, each in order, as int64: of every class the same share.

    Args:
        function: The name that begins an error.
        ys: Labels, int32.
        share: Of each class; at least one example is held out, and at least one is not. 1 holds out all.
        seed: An integer from 0 to 2**32 - 1.

    Raises:
        ValueError: The share is not above 0 and at most 1, the seed is another, or a class has fewer than two examples.
    """
    if not isinstance(share, float | int | np.number) or not 0 < share <= 1:
        raise ValueError(f"{function}: held_out (={share!r}) must be a number above 0, and at most 1")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"{function}: seed (={seed!r}) must be an integer from 0 to 2**32 - 1")
    if share == 1:
        return np.arange(0), np.arange(len(ys))
    rng = np.random.default_rng(seed)
    is_held_out = np.zeros(len(ys), bool)
    for label in np.unique(ys):
        rows = rng.permutation(np.flatnonzero(ys == label))
        if len(rows) < 2:
            raise ValueError(f"{function}: class {label} has one example; it must have two, one of them to hold out")
        is_held_out[rows[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
