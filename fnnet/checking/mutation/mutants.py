"""Mutants: a function made wrong by one edit. Each edit of each of its operations gives one."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax

from fnnet.checking.mutation.displacements import DISPLACEMENTS
from fnnet.checking.mutation.edits import ARITHMETIC
from fnnet.checking.mutation.loops import bodies, deciding
from fnnet.core.jaxprs import FlatJaxpr, Operation, flat_jaxpr


@dataclass(frozen=True, eq=False)
class Mutant:
    """A function with one edit.

    Args:
        description: Which operation, how it was changed, its operands and its source line.
        function: It takes the same arguments and gives the same shapes and dtypes; it can be jitted.
        key: The operation and the edit; see `mutated`.
    """

    description: str
    function: Callable
    key: str


@dataclass(frozen=True, eq=False)
class Mutation:
    """An edit in a jaxpr: `jaxpr.replaced(number, run)`.

    Args:
        number: The operation's number in the jaxpr.
        key: The operation, by its primitive and its number among those of this primitive, and the edit.
        details: Operands and source line.
        run: What the operation runs now.
        unseen: Why no values of these shapes can show the edit (an axis has one entry), or "".
    """

    number: int
    key: str
    details: str
    run: Callable[..., list]
    unseen: str

    def __str__(self) -> str:
        """Key and details."""
        return f"{self.key} ({self.details})"


def mutants(function: Callable, *args: Any) -> list[Mutant]:
    """Every mutant of `function`, traced at these arguments (arrays, or pytrees of arrays).

    Calls, and functions of `fnnet.rule`, are edited inside; so are the bodies of loops and branches of conditionals.
    """
    jaxpr = flat_jaxpr(function, *args)
    return [Mutant(str(p), jaxpr.replaced(p.number, p.run).__call__, p.key) for p in mutations(jaxpr)]


def mutated(function: Callable, key: str) -> Callable:
    """`function` with the edit `key` of one of its mutants, at whatever arguments it is called with.

    It runs a whole test suite against a wrong rule: rule(forward, mutated(backward, key)). Keyword arguments are
    static. At arguments where the edit does not exist, it is `function`.
    """

    @functools.wraps(function)
    def wrong(*args: Any, **static: Any) -> Any:
        jaxpr = flat_jaxpr(functools.partial(function, **static), *args)
        mutation = next((p for p in mutations(jaxpr) if p.key == key), None)
        return (jaxpr if mutation is None else jaxpr.replaced(mutation.number, mutation.run))(*args)

    return wrong


def mutations(jaxpr: FlatJaxpr, around: frozenset[int] = frozenset()) -> Iterator[Mutation]:
    """Every single edit of the jaxpr, in the order of its operations.

    Values on which the end of a while loop depends are not edited: the mutant might run for ever. `around` holds the
    values on which the end of a loop around the jaxpr depends.
    """
    fixed = around | deciding(jaxpr)
    met: Counter = Counter()
    for number, op in enumerate(jaxpr.operations):
        met[op.inside, op.name] += 1
        if fixed.intersection(op.outputs):
            continue
        name = _name(op, met[op.inside, op.name])
        for editor in (*ARITHMETIC.get(op.name, ()), *DISPLACEMENTS.get(op.name, ())):
            for edit in editor(op):
                if _keeps_shapes(op, edit.run):
                    yield Mutation(number, f"{name}: {edit.change}", _details(op), edit.run, edit.unseen)
        for body in bodies(op):
            for inner in mutations(body.jaxpr, body.deciding):
                run = body.rebuilt(body.jaxpr.replaced(inner.number, inner.run))
                yield Mutation(number, f"{name}, {body.label}: {inner.key}", inner.details, run, inner.unseen)


def _name(op: Operation, count: int) -> str:
    """ "rev #2 in conv.by_x": the second of this primitive there."""
    name = f"{op.name} #{count}" if count > 1 else op.name
    return " in ".join((name, *reversed(op.inside)))


def _details(op: Operation) -> str:
    avals = op.in_avals or op.out_avals
    return f"of {', '.join(a.str_short() for a in avals)}" + (f" at {op.where}" if op.where else "")


def _keeps_shapes(op: Operation, run: Callable[..., list]) -> bool:
    try:
        outs = jax.eval_shape(run, *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in op.in_avals))
    except (TypeError, ValueError):  # a window that does not fit, an operand of a kind that the operation does not take
        return False
    return [(o.shape, o.dtype) for o in outs] == [(a.shape, a.dtype) for a in op.out_avals]
