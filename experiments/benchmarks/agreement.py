"""What all contestants compute has to be the same: no time is taken of one that does something else.

`departure` compares a contestant with the same computation in double precision. Autodiff in single precision measures
how far rounding alone leads away from it: this distance grows from step to step, and it jumps where rounding decides a
comparison. So the first steps are compared to six digits, and later ones as closely as possible.

`disagreements` needs no reference: it compares each contestant with the median of all.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

Key = TypeVar("Key")
Answers = Mapping[str, Any]

MULTIPLE = 8.0  # of the measured distance, which is a maximum over few courses
COURSES = ("losses",)  # the answers whose first axis is time: what comes later may be farther off


class Reference(NamedTuple):
    """What autodiff computes.

    Attributes:
        exact: In double precision.
        rounded: In single precision, each from parameters that differ in their last bit.
    """

    exact: Answers
    rounded: Sequence[Answers]


def departure(answers: Answers, reference: Reference) -> tuple[float, str]:
    """How far a contestant is from the reference, as a share of the distance that is allowed, and a line about it.

    That distance is `MULTIPLE` times the largest among the rounded courses, or of one rounding if that is larger.
    Distances are relative to |exact| + rms of exact. Up to 1 a contestant agrees; NaN and other shapes give infinity.
    """
    worst, line = 0.0, ""
    for name in answers:
        array, exact = np.asarray(answers[name]), np.asarray(reference.exact[name])
        if array.shape != exact.shape:
            return np.inf, f"{name} has shape {array.shape}, the reference's {exact.shape}"
        allowed = _allowed(exact, [np.asarray(own[name]) for own in reference.rounded], name in COURSES)
        shares = np.abs(array - exact) / allowed
        shares = np.where(np.isnan(shares), np.inf, shares)
        if shares.max() > worst:
            place = np.unravel_index(np.argmax(shares), shares.shape)
            worst, where = float(shares[place]), f"[{', '.join(map(str, place))}]" if place else ""
            line = (
                f"{name}{where} is {array[place]:.8g}, in double precision {exact[place]:.8g}: "
                f"{worst:.3g} times the distance that rounding explains"
            )
    return worst, line


def _allowed(exact: np.ndarray, rounded: Sequence[np.ndarray], course: bool) -> np.ndarray:
    scale = np.abs(exact) + np.sqrt(np.mean(np.square(exact)))
    distances = np.max([np.abs(own - exact) / scale for own in rounded], axis=0)
    widest = np.maximum.accumulate(distances) if course else distances.max()
    return MULTIPLE * np.maximum(widest, np.finfo(np.float32).eps) * scale


def disagreements(answers: Mapping[Key, Answers], tolerance: float) -> dict[Key, str]:
    """A line for each contestant that is not near the median of all, entry by entry.

    Args:
        answers: What each computed, arrays by name.
        tolerance: |a - b| <= tolerance (|b| + rms of b), b being the median.

    Returns:
        Nothing where all agree. Of two that differ the median says nothing: both are named.
    """
    found: dict[Key, str] = {}
    for name in dict.fromkeys(name for own in answers.values() for name in own):
        arrays = {key: np.asarray(own[name]) for key, own in answers.items() if name in own}
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
