"""Rule against reference at some arguments: where they differ, who is right, and what the difference looks like.

If they differ, finite differences decide. At a kink the slopes from left and right are not the same: there an entry may
have any value between the two, which is a convention and no error.
"""

from collections.abc import Sequence

import numpy as np

from fnnet.checking.conventions import note_shared, swapped
from fnnet.checking.cotangent import Cotangent, Trial
from fnnet.checking.diagnosis.hypotheses import Evidence, diagnose
from fnnet.checking.diagnosis.mutated_inputs import variants
from fnnet.checking.differences import Difference
from fnnet.checking.entries import Entries, index_of
from fnnet.checking.errors import RaisedError
from fnnet.checking.findings import Convention
from fnnet.checking.kinds import Blame, Ties
from fnnet.checking.leaves import all_wide, are_finite, as_wide, is_wide, largest, rms
from fnnet.checking.report import Failure, number
from fnnet.checking.session import Session
from fnnet.checking.tolerance import EIGHT_DIGITS, NINE_DIGITS, Expected, compared

MOST_KINKS = 48
NUMERIC = tuple(np.dtype(d) for d in ("float64", "float32", "float16", "complex64", "complex128", "int32", "int64"))


def judge(session: Session, trial: Trial) -> bool:
    """Compare every cotangent with the reference's; the session gets failures and conventions. True if right."""
    findings = session.findings
    expected = session.expected(trial.leaves, trial.output_bars)
    try:
        _, bars = session.pull(trial.leaves, trial.output_bars)
    except RaisedError as problem:
        findings.fail(trial.check, f"raises {problem}", circumstance=trial.circumstance)
        return False
    bars = all_wide(bars)
    failed, conventions = len(findings.failures), len(findings.conventions)
    findings.compared |= {k for k, bar in enumerate(bars) if bar.size}
    for k, bar in enumerate(bars):
        one = Cotangent(session, trial, k, bar, expected)
        failure = _known(one) if k in findings.known_wrong else _judged(one)
        findings.failures += [failure] if failure is not None else []
    if len(findings.conventions) > conventions and (is_wide(trial.leaves) or not session.can.takes_doubles):
        joint = _along_ties(session, trial, bars, expected)
        if joint:
            findings.fail(trial.check, joint, circumstance=trial.circumstance)
            del findings.conventions[conventions:]
    if trial.check == "E" and len(findings.failures) == failed:
        note_shared(session, trial, expected, bars)
    return len(findings.failures) == failed


def _known(one: Cotangent) -> Failure | None:
    """A cotangent that is known to be wrong fails each later check once; it is not diagnosed again."""
    findings, known = one.session.findings, one.session.findings.known_wrong[one.number]
    has_failed = any((f.check, f.argument) == (one.trial.check, one.path) for f in findings.failures)
    if has_failed or one.ours.shape != one.theirs.shape:
        return None
    wrong = compared(one.ours, one.theirs, one.allowed).wrong & ~one.jumps
    if not wrong.any():
        return None
    return one.failure(known.diagnosis, wrong=int(wrong.sum()), size=wrong.size, blame=known.blame)


def _judged(one: Cotangent) -> Failure | None:
    if one.ours.shape != one.theirs.shape:
        return one.failure(f"has shape {one.ours.shape}, not {one.theirs.shape}")
    if not np.isfinite(one.theirs).all():
        _look_at_not_finite(one)
    entries = _wrong_entries(one)
    if not entries.are_wrong or _is_autodiff_as_imprecise(one, entries):
        return None
    entry, difference = _worst(one, entries)
    if one.is_between_slopes(entry, difference):
        return _at_a_kink(one, entries, entry, difference)
    if one.is_rough(entry, difference):
        text = f"{one.path}: at some entries the function is too rough to decide"
        one.session.findings.note(one.trial.check, text)
        return None
    if _is_imprecise(one, entries, difference):
        size = float(np.abs(one.ours - one.theirs)[entries.wrong].max())
        one.note(
            f"the rule is {number(size)} from the reference, {number(size / one.allowed)} times what rounding "
            "explains; finite differences cannot tell the two apart"
        )
        return None
    return _blamed(one, entries, entry, difference)


