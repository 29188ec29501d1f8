"""What a rule does at kinks and ties where the reference does the same, and when equal entries may swap gradients."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fnnet.checking.programs import as_wide
from fnnet.checking.session import Session
from fnnet.checking.tolerance import Expected

MOST_ENTRIES = 16
AS_THE_REFERENCE = ", as in the reference"
Leaves = Sequence[Any]


def share(session: Session, leaves: Leaves, where: str, expected: Expected, bars: list[np.ndarray]) -> None:
    """For each argument whose cotangent jumps at these leaves, and does so for the first time: what the rule does."""
    for k, (path, ours) in enumerate(zip(session.subject.moving_paths(), bars, strict=True)):
        if path in session.shared or k in session.settled or np.iscomplexobj(ours):
            continue
        finite = np.isfinite(as_wide(leaves[session.subject.places[k]]))
        if not (expected.jumps[k] & finite & (np.abs(ours - expected.bars[k]) <= expected.bar_allowed[k])).any():
            continue
        taken = next(filter(None, (_taken(session, leaves, k, entry, finite) for entry in _outputs(expected))), "")
        if taken:
            session.shared[path] = f"{path}: {taken}{AS_THE_REFERENCE}; seen at {where}"


def swapped(leaf: Any, ours: np.ndarray, theirs: np.ndarray, jumps: np.ndarray, allowed: float) -> np.ndarray:
    """Entries of a leaf whose gradients are those of entries equal to them, in another order, such as sorting gives.

    All of them have to be at a tie: elsewhere another order is an error.
    """
    found = np.zeros(ours.shape, bool)
    if np.iscomplexobj(ours) or not np.isfinite(ours).all():
        return found
    differs = np.abs(ours - theirs) > allowed
    for value in np.unique(as_wide(leaf)[differs & jumps]):
        equals = as_wide(leaf) == value
        same = np.abs(np.sort(ours[equals]) - np.sort(theirs[equals])) <= allowed
        if same.all() and jumps[equals & differs].all():
            found |= equals
    return found


def _outputs(expected: Expected) -> list[int]:
    """Entries of the first output, by their flat numbers: from the middle on, away from padding."""
    size = expected.outs[0].size
    return [(size // 2 + n) % size for n in range(min(size, MOST_ENTRIES))]


def _taken(session: Session, leaves: Leaves, k: int, entry: int, finite: np.ndarray) -> str:
    """Who gets the gradient of one output entry, among the entries at a kink or tie; finite differences find these."""
    output_bars = [0 * bar for bar in session.output_bars(leaves, "kinks")]
    output_bars[0].flat[entry] = 1
    jumps = session.expected(leaves, output_bars).jumps[k]
    ours = as_wide(session.pull(leaves, output_bars)[1][k])
    tied, side = [], ""
    for place in np.argwhere(jumps & finite)[:MOST_ENTRIES]:
        at = tuple(int(i) for i in place)
        found = session.entry_difference(leaves, output_bars, k, at)
        if found.contains(ours[at], 1e-6):
            tied.append(float(ours[at]))
            side = found.side(ours[at], 1e-6)
    if len(tied) < 2:
        return side
    takers = [int(i) for i in np.flatnonzero(tied)]
    if len(takers) == 1:
        which = {0: "first", len(tied) - 1: "last"}
        return f"the {which[takers[0]]} of the tied entries takes it all" if takers[0] in which else "one takes it all"
    if not takers:
        return ""
    return "each of the tied entries takes the same" if np.ptp(tied) < 1e-6 else "the tied entries take a share each"
