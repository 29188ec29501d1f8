"""2: the gradient of the gradient. <direction, cotangents> is differentiated by the arguments and by the cotangent.

The cotangents are differentiated forward too, along the same direction: second derivatives are symmetric, so what comes
out is the same.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking import differences, tolerance
from fnnet.checking.programs import RaisedError, as_wide, pull_of
from fnnet.checking.report import Failure, number
from fnnet.checking.session import NotRun, Session, gaussians, rms
from fnnet.checking.tolerance import wrong_entries


def check(session: Session) -> None:
    """Against the reference's, entry by entry; without a reference, against differences of the rule's own gradient."""
    if session.options.second_order is False:
        raise NotRun("not asked for")
    if any(program.untraceable for program in session.programs.pull.values()):
        raise NotRun("the rule cannot be compiled")
    subject, leaves = session.subject, session.smooth_point
    output_bars = session.output_bars(leaves, "second order")
    directions = gaussians([leaves[i] for i in subject.places], session.rng("second order directions"))
    directions = [0 * d if k in session.settled else d for k, d in enumerate(directions)]
    ours = session.programs.once("second order", _second(session, subject.function), session.takes_doubles)
    try:
        _, bars = ours(leaves, output_bars, directions)
    except RaisedError as problem:
        text = f"the gradient cannot be differentiated again: {problem}"
        if session.options.second_order:
            session.failures.append(Failure("2", "", "", text))
            return
        raise NotRun(text) from None
    numbers = [f" {i}" for i in range(len(output_bars))] if len(output_bars) > 1 else [""]
    paths = [*subject.moving_paths(), *(f"the output's cotangent{i}" for i in numbers)]
    try:
        expected = None
        if session.has_reference and subject.reference is not None:
            theirs = session.programs.once("second order of the reference", _second(session, subject.reference), True)
            expected = tolerance.expected(
                lambda leaves, bars: theirs(leaves, bars, directions), leaves, output_bars, session.rng("perturbations")
            )
    except RaisedError as problem:
        session.notes.append(f"2: the reference's gradient cannot be differentiated again: {problem}")
    bars = [as_wide(b) for b in bars]
    for k, (path, bar) in enumerate(zip(paths, bars, strict=True)):
        if expected is None:
            allowed = 0.0
            wrong = np.zeros(bar.shape, bool)
        else:
            allowed = expected.bar_allowed[k]
            wrong = wrong_entries(bar, expected.bars[k], allowed) & ~expected.jumps[k]
            wrong = np.asarray(wrong & (not expected.hopeless[k]))
        slope = None
        if (wrong.any() or expected is None) and k < len(subject.places):
            slope = _slope(session, leaves, output_bars, directions, k, bar)
        elif wrong.any():
            slope = _slope_by_cotangent(session, leaves, output_bars, directions, k - len(subject.places), bar)
        if expected is None and slope is not None:
            found, ours_along = slope
            if found.conclusive and abs(ours_along - found.value) > found.uncertainty + 1e-6 * (
                abs(found.value) + rms(bar)
            ):
                text = (
                    f"differentiated again, the gradient has the slope {number(ours_along)} along a random direction; "
                    f"finite differences of the gradient give {number(found.value)}"
                )
                session.failures.append(Failure("2", path, "", text))
        elif expected is not None and wrong.any():
            _wrong(session, path, bar, expected.bars[k], allowed, wrong, slope)
    if expected is not None:
        _forward_over_reverse(session, leaves, output_bars, directions, expected)


def _forward_over_reverse(
    session: Session, leaves: list, output_bars: list, directions: list, expected: tolerance.Expected
) -> None:
    """As jax.hessian does it; a backward that has a custom_vjp inside refuses, which is a note."""
    pull, places = pull_of(session.subject, session.subject.function), session.subject.places

    def run(leaves: list, output_bars: list, directions: list) -> list:
        def bars_of(*moving: jax.Array) -> list:
            merged = list(leaves)
            for i, leaf in zip(places, moving, strict=True):
                merged[i] = leaf
            return pull(merged, output_bars)[1]

        moving = tuple(leaves[i] for i in places)
        along = tuple(jnp.asarray(d).astype(leaf.dtype) for d, leaf in zip(directions, moving, strict=True))
        return jax.jvp(bars_of, moving, along)[1]

    if any(np.iscomplexobj(leaf) for leaf in leaves):
        return
    try:
        program = session.programs.once("forward over reverse", run, session.takes_doubles)
        bars = [as_wide(b) for b in program(leaves, output_bars, directions)]
    except RaisedError as problem:
        session.notes.append(f"2: the gradient cannot be differentiated forward: {problem}")
        return
    failed = {failure.argument for failure in session.failures if failure.check == "2"}
    for k, (path, bar) in enumerate(zip(session.subject.moving_paths(), bars, strict=True)):
        theirs, allowed = expected.bars[k], expected.bar_allowed[k]
        wrong = np.asarray(wrong_entries(bar, theirs, allowed) & ~expected.jumps[k])
        if wrong.any() and not expected.hopeless[k] and k not in session.settled and path not in failed:
            text = "the second derivative is not the reference's, differentiated forward; in reverse it is"
            session.failures.append(Failure.entrywise("2", path, "", text, bar, theirs, wrong, allowed))


def _second(session: Session, function: Callable) -> Callable:
    """second(leaves, output_bars, directions) -> no outputs, the gradient of <directions, cotangents> by the others."""
    pull, places = pull_of(session.subject, function), session.subject.places

    def run(leaves: list, output_bars: list, directions: list) -> tuple[list, list]:
        def along(moving: list, output_bars: list) -> jax.Array:
            merged = list(leaves)
            for i, leaf in zip(places, moving, strict=True):
                merged[i] = leaf
            _, bars = pull(merged, output_bars)
            parts = [jnp.sum(jnp.real(bar * d.astype(bar.dtype))) for bar, d in zip(bars, directions, strict=True)]
            return functools.reduce(jnp.add, parts)

        by_leaves, by_bars = jax.grad(along, argnums=(0, 1))([leaves[i] for i in places], list(output_bars))
        return [], [*by_leaves, *by_bars]

    return run


def _slope(session: Session, leaves: list, output_bars: list, directions: list, k: int, bar: np.ndarray):
    """The rule's gradient, moved along a random direction: by finite differences, and by differentiating it."""
    place = session.subject.places[k]
    start = as_wide(leaves[place])
    along = session.rng("second slope", k).normal(size=start.shape) * (rms(start) or 1.0)

    def values(t: float) -> list[np.ndarray]:
        moved = list(leaves)
        moved[place] = (start + t * along).astype(leaves[place].dtype)
        return [as_wide(b) for b in session.pull(moved, output_bars)[1]]

    return differences.along(values, directions, tolerance.precision(leaves)), float(np.sum(bar * along).real)


def _slope_by_cotangent(session: Session, leaves: list, output_bars: list, directions: list, number: int, bar: Any):
    """By an output's cotangent, it is the output's slope along the directions: by finite differences, and as it is."""
    alone = [b if i == number else 0 * b for i, b in enumerate(output_bars)]
    found = session.difference(leaves, alone, dict(enumerate(directions)))
    return found, float(np.sum(bar * as_wide(alone[number])).real)


def _wrong(session: Session, path: str, ours, theirs, allowed: float, wrong, slope) -> None:
    blame, told = "rule", ""
    if slope is not None and slope[0].conclusive:
        found, along = slope
        confirmed = abs(along - found.value) <= found.uncertainty + 1e-6 * (abs(found.value) + rms(ours))
        told = f"; finite differences of the rule's own gradient {'confirm it' if confirmed else 'do not confirm it'}"
        blame = "reference" if confirmed else "rule"
    zero = ", and is zero: a part of the backward is taken for a constant" if not ours.any() else ""
    text = f"the second derivative is not the reference's{zero}{told}"
    session.failures.append(Failure.entrywise("2", path, "", text, ours, theirs, wrong, allowed, blame=blame))
