"""Rule against reference at some arguments: where they differ, who is right, and what the difference looks like.

Where they differ, finite differences decide. An entry at a kink, where the slopes from left and from right are not the
same, may be any value between the two: a convention, not an error.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.checking.diagnosis.hypotheses import Evidence, diagnose
from fnnet.checking.diagnosis.mutated_inputs import variants
from fnnet.checking.differences import Difference
from fnnet.checking.kinks import share, swapped
from fnnet.checking.programs import RaisedError, as_wide, is_wide
from fnnet.checking.report import Failure, number
from fnnet.checking.session import Convention, Session, rms
from fnnet.checking.tolerance import EIGHT_DIGITS, NINE_DIGITS, Expected, wrong_entries

MOST_KINKS = 48
Leaves = Sequence[Any]


def judge(
    session: Session,
    check: str,
    leaves: Leaves,
    output_bars: Leaves,
    circumstance: str = "",
    previous: Leaves | None = None,
) -> bool:
    """Compare every cotangent with the reference's; failures and conventions go to the session. True if right."""
    expected = session.expected(leaves, output_bars)
    try:
        _, bars = session.pull(leaves, output_bars)
    except RaisedError as problem:
        session.failures.append(Failure(check, "", circumstance, f"raises {problem}"))
        return False
    bars = [as_wide(bar) for bar in bars]
    failed, conventions = len(session.failures), len(session.conventions)
    session.compared |= {k for k, bar in enumerate(bars) if bar.size}
    for k, bar in enumerate(bars):
        if k in session.settled:
            failure = _known(session, check, circumstance, expected, k, bar)
        else:
            failure = _of_leaf(session, check, leaves, output_bars, circumstance, expected, k, bar, previous)
        session.failures += [failure] if failure is not None else []
    if len(session.conventions) > conventions and (is_wide(leaves) or not session.takes_doubles):
        joint = _along_ties(session, leaves, output_bars, bars, expected)
        if joint:
            session.failures.append(Failure(check, "", circumstance, joint))
            del session.conventions[conventions:]
    if check == "E" and len(session.failures) == failed:
        share(session, leaves, circumstance, expected, bars)
    return len(session.failures) == failed


def _known(
    session: Session, check: str, circumstance: str, expected: Expected, k: int, ours: np.ndarray
) -> Failure | None:
    """A cotangent that is known to be wrong fails each later check once, and is not looked into again."""
    known, path = session.settled[k], session.subject.moving_paths()[k]
    if any((f.check, f.argument) == (check, path) for f in session.failures) or ours.shape != expected.bars[k].shape:
        return None
    wrong = wrong_entries(ours, expected.bars[k], expected.bar_allowed[k]) & ~expected.jumps[k]
    if not wrong.any():
        return None
    return Failure(
        check, path, circumstance, known.diagnosis, wrong=int(wrong.sum()), size=wrong.size, blame=known.blame
    )


