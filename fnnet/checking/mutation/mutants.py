"""Mutants: a function, made wrong by one edit. Each edit of each of its equations gives one."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax

from fnnet.checking.mutation.displacements import DISPLACEMENTS
from fnnet.checking.mutation.edits import ARITHMETIC
from fnnet.checking.mutation.loops import bodies, deciding
from fnnet.core.jaxprs import Equation, Program, trace


@dataclass(frozen=True, eq=False)
class Mutant:
    """A function with one edit.

    Args:
        description: Which equation, what was done to it, its operands, its source line.
        function: Takes the same arguments, and gives the same shapes and dtypes; may be jitted.
        key: Equation and edit; see `mutated`.
    """

    description: str
    function: Callable
    key: str


@dataclass(frozen=True, eq=False)
class Place:
    """An edit in a program: `program.replaced(number, run)`.

    Args:
        number: Of the equation.
        key: The equation, by its primitive and the how many-th of its kind it is, and the edit.
        details: Operands and source line.
        run: What the equation runs now.
        unseen: Why no values of these shapes can show it, where it is about axes of one entry, or "".
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
    program = trace(function, *args)
    return [Mutant(str(p), program.replaced(p.number, p.run).__call__, p.key) for p in places(program)]


def mutated(function: Callable, key: str) -> Callable:
    """`function` with the edit `key` of one of its mutants, at whatever arguments it is called with.

    It serves to run a whole test suite against a wrong rule: rule(forward, mutated(backward, key)). Keyword arguments
    are static. Where the arguments are such that there is no place for the edit, it is `function`.
    """

    @functools.wraps(function)
    def wrong(*args: Any, **static: Any) -> Any:
        program = trace(functools.partial(function, **static), *args)
        place = next((p for p in places(program) if p.key == key), None)
        return (program if place is None else program.replaced(place.number, place.run))(*args)

    return wrong


def places(program: Program, around: frozenset[int] = frozenset()) -> Iterator[Place]:
    """Every single edit of the program, in the order of its equations.

    Nothing on which the end of a while loop depends is edited: the mutant might run for ever. `around` holds the values
    of the program on which the end of a loop around it depends.
    """
    fixed = around | deciding(program)
    met: Counter = Counter()
    for number, equation in enumerate(program.equations):
        met[equation.inside, equation.name] += 1
        if fixed.intersection(equation.outputs):
            continue
        name = _name(equation, met[equation.inside, equation.name])
        for editor in (*ARITHMETIC.get(equation.name, ()), *DISPLACEMENTS.get(equation.name, ())):
            for edit in editor(equation):
                if _keeps_shapes(equation, edit.run):
                    yield Place(number, f"{name}: {edit.change}", _details(equation), edit.run, edit.unseen)
        for body in bodies(equation):
            for inner in places(body.program, body.deciding):
                run = body.rebuilt(body.program.replaced(inner.number, inner.run))
                yield Place(number, f"{name}, {body.label}: {inner.key}", inner.details, run, inner.unseen)


def _name(equation: Equation, count: int) -> str:
    """ "rev #2 in conv.by_x": the second of this primitive there."""
    name = f"{equation.name} #{count}" if count > 1 else equation.name
    return " in ".join((name, *reversed(equation.inside)))


def _details(equation: Equation) -> str:
    avals = equation.in_avals or equation.out_avals
    return f"of {', '.join(a.str_short() for a in avals)}" + (f" at {equation.where}" if equation.where else "")


def _keeps_shapes(equation: Equation, run: Callable[..., list]) -> bool:
    try:
        outs = jax.eval_shape(run, *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in equation.in_avals))
    except (TypeError, ValueError):  # a window that does not fit, an operand of a kind that the operation does not take
        return False
    return [(o.shape, o.dtype) for o in outs] == [(a.shape, a.dtype) for a in equation.out_avals]
