"""Jaxprs inside operations: bodies of loops, branches of conditionals, and the values that decide when a loop ends.

A while loop may never end if its counter is mutated, or if it starts from arbitrary values.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax

from fnnet.core.jaxprs import FlatJaxpr, Operation, flattened


@dataclass(frozen=True, eq=False)
class Body:
    """A jaxpr inside an operation.

    Args:
        label: What it is, "body of scan".
        jaxpr: The body itself.
        deciding: Those of its values on which the end of a while loop depends.
        rebuilt: rebuilt(jaxpr) -> the `run` of the outer operation, with that jaxpr as its body.
    """

    label: str
    jaxpr: FlatJaxpr
    deciding: frozenset[int]
    rebuilt: Callable[[FlatJaxpr], Callable[..., list]]


def bodies(op: Operation) -> Iterator[Body]:
    """The bodies of a scan or while loop, the branches of a conditional; a while loop's condition is none of them."""
    params = op.params
    if op.name == "scan":
        body = _body(op, "body of scan", params["jaxpr"], lambda new: {"jaxpr": new})
        # What it hands on to the next turn may decide there: where anything decides, everything does.
        yield replace(
            body, deciding=frozenset(body.jaxpr.ancestors(body.jaxpr.outputs)) if body.deciding else frozenset()
        )
    elif op.name == "while":
        body = _body(op, "body of while", params["body_jaxpr"], lambda new: {"body_jaxpr": new})
        yield replace(body, deciding=body.deciding | _condition(params, body.jaxpr)[0])
    elif op.name == "cond":
        for number, branch in enumerate(params["branches"]):
            with_branch = functools.partial(_with_branch, params["branches"], number)
            yield _body(op, f"branch {number} of cond", branch, with_branch)


def deciding(jaxpr: FlatJaxpr) -> frozenset[int]:
    """The values of a jaxpr on which the end of a while loop inside depends."""
    wanted: set[int] = set()
    for op in jaxpr.operations:
        if op.name == "while":
            operands = _condition(op.params, flattened(op.params["body_jaxpr"]))[1]
            wanted.update(op.inputs[i] for i in operands)
        elif any(body.deciding for body in bodies(op)):
            wanted.update(op.inputs)
    return frozenset(jaxpr.ancestors(wanted))


def _body(op: Operation, label: str, closed: Any, changed: Callable[[Any], dict[str, Any]]) -> Body:
    jaxpr = flattened(closed)

    def rebuilt(edited: FlatJaxpr) -> Callable[..., list]:
        @functools.cache  # one jaxpr, so that it is compiled once
        def run() -> Callable[..., list]:
            return op.with_params(**changed(jax.make_jaxpr(edited)(*edited.in_avals)))

        return lambda *values: run()(*values)

    return Body(label, jaxpr, deciding(jaxpr), rebuilt)


def _with_branch(branches: tuple, number: int, new: Any) -> dict[str, Any]:
    return {"branches": (*branches[:number], new, *branches[number + 1 :])}


def _condition(params: dict[str, Any], body: FlatJaxpr) -> tuple[frozenset[int], set[int]]:
    """What a while loop's condition depends on, in this turn or a later one: values of its body, and operands."""
    of_condition, of_body = params["cond_nconsts"], params["body_nconsts"]
    condition = flattened(params["cond_jaxpr"])
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
