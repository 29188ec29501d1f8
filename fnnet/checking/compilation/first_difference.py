"""Whether the compiler is to blame: what XLA makes of a function, beside the function operation by operation."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from fnnet.checking.compilation.operations import values
from fnnet.checking.errors import RaisedError
from fnnet.checking.leaves import as_wide
from fnnet.checking.programs import Call, compiler_options, mode
from fnnet.core.compiler import safe_options
from fnnet.core.jaxprs import Operation, flat_jaxpr

# Of an array's size, by the bytes of an entry: more than rounding explains.
GROSS = {8: 1e-6, 4: 1e-3, 2: 0.1}
CONDITIONING = 64  # times the changes that half a unit in the last place of the arguments causes


@dataclass(frozen=True, eq=False)
class Miscompilation:
    """The first operation whose result differs in the compiled function.

    Args:
        operation: Its name, its operands and its source line.
        number: Its number among the function's operations, from 1.
        count: How many operations the function has.
        is_avoided: Whether `fnnet.safe_options` avoids it.
    """

    operation: str
    number: int
    count: int
    is_avoided: bool

    def __str__(self) -> str:
        """What differs and what to do, in a sentence."""
        way = "avoids it" if self.is_avoided else "does not avoid it"
        return (
            f"the first of {self.count} operations that differs is number {self.number}, {self.operation}; "
            f"compiler_options=fnnet.safe_options() {way}"
        )


def differs(ours: Any, right: Any, allowed: float = 0.0) -> np.ndarray:
    """Which numbers differ by more than rounding explains.

    Args:
        ours: What XLA computes.
        right: The same, operation by operation.
        allowed: What the conditioning of the function explains, as the checker allows it.
    """
    a, b = as_wide(ours), as_wide(right)
    finite = np.isfinite(b)
    size = np.sqrt(np.mean(np.abs(b[finite]) ** 2)) if finite.any() else 0.0
    bytes_of_a_part = np.asarray(right).real.dtype.itemsize
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(a - b) <= GROSS.get(bytes_of_a_part, 0.5) * (np.abs(b) + size) + CONDITIONING * allowed
    return np.asarray(finite & ~near)


def misled(calls: Iterable[Call]) -> list[Call]:
    """The calls of compiled programs whose results differ from the function operation by operation."""
    return [call for call in calls if _is_misled(call)]


def _is_misled(call: Call) -> bool:
    try:
        right = jax.tree.leaves(call.program.alone(*call.args))
    except RaisedError:
        return False
    pairs = zip(jax.tree.leaves(call.result), right, strict=True)
    return any(_is_number(b) and differs(a, b).any() for a, b in pairs)


def primitives(function: Callable, wide: bool, args: Sequence[Any]) -> set[str]:
    """The names of the operations of a function."""
    with mode(wide):
        return {op.name for op in flat_jaxpr(function, *args).operations}


def first_difference(function: Callable, wide: bool, args: Sequence[Any], *, safe: bool) -> Miscompilation | None:
    """Compile the function up to one operation after the other, and bisect; None if nothing differs.

    Args:
        function: A function of arrays.
        wide: Whether it runs in 64-bit mode.
        args: Its arguments.
        safe: Whether it is compiled with `fnnet.safe_options`.
    """
    with mode(wide):
        jaxpr = flat_jaxpr(function, *args)
        right = values(jaxpr, args)

        def is_wrong(number: int, safe: bool) -> bool:
            """Whether the result of this operation is wrong in a program that ends with it."""
            outputs = jaxpr.operations[number].outputs
            needed = jaxpr.ancestors(outputs)
            part = replace(
                jaxpr,
                operations=tuple(e for e in jaxpr.operations[: number + 1] if needed.intersection(e.outputs)),
                outputs=outputs,
                out_tree=jax.tree.structure([0] * len(outputs)),
            )
            found = jax.jit(part, compiler_options=compiler_options(safe))(*args)
            pairs = [(a, right[i]) for a, i in zip(found, outputs, strict=True)]
            return any(_is_number(b) and differs(a, b).any() for a, b in pairs)

        returned = [n for n, e in enumerate(jaxpr.operations) if set(e.outputs) & set(jaxpr.outputs)]
        last = next((n for n in returned if is_wrong(n, safe)), None)
        if last is None:
            return None
        needed = jaxpr.ancestors(jaxpr.operations[last].outputs)
        line = [n for n, e in enumerate(jaxpr.operations[: last + 1]) if needed.intersection(e.outputs)]
        low, high = -1, len(line) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_wrong(line[middle], safe) else (middle, high)
        is_avoided = not safe and bool(safe_options()) and not is_wrong(last, True)
        return Miscompilation(
            _described(jaxpr.operations[line[high]]), line[high] + 1, len(jaxpr.operations), is_avoided
        )


def _is_number(value: Any) -> bool:
    return not jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended)


def _described(op: Operation) -> str:
    operands = ", ".join(aval.str_short() for aval in op.in_avals)
    return f"{op.name} of {operands}" + (f" at {op.where}" if op.where else "")
