"""Programs inside equations: the bodies of loops and the branches of conditionals, and what decides when a loop ends.

A while loop whose counter is mutated, or that starts from arbitrary values, may never end.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax

from fnnet.core.jaxprs import Equation, Program, written


@dataclass(frozen=True, eq=False)
class Body:
    """A jaxpr inside an equation.

    Args:
        label: What it is, "body of scan".
        program: The body itself.
        deciding: Those of its values on which the end of a while loop depends.
        rebuilt: rebuilt(program) -> the outer equation's `run`, with that program for a body.
    """

    label: str
    program: Program
    deciding: frozenset[int]
    rebuilt: Callable[[Program], Callable[..., list]]


def bodies(equation: Equation) -> Iterator[Body]:
    """The bodies of a scan or while loop, the branches of a conditional; a while loop's condition is none of them."""
    params = equation.params
    if equation.name == "scan":
        body = _body(equation, "body of scan", params["jaxpr"], lambda new: {"jaxpr": new})
        # What it hands on to the next turn may decide there: where anything decides, everything does.
        yield replace(
            body, deciding=frozenset(body.program.ancestors(body.program.outputs)) if body.deciding else frozenset()
        )
    elif equation.name == "while":
        body = _body(equation, "body of while", params["body_jaxpr"], lambda new: {"body_jaxpr": new})
        yield replace(body, deciding=body.deciding | _condition(params, body.program)[0])
    elif equation.name == "cond":
        for number, branch in enumerate(params["branches"]):
            with_branch = functools.partial(_with_branch, params["branches"], number)
            yield _body(equation, f"branch {number} of cond", branch, with_branch)


def deciding(program: Program) -> frozenset[int]:
    """The values of a program on which the end of a while loop inside depends."""
    wanted: set[int] = set()
    for equation in program.equations:
        if equation.name == "while":
            operands = _condition(equation.params, written(equation.params["body_jaxpr"]))[1]
            wanted.update(equation.inputs[i] for i in operands)
        elif any(body.deciding for body in bodies(equation)):
            wanted.update(equation.inputs)
    return frozenset(program.ancestors(wanted))


def _body(equation: Equation, label: str, closed: Any, changed: Callable[[Any], dict[str, Any]]) -> Body:
    program = written(closed)

    def rebuilt(edited: Program) -> Callable[..., list]:
        @functools.cache  # one jaxpr, so that it is compiled once
        def run() -> Callable[..., list]:
            return equation.with_params(**changed(jax.make_jaxpr(edited)(*edited.in_avals)))

        return lambda *values: run()(*values)

    return Body(label, program, deciding(program), rebuilt)


def _with_branch(branches: tuple, number: int, new: Any) -> dict[str, Any]:
    return {"branches": (*branches[:number], new, *branches[number + 1 :])}


def _condition(params: dict[str, Any], body: Program) -> tuple[frozenset[int], set[int]]:
    """What a while loop's condition depends on, in this turn or a later one: values of its body, and operands."""
    of_condition, of_body = params["cond_nconsts"], params["body_nconsts"]
    condition = written(params["cond_jaxpr"])
    read = condition.ancestors(condition.outputs).intersection(range(len(condition.in_avals)))
    carried = {i - of_condition for i in read if i >= of_condition}
    while True:
        needed = body.ancestors(body.outputs[i] for i in carried)
        wider = carried | {i - of_body for i in needed.intersection(range(of_body, len(body.in_avals)))}
        if wider == carried:
            break
        carried = wider
    operands = {i for i in read if i < of_condition}
    operands |= {of_condition + i for i in needed if i < of_body}
    return frozenset(needed), operands | {of_condition + of_body + i for i in carried}