def _wrong_entries(one: Cotangent) -> Entries:
    """The entries that are wrong; equal entries that swap their gradients are a convention."""
    entries = one.compared()
    if not entries.are_wrong and one.leaf.dtype.itemsize == 2:
        entries = one.entries(_gross(one))
    if one.expected.hopeless[one.number] and np.isfinite(one.ours).all():
        entries = one.entries(np.zeros_like(entries.wrong))
    others = entries.wrong & ~swapped(one)
    swaps = int((entries.wrong & ~others).sum())
    if one.session.options.ties == Ties.ANY and swaps:
        orders = "another order of equal entries", "its own order"
        one.session.findings.conventions.append(Convention(one.path, *orders, one.trial.where, swaps, others.size))
        return one.entries(others)
    return entries


def _worst(one: Cotangent, entries: Entries) -> tuple[tuple[int, ...], Difference]:
    """The worst entry that no kink explains, and finite differences there; if kinks explain all, the worst entry."""
    found = []
    for entry in entries.by_size(MOST_KINKS):
        difference = one.difference(entry, turned=one.is_turned(entry))
        if not one.is_rough(entry, difference) and not one.is_between_slopes(entry, difference):
            return entry, difference
        found.append((entry, difference))
    return found[0]


def _at_a_kink(one: Cotangent, entries: Entries, entry: tuple[int, ...], difference: Difference) -> Failure | None:
    """A convention, unless the caller wants the reference's."""
    ours, theirs = (difference.side(value[entry], one.allowed) for value in (one.ours, one.theirs))
    if one.session.options.ties == Ties.REFERENCE:
        return one.failure(f"at a kink or tie takes {ours}, the reference takes {theirs}", entries, entry=entry)
    convention = Convention(one.path, ours, theirs, one.trial.where, entries.count, entries.size)
    one.session.findings.conventions.append(convention)
    return None


def _blamed(one: Cotangent, entries: Entries, entry: tuple[int, ...], difference: Difference) -> Failure | None:
    """The failure of a wrong cotangent; if finite differences agree with the rule alone, the reference is to blame."""
    slope = difference.value if difference.conclusive else None
    looks, text = diagnose(_evidence(one))
    ours, theirs = one.ours[entry], one.theirs[entry]
    if one.is_turned(entry):
        ours, theirs = ours * 1j, theirs * 1j
    if not difference.agrees(np.real(ours), one.allowed) or difference.agrees(np.real(theirs), one.allowed):
        return one.failure(text, entries, entry=entry, differences=slope, looks=looks)
    if not one.session.is_reference_given:
        one.note(
            f"autodiff of {one.session.subject.origin} gives {number(one.theirs[entry])} at {list(entry)}; finite "
            f"differences agree with the rule, {number(one.ours[entry])}"
        )
        return None
    text = f"the rule agrees with finite differences, the reference does not (the rule {text})"
    return one.failure(text, entries, entry=entry, differences=slope, blame=Blame.REFERENCE, looks=looks)


def _evidence(one: Cotangent) -> Evidence:
    subject, trial = one.session.subject, one.trial
    bars, leaves = (zip(paths, arrays, strict=True) for paths, arrays in (
        (subject.gradient_paths, one.expected.bars), (subject.paths, trial.leaves)))  # fmt: skip
    return Evidence(
        ours=one.ours,
        theirs=one.theirs,
        allowed=one.allowed,
        sizes=one.session.sizes(trial.leaves, trial.output_bars),
        others={f"the cotangent of {path}": bar for path, bar in bars if path != one.path},
        inputs={path: as_wide(leaf) for path, leaf in leaves if getattr(leaf, "dtype", None) in NUMERIC},
        variants=variants(one.session, trial, one.number),
    )


