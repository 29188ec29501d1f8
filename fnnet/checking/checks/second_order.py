"""2: the gradient of the gradient. <direction, cotangents> is differentiated by the arguments and by the cotangent.

The cotangents are differentiated forward too, along the same direction: second derivatives are symmetric, so the result
is the same.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking import differences, tolerance
from fnnet.checking.differences import Difference
from fnnet.checking.entries import Entries
from fnnet.checking.errors import NotRun, RaisedError
from fnnet.checking.kinds import Blame
from fnnet.checking.leaves import all_wide, as_wide, gaussians, replaced, rms
from fnnet.checking.programs import pull_of
from fnnet.checking.report import number
from fnnet.checking.session import Session

SIX_DIGITS = 1e-6


@dataclass(frozen=True, eq=False)
class Setting:
    """Where the gradient is differentiated again.

    Args:
        session: Of the rule.
        leaves: The arguments.
        output_bars: The cotangents of the output.
        directions: Along which the cotangents are taken.
    """

    session: Session
    leaves: list
    output_bars: list
    directions: list

    def slope(self, k: int, second: np.ndarray) -> tuple[Difference, float]:
        """The derivative along one direction of argument or output cotangent k: by differences, and as it is."""
        count = len(self.session.subject.with_gradient)
        return self._by_leaf(k, second) if k < count else self._by_output_bar(k - count, second)

    def _by_leaf(self, k: int, second: np.ndarray) -> tuple[Difference, float]:
        """The rule's gradient, moved along a random direction."""
        i = self.session.subject.with_gradient[k]
        start = as_wide(self.leaves[i])
        along = self.session.options.rng("second slope", k).normal(size=start.shape) * (rms(start) or 1.0)

        def values(t: float) -> list[np.ndarray]:
            moved = (start + t * along).astype(self.leaves[i].dtype)
            return all_wide(self.session.pull(replaced(self.leaves, [i], [moved]), self.output_bars)[1])

        found = differences.along(values, self.directions, tolerance.precision(self.leaves))
        return found, float(np.sum(second * along).real)

    def _by_output_bar(self, k: int, second: np.ndarray) -> tuple[Difference, float]:
        """By an output's cotangent, the derivative is the output's slope along the directions."""
        alone = [b if i == k else 0 * b for i, b in enumerate(self.output_bars)]
        found = self.session.difference(self.leaves, alone, dict(enumerate(self.directions)))
        return found, float(np.sum(second * as_wide(alone[k])).real)


def check(session: Session) -> None:
    """Against the reference's, entry by entry; without a reference, against differences of the rule's own gradient."""
    if session.options.second_order is False:
        raise NotRun("second_order=False")
    if any(program.untraceable for program in session.programs.pull.values()):
        raise NotRun("the rule cannot be compiled")
    subject, findings, leaves = session.subject, session.findings, session.smooth_point
    output_bars = session.output_bars(leaves, "second order")
    directions = gaussians(subject.select(leaves), session.options.rng("second order directions"))
    directions = [0 * d if k in findings.known_wrong else d for k, d in enumerate(directions)]
    setting = Setting(session, leaves, output_bars, directions)
    ours = session.programs.once("second order", _second(session, subject.function), session.can.takes_doubles)
    try:
        seconds = all_wide(ours(leaves, output_bars, directions)[1])
    except RaisedError as problem:
        text = f"the gradient cannot be differentiated again: {problem}"
        if session.options.second_order:
            findings.fail("2", text)
            return
        raise NotRun(text) from None
    expected = _expected(setting)
    numbers = [f" {i}" for i in range(len(output_bars))] if len(output_bars) > 1 else [""]
    paths = [*subject.gradient_paths, *(f"the output's cotangent{i}" for i in numbers)]
    for k, (path, second) in enumerate(zip(paths, seconds, strict=True)):
        if expected is None:
            if k < len(subject.with_gradient):
                _against_differences(setting, path, second, *setting.slope(k, second))
            continue
        entries = _beside(second, expected, k)
        if entries.are_wrong:
            _fail(setting, path, entries, *setting.slope(k, second))
    if expected is not None:
        _forward_over_reverse(setting, expected)


