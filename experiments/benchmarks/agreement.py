"""What all contestants compute has to be the same: no time is taken of one that does something else."""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

Key = TypeVar("Key")
Answers = Mapping[str, Any]


def disagreements(answers: Mapping[Key, Answers], tolerance: float) -> dict[Key, str]:
    """A line for each contestant that is not near the median of all, entry by entry.

    Args:
        answers: What each computed, arrays by name.
        tolerance: |a - b| <= tolerance (|b| + rms of b), b being the median.

    Returns:
        Nothing where all agree. Of two that differ the median says nothing: both are named.
    """
    found: dict[Key, str] = {}
    for name in next(iter(answers.values()), {}):
        arrays = {key: np.asarray(own[name]) for key, own in answers.items()}
        shapes = [array.shape for array in arrays.values()]
        usual = max(set(shapes), key=shapes.count)
        alike = np.stack([array for array in arrays.values() if array.shape == usual])
        median = np.median(np.where(np.isnan(alike), np.inf, alike), axis=0)
        for key, array in arrays.items():
            if array.shape != usual:
                found.setdefault(key, f"{name} has shape {array.shape}, the others' {usual}")
            elif line := _difference(name, array, median, tolerance):
                found.setdefault(key, line)
    return found


def _difference(name: str, array: np.ndarray, median: np.ndarray, tolerance: float) -> str:
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        scale = np.abs(median) + np.sqrt(np.mean(np.square(median)))
        right = (np.abs(array - median) <= tolerance * scale) & np.isfinite(median)  # and False for NaN
    if right.all():
        return ""
    worst = np.unravel_index(np.argmin(right), right.shape)
    place, wrong = ", ".join(map(str, worst)), np.sum(~right)
    return (
        f"{name}[{place}] is {array[worst]:.8g}, the median of all {median[worst]:.8g}; {wrong} of {right.size} differ"
    )