def _look_at_not_finite(one: Cotangent) -> None:
    """The reference's gradient is not finite: finite differences may know better, or neither gradient is finite."""
    session, findings, bad = one.session, one.session.findings, ~np.isfinite(one.theirs)
    for flat in np.flatnonzero(bad)[:4]:
        entry = index_of(flat, bad.shape)
        found = one.difference(entry)
        if found.agrees(one.ours[entry], one.allowed) or one.is_between_slopes(entry, found):
            text = f"the reference's gradient is {one.theirs[entry]} where the rule's agrees with finite differences"
            if session.is_reference_given:
                given = {"entry": entry, "differences": found.value if found.conclusive else None}
                findings.failures.append(one.failure(text, one.entries(bad), blame=Blame.REFERENCE, **given))
            else:
                one.note(f"{text}, {number(one.ours[entry])}")
            break
        if not np.isfinite(one.ours[entry]) and found.conclusive:
            slope = number(found.value)
            one.note(f"rule and reference are both not finite at {list(entry)}; finite differences give {slope}")
            break
    both = bad & ~np.isfinite(one.ours) & np.isfinite(as_wide(one.leaf))
    if are_finite(one.expected.outs) and both.any() and one.number not in findings.both_not_finite:
        findings.both_not_finite.add(one.number)
        entry = index_of(np.flatnonzero(both)[0], both.shape)
        one.note(
            f"the function is finite, its gradient is not: rule {number(one.ours[entry])}, reference "
            f"{number(one.theirs[entry])} at {list(entry)}"
        )


def _is_imprecise(one: Cotangent, entries: Entries, difference: Difference) -> bool:
    """Below this error finite differences cannot tell: an iteration that ends a little early is no error."""
    digits = NINE_DIGITS if one.session.is_reference_given else EIGHT_DIGITS
    error = np.abs(one.ours - one.theirs)[entries.wrong].max()
    is_small = np.isfinite(error) and error <= digits * largest(one.theirs)
    return bool(is_small and difference.conclusive and one.allowed > 0)


def _is_autodiff_as_imprecise(one: Cotangent, entries: Entries) -> bool:
    """Whether autodiff of the reference, in the dtype under test, is as far off: then no rule is to blame."""
    if np.dtype(one.leaf.dtype) in (np.float64, np.complex128):
        return False
    try:
        here = one.narrow_reference()
    except RaisedError:
        return False
    with np.errstate(invalid="ignore"):
        allowed = 4 * largest(np.abs(here - one.theirs))
        near = (np.abs(one.ours - one.theirs) <= allowed) | ~np.isfinite(here)
    return bool(near[entries.wrong].all())


def _gross(one: Cotangent) -> np.ndarray:
    """In sixteen bits the allowance may exceed a small cotangent; half of it is too much if autodiff does better."""
    size = largest(one.theirs)
    wrong = np.abs(one.ours - one.theirs) > size / 2
    if not wrong.any() or one.is_underflow(size):
        return np.zeros_like(wrong)
    try:
        is_better = (np.abs(one.narrow_reference() - one.theirs) <= size / 16).all()
    except RaisedError:  # a reference need not take every dtype
        is_better = False
    return wrong if is_better else np.zeros_like(wrong)


def _along_ties(session: Session, trial: Trial, bars: Sequence[np.ndarray], expected: Expected) -> str:
    """Directions that move tied entries together: there the function is smooth, and the slopes have to add up."""
    leaves = all_wide(session.subject.select(trial.leaves))
    finite = [np.where(np.isfinite(leaf), leaf, 0) for leaf in leaves]
    every = list(range(len(leaves)))
    for numbers in [*([k] for k in every), *([every] if len(every) > 1 else [])]:
        for along in (lambda a: a, np.ones_like, lambda a: np.sin(3 * a) + a**2):
            directions = {k: along(finite[k]) for k in numbers}
            size = max(rms(d) for d in directions.values())
            if not size or any(not np.isfinite(bars[k]).all() for k in numbers):
                continue
            directions = {k: d / size for k, d in directions.items()}
            found = session.difference(trial.leaves, trial.output_bars, directions)
            slope, reference = (
                sum(float(np.sum(side[k] * d).real) for k, d in directions.items()) for side in (bars, expected.bars)
            )
            slack = sum(expected.bar_allowed[k] * float(np.abs(d).sum()) for k, d in directions.items())
            if found.agrees(reference, slack) and abs(slope - found.value) > found.uncertainty + slack:
                return (
                    "each entry lies between the one-sided slopes at its tie, but together they do not: where tied "
                    f"entries move alike the slope is {number(found.value)}, the rule's is {number(slope)}"
                )
    return ""
