"""W: whether these inputs could have seen a wrong backward at all: its jaxpr is mutated, each mutant put to check R."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from fnnet.checking.errors import NotRun
from fnnet.checking.leaves import as_wide
from fnnet.checking.mutation.power import PowerReport, power
from fnnet.checking.programs import Program, mode, vjp
from fnnet.checking.session import Session
from fnnet.checking.tolerance import compared
from fnnet.core.one_line import in_one_line

COTANGENTS = 3


def check(session: Session) -> None:
    """Nothing fails. A note names the mutants that the example cannot tell from the rule; `findings.power` has all."""
    leaves, findings = session.working, session.findings
    output_bars = [session.output_bars(leaves, n) for n in range(COTANGENTS)]
    right = [session.own_expected(leaves, bars) for bars in output_bars]

    def passes(n: int, bars: Sequence) -> bool:
        return not any(
            bar.shape != b.shape or compared(as_wide(bar), b, allowed).are_wrong
            for bar, b, allowed in zip(bars, right[n].bars, right[n].bar_allowed, strict=True)
        )

    findings.power = power_of_backward(session, leaves, output_bars, passes)
    for line in str(findings.power).splitlines():
        findings.note("W", line.strip())


def power_of_backward(
    session: Session, leaves: list, output_bars: list[list], passes: Callable[[int, Sequence], bool]
) -> PowerReport:
    """The mutants of the backward alone, with what it keeps given: which of them passes(n, cotangents) rejects.

    Args:
        session: Of the rule.
        leaves: Its arguments.
        output_bars: Several cotangents of its output.
        passes: Whether the n-th cotangent may be pulled back to these.

    Raises:
        NotRun: The backward cannot be mutated.
    """
    subject, wide = session.subject, session.can.takes_doubles
    structure: list = []

    def forward(leaves: list) -> list:
        _, pulled = vjp(subject, subject.function, leaves)
        held, tree = jax.tree.flatten(pulled)
        structure[:] = [tree]
        return held

    held = Program(forward, wide)(leaves)
    if any(type(h) is not np.ndarray for h in held):
        raise NotRun("what the backward keeps is not all arrays")

    def backward(*arrays: jax.Array) -> list:
        pulled = jax.tree.unflatten(structure[0], arrays[: len(held)])
        return list(pulled(list(arrays[len(held) :])))

    with mode(wide):
        try:
            return power(backward, [(*held, *bars) for bars in output_bars], passes, seed=session.options.seed)
        except Exception as problem:
            raise NotRun(f"the backward cannot be mutated: {in_one_line(problem)}") from None
