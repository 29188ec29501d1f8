"""What a rule does at kinks and ties where the reference does the same, and when equal entries may swap gradients."""

import numpy as np

from fnnet.checking.cotangent import Cotangent, Trial
from fnnet.checking.findings import SharedConvention
from fnnet.checking.leaves import as_wide
from fnnet.checking.session import Session
from fnnet.checking.tolerance import Expected

MOST_ENTRIES = 16


def note_shared(session: Session, trial: Trial, expected: Expected, bars: list[np.ndarray]) -> None:
    """For each argument whose cotangent jumps at these leaves, and does so for the first time: what the rule does."""
    findings = session.findings
    for k, (path, ours) in enumerate(zip(session.subject.gradient_paths, bars, strict=True)):
        if path in findings.shared or k in findings.known_wrong or np.iscomplexobj(ours):
            continue
        finite = np.isfinite(as_wide(trial.leaves[session.subject.with_gradient[k]]))
        if not (expected.jumps[k] & finite & (np.abs(ours - expected.bars[k]) <= expected.bar_allowed[k])).any():
            continue
        taken = next(filter(None, (_taken(session, trial, k, entry, finite) for entry in _outputs(expected))), "")
        if taken:
            findings.shared[path] = SharedConvention(path, taken, trial.circumstance)


def swapped(one: Cotangent) -> np.ndarray:
    """Entries of a leaf that have the gradients of entries equal to them, in another order, as sorting may give.

    All of them have to be at a tie: elsewhere another order is an error.
    """
    found = np.zeros(one.ours.shape, bool)
    if not one.is_real or not np.isfinite(one.ours).all():
        return found
    leaf, differs = as_wide(one.leaf), np.abs(one.ours - one.theirs) > one.allowed
    for value in np.unique(leaf[differs & one.jumps]):
        equals = leaf == value
        same = np.abs(np.sort(one.ours[equals]) - np.sort(one.theirs[equals])) <= one.allowed
        if same.all() and one.jumps[equals & differs].all():
            found |= equals
    return found


def _outputs(expected: Expected) -> list[int]:
    """Flat numbers of entries of the first output, from the middle on, away from padding."""
    size = expected.outs[0].size
    return [(size // 2 + n) % size for n in range(min(size, MOST_ENTRIES))]


def _taken(session: Session, trial: Trial, k: int, entry: int, finite: np.ndarray) -> str:
    """Which of the entries at a kink or tie get the gradient of one output entry; finite differences find them."""
    output_bars = [0 * bar for bar in session.output_bars(trial.leaves, "kinks")]
    output_bars[0].flat[entry] = 1
    jumps = session.expected(trial.leaves, output_bars).jumps[k]
    ours = as_wide(session.pull(trial.leaves, output_bars)[1][k])
    tied, side = [], ""
    for position in np.argwhere(jumps & finite)[:MOST_ENTRIES]:
        at = tuple(int(i) for i in position)
        found = session.entry_difference(trial.leaves, output_bars, k, at)
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
