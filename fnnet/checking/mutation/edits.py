"""Edits of elementwise operations, reductions and running sums: the wrong operations that resemble an operation.

An edit keeps shapes and dtypes, because check S sees errors in these. Sums and products of integers, which are indices,
are not edited. `displacements` has the edits of operations that move entries.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from fnnet.core.jaxprs import Operation


@dataclass(frozen=True, eq=False)
class Edit:
    """An operation, changed.

    Args:
        change: What was changed.
        run: run(*operands) -> results.
        unseen: Why no values of these shapes can show the change (an axis has one entry), or "".
    """

    change: str
    run: Callable[..., list]
    unseen: str = ""


Editor = Callable[[Operation], Iterator[Edit]]
Editors = dict[str, list[Editor]]  # by the name of the primitive

ARITHMETIC: Editors = defaultdict(list)


def editor(table: Editors, *names: str) -> Callable[[Editor], Editor]:
    """Enters an editor into the table, under the names of its primitives."""

    def enter(edits: Editor) -> Editor:
        for name in names:
            table[name].append(edits)
        return edits

    return enter


def _is_inexact(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, np.inexact)


DROPPED = ("neg", "abs", "sign", "square", "not")
EXCHANGED: dict[str, tuple[str, Callable]] = {
    "gt": ("ge", lax.ge),
    "ge": ("gt", lax.gt),
    "lt": ("le", lax.le),
    "le": ("lt", lax.lt),
    "max": ("min", lax.min),
    "min": ("max", lax.max),
    "and": ("or", lax.bitwise_or),
    "or": ("and", lax.bitwise_and),
    "add": ("sub", lax.sub),
    "add_any": ("sub", lax.sub),
    "sub": ("add", lax.add),
    "exp": ("expm1", lax.expm1),
    "log": ("log1p", lax.log1p),
    "sin": ("cos", lax.cos),
    "cos": ("sin", lax.sin),
    "logistic": ("tanh", lax.tanh),
    "tanh": ("logistic", lax.logistic),
}
ON_INTEGERS = ("gt", "ge", "lt", "le", "max", "min", "and", "or")


@editor(ARITHMETIC, *DROPPED)
def _dropped(op: Operation) -> Iterator[Edit]:
    yield Edit("dropped", lambda x: [x])


@editor(ARITHMETIC, *EXCHANGED)
def _exchanged(op: Operation) -> Iterator[Edit]:
    if op.name in ON_INTEGERS or _is_inexact(op.out_avals[0]):
        name, operation = EXCHANGED[op.name]
        yield Edit(f"made {name}", lambda *values: [operation(*jnp.broadcast_arrays(*values))])


@editor(ARITHMETIC, "mul", "div")
def _operand_dropped(op: Operation) -> Iterator[Edit]:
    if not _is_inexact(op.out_avals[0]):
        return
    yield Edit("second operand dropped", lambda x, y: [x])
    if op.name == "mul" and op.inputs[0] != op.inputs[1]:
        yield Edit("first operand dropped", lambda x, y: [y])


@editor(ARITHMETIC, "integer_pow")
def _exponent(op: Operation) -> Iterator[Edit]:
    y = op.params["y"]
    yield Edit(f"exponent {y} made {y + 1}", op.with_params(y=y + 1))


@editor(ARITHMETIC, "select_n")
def _selection(op: Operation) -> Iterator[Edit]:
    if len(op.inputs) == 3:
        yield Edit("branches exchanged", lambda which, no, yes: [lax.select_n(which, yes, no)])
        yield Edit("mask made all true", lambda which, no, yes: [yes])


@editor(ARITHMETIC, "convert_element_type")
def _rounded(op: Operation) -> Iterator[Edit]:
    def digits(aval: Any) -> int:
        return jnp.finfo(aval.dtype).nmant if _is_inexact(aval) else 0

    if min(digits(op.in_avals[0]), digits(op.out_avals[0])) > jnp.finfo(jnp.bfloat16).nmant:
        dtype = op.out_avals[0].dtype
        yield Edit("rounded to bfloat16", lambda x: [x.astype(jnp.bfloat16).astype(dtype)])


@editor(ARITHMETIC, "constant")
def _scaled(op: Operation) -> Iterator[Edit]:
    if not _is_inexact(op.out_avals[0]):
        return
    value = np.asarray(op.run()[0])
    if np.isfinite(value).all() and value.any():
        name = f"{value:.6g} " if value.ndim == 0 else ""
        yield Edit(f"{name}times 1.1", lambda: [(value * 1.1).astype(value.dtype)])


@editor(ARITHMETIC, "output")
def _of_an_output(op: Operation) -> Iterator[Edit]:
    if _is_inexact(op.out_avals[0]):
        yield Edit("made zero", lambda x: [jnp.zeros_like(x)])
        yield Edit("negated", lambda x: [-x])


# Reductions and scans over an axis.


@editor(ARITHMETIC, "reduce_sum", "reduce_max", "reduce_min", "reduce_prod")
def _reduction(op: Operation) -> Iterator[Edit]:
    axes, shape = op.params["axes"], op.in_avals[0].shape
    count = math.prod(shape[a] for a in axes)
    if op.name == "reduce_sum" and axes and _is_inexact(op.out_avals[0]):
        unseen = f"only one entry is summed, over axes {tuple(axes)} of {shape}" if count == 1 else ""
        yield Edit("made a mean", lambda x: [op.run(x)[0] / np.asarray(count, x.dtype)], unseen)
    for a in axes if count > 1 else ():
        unseen = f"axis {a} of {shape} has one entry" if shape[a] == 1 else ""
        yield Edit(f"axis {a} left out", lambda x, a=a: op.run(lax.slice_in_dim(x, 0, 1, axis=a)), unseen)
        for other in range(len(shape)):
            if other not in axes and shape[other] == shape[a] > 1:
                exchanged = tuple(sorted({*axes, other} - {a}))
                yield Edit(f"over axis {other} for {a}", op.with_params(axes=exchanged))
    if op.name in ("reduce_max", "reduce_min") and count > 1:
        other_end = lax.reduce_min if op.name == "reduce_max" else lax.reduce_max
        yield Edit(f"made {other_end.__name__}", lambda x: [other_end(x, tuple(axes))])


@editor(ARITHMETIC, "argmax", "argmin")
def _last_of_equals(op: Operation) -> Iterator[Edit]:
    (axis,) = op.params["axes"]
    last = op.in_avals[0].shape[axis] - 1

    def run(x: Any) -> list:
        (from_end,) = op.run(lax.rev(x, (axis,)))
        return [last - from_end]

    yield Edit("made the last of equals", run, f"axis {axis} has one entry" if last == 0 else "")


@editor(ARITHMETIC, "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "scan")
def _reversed(op: Operation) -> Iterator[Edit]:
    params = op.params
    length = params["length"] if op.name == "scan" else op.in_avals[0].shape[params["axis"]]
    unseen = "it has one step" if length == 1 else ""
    yield Edit("reversed", op.with_params(reverse=not params["reverse"]), unseen)