def _of_leaf(
    session: Session,
    check: str,
    leaves: Leaves,
    output_bars: Leaves,
    circumstance: str,
    expected: Expected,
    k: int,
    ours: np.ndarray,
    previous: Leaves | None,
) -> Failure | None:
    theirs, allowed = expected.bars[k], expected.bar_allowed[k]
    path = session.subject.moving_paths()[k]
    if ours.shape != theirs.shape:
        return Failure(check, path, circumstance, f"has shape {ours.shape}, not {theirs.shape}")
    if not np.isfinite(theirs).all():
        _reference_not_finite(session, check, leaves, output_bars, circumstance, k, ours, theirs, allowed)
        if all(np.isfinite(out).all() for out in expected.outs):
            _note_not_finite(session, check, leaves, circumstance, k, ours, theirs)
    leaf = leaves[session.subject.places[k]]
    wrong = wrong_entries(ours, theirs, allowed, leaf.dtype)
    # By a masked entry, -inf, there is no slope: finite will do.
    wrong &= np.isfinite(as_wide(leaf)) | ~np.isfinite(ours)
    if not wrong.any() and leaf.dtype.itemsize == 2:
        wrong = _gross(session, leaves, output_bars, k, ours, theirs)
    if expected.hopeless[k] and np.isfinite(ours).all():
        wrong = np.zeros_like(wrong)
    others = wrong & ~swapped(leaf, ours, theirs, expected.jumps[k], allowed)
    if session.options.ties == "any" and (others != wrong).any():
        told = "another order of equal entries", "its own order", circumstance or "the example"
        session.conventions.append(Convention(path, *told, int((wrong & ~others).sum()), wrong.size))
        wrong = others
    if not wrong.any() or _as_imprecise_as_autodiff(session, leaves, output_bars, k, ours, theirs, wrong):
        return None
    found = _worst(session, leaves, output_bars, k, ours, theirs, allowed, wrong, expected.jumps[k])
    entry, difference = found
    if difference.contains(ours[entry], allowed) and np.isrealobj(ours):
        sides = [difference.side(value[entry], allowed) for value in (ours, theirs)]
        where = circumstance or "the example"
        if session.options.ties == "reference":
            text = f"at a kink or tie takes {sides[0]}, the reference takes {sides[1]}"
            return Failure.entrywise(check, path, circumstance, text, ours, theirs, wrong, allowed, entry=entry)
        rule, reference = sides
        session.conventions.append(Convention(path, rule, reference, where, int(wrong.sum()), wrong.size))
        return None
    if expected.jumps[k][entry] and np.isfinite(ours[entry]) and not difference.conclusive and not difference.kink:
        session.notes.append(f"{check}: {path}: somewhere the function is too rough for anything to be told")
        return None
    digits = NINE_DIGITS if session.is_reference_given else EIGHT_DIGITS
    if _is_imprecise(difference, ours, theirs, wrong, allowed, digits):
        size = float(np.abs(ours - theirs)[wrong].max())
        session.notes.append(
            f"{check}: {path}, {circumstance or 'the example'}: the rule is {number(size)} from the reference, "
            f"{number(size / allowed)} times what rounding explains; finite differences cannot tell the two apart"
        )
        return None
    evidence = Evidence(
        ours,
        theirs,
        allowed,
        session.sizes(leaves, output_bars),
        {
            f"the cotangent of {p}": b
            for p, b in zip(session.subject.moving_paths(), expected.bars, strict=True)
            if p != path
        },
        {
            p: as_wide(leaf)
            for p, leaf in zip(session.subject.paths, leaves, strict=True)
            if getattr(leaf, "dtype", None) in _NUMERIC
        },
        variants(session, leaves, output_bars, k, previous),
    )
    blame = _blame(difference, ours[entry], theirs[entry], allowed)
    text = diagnose(evidence)
    if blame == "reference":
        if not session.is_reference_given:
            values = number(theirs[entry]), number(ours[entry])
            session.notes.append(
                f"{check}: {path}, {circumstance or 'the example'}: autodiff of {session.subject.origin} gives "
                f"{values[0]} at {list(entry)}; finite differences agree with the rule, {values[1]}"
            )
            return None
        text = f"the rule agrees with finite differences, the reference does not (the rule {text})"
    slope = difference.value if difference.conclusive else None
    return Failure.entrywise(
        check, path, circumstance, text, ours, theirs, wrong, allowed, blame=blame, entry=entry, differences=slope
    )


def _reference_not_finite(
    session: Session,
    check: str,
    leaves: Leaves,
    output_bars: Leaves,
    circumstance: str,
    k: int,
    ours: Any,
    theirs: Any,
    allowed: float,
) -> None:
    """The value is finite and the reference's gradient is not: whether finite differences know better."""
    path, bad = session.subject.moving_paths()[k], ~np.isfinite(theirs)
    for flat in np.flatnonzero(bad)[:4]:
        entry = tuple(map(int, np.unravel_index(flat, bad.shape)))
        found = session.entry_difference(leaves, output_bars, k, entry)
        if found.agrees(ours[entry], allowed) or (np.isrealobj(ours) and found.contains(ours[entry], allowed)):
            text = f"the reference's gradient is {theirs[entry]} where the rule's agrees with finite differences"
            if session.is_reference_given:
                slope = found.value if found.conclusive else None
                given = (check, path, circumstance, text, ours, theirs, bad, allowed)
                failure = Failure.entrywise(*given, blame="reference", entry=entry, differences=slope)
                session.failures.append(failure)
            else:
                session.notes.append(f"{check}: {path}, {circumstance or 'the example'}: {text}, {number(ours[entry])}")
            return
        if not np.isfinite(ours[entry]) and found.conclusive:
            session.notes.append(
                f"{check}: {path}, {circumstance or 'the example'}: rule and reference are both not finite at "
                f"{list(entry)}; finite differences give {number(found.value)}"
            )
            return


def _note_not_finite(
    session: Session, check: str, leaves: Leaves, circumstance: str, k: int, ours: np.ndarray, theirs: np.ndarray
) -> None:
    """Neither gradient is finite, though arguments and function are: no error of the rule, but worth knowing, once."""
    both = ~np.isfinite(theirs) & ~np.isfinite(ours) & np.isfinite(as_wide(leaves[session.subject.places[k]]))
    if both.any() and k not in session.not_finite:
        session.not_finite.add(k)
        entry = tuple(map(int, np.argwhere(both)[0]))
        session.notes.append(
            f"{check}: {session.subject.moving_paths()[k]}, {circumstance or 'the example'}: the function is finite, "
            f"its gradient is not: rule {number(ours[entry])}, reference {number(theirs[entry])} at {list(entry)}"
        )


_NUMERIC = tuple(np.dtype(d) for d in ("float64", "float32", "float16", "complex64", "complex128", "int32", "int64"))