def _expected(setting: Setting) -> tolerance.Expected | None:
    """What the reference gives, if its gradient can be differentiated."""
    session = setting.session
    if not session.can.has_reference or session.subject.reference is None:
        return None
    second = _second(session, session.subject.reference)
    program = session.programs.once("second order of the reference", second, True)
    try:
        return tolerance.expected(
            lambda leaves, bars: program(leaves, bars, setting.directions),
            setting.leaves,
            setting.output_bars,
            session.options.rng("perturbations"),
        )
    except RaisedError as problem:
        session.findings.note("2", f"the reference's gradient cannot be differentiated again: {problem}")
        return None


def _beside(second: np.ndarray, expected: tolerance.Expected, k: int) -> Entries:
    found = tolerance.compared(second, expected.bars[k], expected.bar_allowed[k])
    wrong = np.asarray(found.wrong & ~expected.jumps[k] & (not expected.hopeless[k]))
    return Entries(second, expected.bars[k], wrong, found.allowed)


def _against_differences(setting: Setting, path: str, second: np.ndarray, found: Difference, along: float) -> None:
    allowed = found.uncertainty + SIX_DIGITS * (abs(found.value) + rms(second))
    if found.conclusive and abs(along - found.value) > allowed:
        text = (
            f"differentiated again, the gradient has the slope {number(along)} along a random direction; "
            f"finite differences of the gradient give {number(found.value)}"
        )
        setting.session.findings.fail("2", text, argument=path)


def _fail(setting: Setting, path: str, entries: Entries, found: Difference, along: float) -> None:
    blame, beside = Blame.RULE, ""
    if found.conclusive:
        allowed = found.uncertainty + SIX_DIGITS * (abs(found.value) + rms(entries.ours))
        is_confirmed = abs(along - found.value) <= allowed
        verb = "confirm it" if is_confirmed else "do not confirm it"
        beside = f"; finite differences of the rule's own gradient {verb}"
        blame = Blame.REFERENCE if is_confirmed else Blame.RULE
    zero = ", and is zero: a part of the backward is taken for a constant" if not entries.ours.any() else ""
    text = f"the second derivative is not the reference's{zero}{beside}"
    setting.session.findings.fail("2", text, argument=path, entries=entries, blame=blame)


def _forward_over_reverse(setting: Setting, expected: tolerance.Expected) -> None:
    """As jax.hessian does it; a backward that has a custom_vjp inside refuses, which is a note."""
    session, subject = setting.session, setting.session.subject
    pull, findings = pull_of(subject, subject.function), session.findings
    if any(np.iscomplexobj(leaf) for leaf in setting.leaves):
        return

    def run(leaves: list, output_bars: list, directions: list) -> list:
        def bars_of(*given: jax.Array) -> list:
            return pull(replaced(leaves, subject.with_gradient, given), output_bars)[1]

        given = tuple(subject.select(leaves))
        along = tuple(jnp.asarray(d).astype(leaf.dtype) for d, leaf in zip(directions, given, strict=True))
        return jax.jvp(bars_of, given, along)[1]

    try:
        program = session.programs.once("forward over reverse", run, session.can.takes_doubles)
        seconds = all_wide(program(setting.leaves, setting.output_bars, setting.directions))
    except RaisedError as problem:
        findings.note("2", f"the gradient cannot be differentiated forward: {problem}")
        return
    failed = {failure.argument for failure in findings.failures if failure.check == "2"}
    for k, (path, second) in enumerate(zip(subject.gradient_paths, seconds, strict=True)):
        entries = _beside(second, expected, k)
        if entries.are_wrong and k not in findings.known_wrong and path not in failed:
            text = "the second derivative is not the reference's, differentiated forward; in reverse it is"
            findings.fail("2", text, argument=path, entries=entries)


def _second(session: Session, function: Callable) -> Callable:
    """second(leaves, output_bars, directions) -> no outputs, the gradient of <directions, cotangents> by the others."""
    pull, subject = pull_of(session.subject, function), session.subject

    def run(leaves: list, output_bars: list, directions: list) -> tuple[list, list]:
        def along(given: list, output_bars: list) -> jax.Array:
            _, bars = pull(replaced(leaves, subject.with_gradient, given), output_bars)
            parts = [jnp.sum(jnp.real(bar * d.astype(bar.dtype))) for bar, d in zip(bars, directions, strict=True)]
            return functools.reduce(jnp.add, parts)

        by_leaves, by_bars = jax.grad(along, argnums=(0, 1))(subject.select(leaves), list(output_bars))
        return [], [*by_leaves, *by_bars]

    return run
