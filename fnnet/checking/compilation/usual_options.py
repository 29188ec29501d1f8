"""Part of P and R: what XLA makes of the rule with its usual options, as the user's own `jax.jit` does."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fnnet.checking.compilation import faults
from fnnet.checking.compilation.first_difference import differs, first_difference, primitives
from fnnet.checking.entries import Entries
from fnnet.checking.kinds import Blame
from fnnet.checking.leaves import as_wide
from fnnet.checking.programs import Program
from fnnet.checking.report import Failure
from fnnet.checking.session import Session
from fnnet.core.compiler import HIGH_RANK, Fault, safe_options
from fnnet.core.jaxprs import all_equations

RANK = 7  # of arrays whose sums may crash


@dataclass(frozen=True, eq=False)
class Compiled:
    """A program of the rule's, compiled twice.

    Args:
        check: The check that it is a part of.
        usual: The program as XLA usually compiles it.
        safe: The same with `fnnet.safe_options`.
        args: The arguments of both.
        names: Names of the results that are compared.
        chosen: Those results among all.
    """

    check: str
    usual: Program
    safe: Program
    args: tuple
    names: Sequence[str]
    chosen: Callable[[Any], Sequence[Any]] = lambda outs: outs


def compare_compiled(session: Session, compiled: Compiled, allowed: Callable[[], Sequence[float]]) -> None:
    """Add failures that are the compiler's where the usual program differs from the function operation by operation.

    `allowed` tells how far each result may be off by the function's conditioning; it is called if they differ.
    """
    check, args, findings = compiled.check, compiled.args, session.findings
    if not safe_options() or compiled.safe.untraceable:
        return
    sums = list(_sums_of_many_axes(compiled.usual.jaxpr(*args).jaxpr))
    if sums and faults.outcome(HIGH_RANK).is_live:
        crashing = next((one for one in sums if faults.crashes(*one)), None)
        if crashing is None:
            findings.note(check, f"not compared with what XLA usually makes of it, which may crash: {sums[0]}")
        else:
            shape, axis = crashing
            text = f"XLA crashes on the sum of a product of shape {shape} over axis {axis}; {_like([HIGH_RANK])}"
            findings.fail(check, text, blame=Blame.COMPILER)
        return
    ours, theirs = compiled.chosen(compiled.usual(*args)), compiled.chosen(compiled.safe(*args))
    if not any(differs(a, b).any() for a, b in zip(ours, theirs, strict=True)):
        return
    right = compiled.chosen(compiled.safe.alone(*args))
    for name, a, b, tolerance in zip(compiled.names, ours, right, allowed(), strict=True):
        wrong = differs(a, b, tolerance)
        if wrong.any():
            text = f"XLA miscompiles it: {_explained(compiled.usual, args, safe=False)}"
            entries = Entries(as_wide(a), as_wide(b), wrong, tolerance)
            findings.fail(check, text, argument=name, entries=entries, blame=Blame.COMPILER)


def miscompiled_though_safe(check: str, programs: Sequence[tuple[Program, tuple]]) -> Failure:
    """The failure of a check that fails as compiled with `fnnet.safe_options`, and passes operation by operation."""
    found = (_explained(program, args, safe=True) for program, args in programs)
    text = "the check passes operation by operation, and fails as compiled: "
    return Failure(check, "", "", text + next(found, "which operation differs is not known"), blame=Blame.COMPILER)


def _explained(program: Program, args: Sequence[Any], *, safe: bool) -> str:
    found = first_difference(program.function, program.wide, args, safe=safe)
    known = faults.live(primitives(program.function, program.wide, args))
    text = "no operation by itself shows it" if found is None else str(found)
    return text + (f"; {_like(known)}" if known else "")


def _like(known: Sequence[Fault]) -> str:
    return "like the known fault " + " or ".join(f"{fault.name} ({fault.report})" for fault in known)


def _sums_of_many_axes(jaxpr: Any) -> Iterator[tuple[tuple[int, ...], int]]:
    """The shape and the axis of each sum of a product over one axis of many, anywhere in a jaxpr."""
    products: set[int] = set()
    for equation in all_equations(jaxpr):
        if equation.primitive.name == "mul":
            products.update(map(id, equation.outvars))
        elif equation.primitive.name == "reduce_sum" and id(equation.invars[0]) in products:
            shape, axes = equation.invars[0].aval.shape, equation.params["axes"]
            if len(shape) >= RANK and len(axes) == 1:
                yield shape, axes[0]