def _worst(
    session: Session,
    leaves: Leaves,
    output_bars: Leaves,
    k: int,
    ours: Any,
    theirs: Any,
    allowed: float,
    wrong: np.ndarray,
    jumps: np.ndarray,
) -> tuple[tuple[int, ...], Difference]:
    """The worst entry that no kink explains, and finite differences there; where kinks explain all, the worst entry."""
    with np.errstate(invalid="ignore"):
        error = np.where(wrong, np.nan_to_num(np.abs(ours - theirs), nan=np.inf, posinf=np.inf), -1.0)
    order = np.argsort(error, axis=None, kind="stable")[::-1][: int(wrong.sum())]
    if order.size > MOST_KINKS:
        order = order[np.linspace(0, order.size - 1, MOST_KINKS).astype(int)]
    first = None
    for flat in order:
        entry = tuple(map(int, np.unravel_index(flat, error.shape)))
        turned = np.iscomplexobj(ours) and abs((ours - theirs)[entry].imag) > abs((ours - theirs)[entry].real)
        difference = session.entry_difference(leaves, output_bars, k, entry, 1j if turned else 1)
        rough = jumps[entry] and np.isfinite(ours[entry]) and not difference.conclusive and not difference.kink
        if not rough and not (np.isrealobj(ours) and difference.contains(ours[entry], allowed)):
            return entry, difference
        first = first or (entry, difference)
    if first is None:
        raise ValueError("nothing is wrong")
    return first


def _is_imprecise(
    difference: Difference, ours: Any, theirs: Any, wrong: np.ndarray, allowed: float, digits: float
) -> bool:
    """So many digits are right, and differences tell no more: an iteration that ends a little early is no error."""
    size = np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)
    error = np.abs(ours - theirs)[wrong].max()
    return bool(np.isfinite(error) and error <= digits * size and difference.conclusive and allowed > 0)


def _blame(difference: Difference, ours: Any, theirs: Any, allowed: float) -> str:
    """The rule, unless finite differences agree with it and not with the reference."""
    if np.iscomplexobj(ours):
        turned = abs((ours - theirs).imag) > abs((ours - theirs).real)
        ours, theirs = (np.real(v * 1j) if turned else np.real(v) for v in (ours, theirs))
    rule_agrees, reference_agrees = difference.agrees(ours, allowed), difference.agrees(theirs, allowed)
    return "reference" if rule_agrees and not reference_agrees else "rule"


def _as_imprecise_as_autodiff(
    session: Session, leaves: Leaves, output_bars: Leaves, k: int, ours: Any, theirs: Any, wrong: Any
) -> bool:
    """Whether autodiff of the reference, in the dtype under test, is as far off: then no rule is to blame."""
    place = session.subject.places[k]
    dtype = np.dtype(leaves[place].dtype)
    if dtype in (np.float64, np.complex128):
        return False
    try:
        theirs_here = as_wide(session.narrow_reference_bars(leaves, output_bars)[k])
    except RaisedError:
        return False
    with np.errstate(invalid="ignore"):
        own_error = np.abs(theirs_here - theirs)
        allowed = 4 * own_error[np.isfinite(own_error)].max(initial=0.0)
        return bool(((np.abs(ours - theirs) <= allowed) | ~np.isfinite(theirs_here))[wrong].all())


def _gross(
    session: Session, leaves: Leaves, output_bars: Leaves, k: int, ours: np.ndarray, theirs: np.ndarray
) -> np.ndarray:
    """In sixteen bits the allowance may exceed a small cotangent; half of it is too much if autodiff does better."""
    size = np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)
    wrong = np.abs(ours - theirs) > size / 2
    # What is smaller than this, beside the output's cotangent, is underflow.
    tiny = float(jnp.finfo(leaves[session.subject.places[k]].dtype).eps) ** 3
    if size > tiny * max(float(np.abs(as_wide(b)).max(initial=0.0)) for b in output_bars) and wrong.any():
        try:
            here = as_wide(session.narrow_reference_bars(leaves, output_bars)[k])
        except RaisedError:  # a reference need not take every dtype
            return np.zeros_like(wrong)
        if (np.abs(here - theirs) <= size / 16).all():
            return wrong
    return np.zeros_like(wrong)


def _along_ties(
    session: Session, leaves: Leaves, output_bars: Leaves, bars: Sequence[np.ndarray], expected: Expected
) -> str:
    """Directions that move tied entries together: there the function is smooth, and the slopes have to add up."""
    moving = [as_wide(leaves[place]) for place in session.subject.places]
    finite = [np.where(np.isfinite(leaf), leaf, 0) for leaf in moving]
    choices = [[[k] for k in range(len(moving))], [list(range(len(moving)))]]
    for numbers in [n for choice in choices[: 1 + (len(moving) > 1)] for n in choice]:
        for along in (lambda a: a, np.ones_like, lambda a: np.sin(3 * a) + a**2):
            directions = {k: along(finite[k]) for k in numbers}
            size = max(rms(d) for d in directions.values())
            if not size or any(not np.isfinite(bars[k]).all() for k in numbers):
                continue
            directions = {k: d / size for k, d in directions.items()}
            found = session.difference(leaves, output_bars, directions)
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
