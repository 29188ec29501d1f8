"""Values that no argument of a kind may have, for `Proof.refused`."""

from typing import Any

import numpy as np

HUGE = 10**20
# Neither a number nor a sequence of numbers.
NOT_NUMBERS: tuple[Any, ...] = ("", "2", b"1", object(), slice(2), {1, 2}, {1: 1, 2: 2}, len, 1j)
NOT_INTEGERS = (*NOT_NUMBERS, 0.5, 2.0, float("nan"), float("inf"), [[1], 2], np.ones(2), np.float32(2))
TOO_SMALL = (0, -1, -HUGE)
# Of an argument with one entry for each of two axes, or one for both.
NOT_TWO = ((), (1,), (1, 2, 3), [1, 1, 1, 1])
ONE_OF_TWO = ((1, 0), (-3, 2), (2, 1.5), ("1", 1), (None, 1), (-HUGE, 1))
STEPS = (*NOT_INTEGERS, *TOO_SMALL, *NOT_TWO, *ONE_OF_TWO)
PADDINGS = (
    *(None, *NOT_INTEGERS, "FULL", -1, -HUGE, *NOT_TWO),
    *(((0, 1), pair) for pair in ((-1, 0), (0, -3), (1,), (1, 2, 3), (1, 0.5), (1, "1"), (1, None))),
)
FLAGS = (None, 0, 1, "True", *NOT_INTEGERS)
COUNTS = (None, *NOT_INTEGERS, *TOO_SMALL, *NOT_TWO)
NOT_ARRAYS = (None, "x", object(), {"a": 1}, [[1.0], [1.0, 2.0]], np.array(["a"]), np.ones((2, 2), object))
NOT_FLOATING = tuple(np.ones((2, 5, 5, 4), dtype) for dtype in ("complex64", "int32", "uint8", "bool"))


def ones(*shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Floating arrays of these shapes."""
    return tuple(np.ones(shape, np.float32) for shape in shapes)
