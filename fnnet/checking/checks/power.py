"""W: whether these inputs could have seen a wrong backward at all: its jaxpr is mutated, each mutant put to check R."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from fnnet.checking.mutation.power import PowerReport, power
from fnnet.checking.programs import Program, as_wide, mode, vjp
from fnnet.checking.session import NotRun, Session
from fnnet.checking.tolerance import wrong_entries
from fnnet.core.one_line import in_one_line

COTANGENTS = 3


def check(session: Session) -> None:
    """Nothing fails. A note names the mutants that the example cannot tell from the rule; `session.power` has all."""
    leaves = session.working
    output_bars = [session.output_bars(leaves, n) for n in range(COTANGENTS)]
    right = [session.own_expected(leaves, bars) for bars in output_bars]

    def passes(n: int, bars: Sequence) -> bool:
        return not any(
            m.shape != b.shape or wrong_entries(m, b, a).any()
            for m, b, a in zip(map(as_wide, bars), right[n].bars, right[n].bar_allowed, strict=True)
        )

    session.power = power_of_backward(session, leaves, output_bars, passes)
    session.notes += [f"W: {line.strip()}" for line in str(session.power).splitlines()]


def power_of_backward(
    session: Session, leaves: list, output_bars: list[list], passes: Callable[[int, Sequence], bool]
) -> PowerReport:
    """The mutants of the backward alone, what it keeps being given: which of them passes(n, cotangents) rejects.

    Args:
        session: Of the rule.
        leaves: Its arguments.
        output_bars: Several cotangents of its output.
        passes: Whether the n-th cotangent may be pulled back to these.

    Raises:
        NotRun: The backward cannot be mutated.
    """
    subject = session.subject
    structure: list = []

    def forward(leaves: list) -> list:
        _, pulled = vjp(subject, subject.function, leaves)
        held, tree = jax.tree.flatten(pulled)
        structure[:] = [tree]
        return held

    held = Program(forward, session.takes_doubles)(leaves)
    if any(type(h) is not np.ndarray for h in held):
        raise NotRun("what the backward keeps is not all arrays")

    def backward(*arrays: jax.Array) -> list:
        pulled = jax.tree.unflatten(structure[0], arrays[: len(held)])
        return list(pulled(list(arrays[len(held) :])))

    with mode(session.takes_doubles):
        try:
            return power(backward, [(*held, *bars) for bars in output_bars], passes, seed=session.options.seed)
        except Exception as problem:
            raise NotRun(f"the backward cannot be mutated: {in_one_line(problem)}") from None
