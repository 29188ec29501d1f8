"""Jaxprs: their equations at every depth, and a function as one flat list of operations, any of which can be replaced.

`jax.make_jaxpr` gives equations that call further jaxprs. `flattened` writes these calls out, and also primitives from
outside JAX, such as those of `primitives`, by tracing what they compute. It leaves out what no output needs. It imports
jax.extend to run jaxprs and to tell literals from variables; only this module and `primitives` use JAX's extension
interface.
"""

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Primitive, jaxpr_as_fun

# Primitives that only run a jaxpr on their operands, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat2": "jaxpr",
}
# Lines of JAX and of these files do not say where an equation comes from.
JAX, HERE = os.path.dirname(jax.__file__), os.path.dirname(__file__)
MACHINERY = frozenset(os.path.join(HERE, f"{name}.py") for name in ("primitives", "multilinear", "registration"))


def inner_jaxprs(value: Any) -> list[ClosedJaxpr]:
    """The jaxprs in a parameter of an equation, or in a list of parameters: of a call, a loop, a conditional."""
    found = jax.tree.leaves(value, is_leaf=lambda v: isinstance(v, Jaxpr | ClosedJaxpr))
    found = [v for v in found if isinstance(v, Jaxpr | ClosedJaxpr)]
    return [v if isinstance(v, ClosedJaxpr) else ClosedJaxpr(v, ()) for v in found]


def all_equations(jaxpr: Jaxpr) -> Iterator[Any]:
    """Every equation, each followed by those of the jaxprs inside it."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in inner_jaxprs(list(eqn.params.values())):
            yield from all_equations(inner.jaxpr)


def evaluated(closed: ClosedJaxpr, *args: Any) -> list:
    """The outputs of a jaxpr, operation by operation."""
    return jaxpr_as_fun(closed)(*args)


def dependent_outputs(jaxpr: Jaxpr, inputs: Sequence[bool]) -> list[bool]:
    """Which outputs depend on the flagged inputs; the others are constants, which XLA makes where they are read."""
    known = {id(var) for var, flag in zip(jaxpr.invars, inputs, strict=True) if flag}
    for eqn in jaxpr.eqns:
        flags = [id(var) in known for var in eqn.invars]
        called = eqn.params["jaxpr"].jaxpr if eqn.primitive.name == "jit" else None
        outputs = dependent_outputs(called, flags) if called else [any(flags)] * len(eqn.outvars)
        known.update(id(var) for var, flag in zip(eqn.outvars, outputs, strict=True) if flag)
    return [id(var) in known for var in jaxpr.outvars]


@dataclass(frozen=True, eq=False)
class Operation:
    """outputs = run(*inputs).

    Args:
        name: The primitive's name; "constant" (without inputs) and "output" (the identity) are operations too.
        run: run(*values) -> list of values.
        inputs: Indices of its operands: each value of a FlatJaxpr has an index.
        outputs: Indices of its results.
        in_avals: Shapes and dtypes of the operands.
        out_avals: Shapes and dtypes of the results.
        params: The primitive's parameters.
        inside: The primitives from outside JAX that it was written out of, the outermost first.
        where: The file, line and function that it comes from, if known.
    """

    name: str
    run: Callable[..., list]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    in_avals: tuple[Any, ...]
    out_avals: tuple[Any, ...]
    params: dict[str, Any] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    where: str = ""

    def with_params(self, **changes: Any) -> Callable[..., list]:
        """`run`, with some of the primitive's parameters changed."""
        primitive, params = self.run.args  # type: ignore[attr-defined]
        return functools.partial(_bind, primitive, {**params, **changes})


@dataclass(frozen=True, eq=False)
class FlatJaxpr:
    """A function as a list of operations, in an order in which they can run; it is called as the function is.

    Args:
        in_avals: Shapes and dtypes of its inputs, which are its first values.
        operations: What it computes.
        outputs: Indices of the values that it returns.
        out_tree: The structure of what it returns.
    """

    in_avals: tuple[Any, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[int, ...]
    out_tree: Any

    def __call__(self, *args: Any) -> Any:
        """What the function returns; the arguments' structure must be the same, up to the order of their leaves."""
        values = self.values(*args)
        return jax.tree.unflatten(self.out_tree, [values[i] for i in self.outputs])

    def values(self, *args: Any) -> dict[int, Any]:
        """Every value, by its index."""
        values = dict(enumerate(map(jnp.asarray, jax.tree.leaves(args))))
        for op in self.operations:
            values.update(zip(op.outputs, op.run(*(values[i] for i in op.inputs)), strict=True))
        return values

    def replaced(self, number: int, run: Callable[..., list]) -> "FlatJaxpr":
        """The same with `run` in operation `number`."""
        changed = replace(self.operations[number], run=run)
        return replace(self, operations=(*self.operations[:number], changed, *self.operations[number + 1 :]))

    def rerun(self, values: dict[int, Any], number: int, run: Callable[..., list]) -> list | None:
        """The outputs of `replaced(number, run)`, computed from this jaxpr's `values`: only what changes is computed.

        None if the operation's results have the same bits as before: then nothing else can have changed.
        """
        first = self.operations[number]
        changed = dict(zip(first.outputs, run(*(values[i] for i in first.inputs)), strict=True))
        if all(_same_bits(changed[i], values[i]) for i in first.outputs):
            return None
        for op in self.operations[number + 1 :]:
            if any(i in changed for i in op.inputs):
                outs = op.run(*(changed.get(i, values[i]) for i in op.inputs))
                changed.update(zip(op.outputs, outs, strict=True))
        return [changed.get(i, values[i]) for i in self.outputs]

    def ancestors(self, wanted: Iterable[int]) -> set[int]:
        """The values that the wanted ones are computed from, and these themselves."""
        needed = set(wanted)
        for op in reversed(self.operations):
            if needed.intersection(op.outputs):
                needed.update(op.inputs)
        return needed


def flat_jaxpr(function: Callable, *args: Any) -> FlatJaxpr:
    """`function`, traced at the shapes and dtypes of these arguments (arrays, or pytrees of arrays)."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    flat = flattened(closed)
    count = 1 + max([len(flat.in_avals), *(i for op in flat.operations for i in op.outputs)])
    ends = tuple(
        Operation("output", lambda value: [value], (i,), (count + n,), (aval,), (aval,))
        for n, (i, aval) in enumerate(zip(flat.outputs, closed.out_avals, strict=True))
    )
    outputs = tuple(range(count, count + len(ends)))
    return FlatJaxpr(flat.in_avals, (*flat.operations, *ends), outputs, jax.tree.structure(shapes))


def flattened(closed: ClosedJaxpr) -> FlatJaxpr:
    """A jaxpr, its calls written out; called, it returns a list."""
    writer = _Writer(len(closed.jaxpr.invars))
    consts = [writer.constant(value) for value in closed.consts]
    outputs = writer.inline(closed.jaxpr, consts, range(len(closed.jaxpr.invars)))
    tree = jax.tree.structure([0] * len(outputs))
    flat = FlatJaxpr(tuple(closed.in_avals), tuple(writer.operations), tuple(outputs), tree)
    needed = flat.ancestors(outputs)
    return replace(flat, operations=tuple(op for op in flat.operations if needed.intersection(op.outputs)))


class _Writer:
    """Writes jaxprs out as operations; a jaxpr that is called twice is written twice, with values of its own."""

    def __init__(self, count: int):
        self.count = count
        self.operations: list[Operation] = []

    def fresh(self, how_many: int) -> list[int]:
        self.count += how_many
        return list(range(self.count - how_many, self.count))

    def constant(self, value: Any) -> int:
        (output,) = self.fresh(1)
        self.operations.append(Operation("constant", lambda: [value], (), (output,), (), (jax.typeof(value),)))
        return output

    def inline(
        self,
        jaxpr: Jaxpr,
        consts: Sequence[int],
        args: Sequence[int],
        inside: tuple[str, ...] = (),
        called_at: str = "",
    ) -> list[int]:
        """Indices of the jaxpr's outputs."""
        indices: dict[Any, int] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

        def index(atom: Any) -> int:
            if isinstance(atom, Literal):
                return self.constant(np.asarray(atom.val, atom.aval.dtype))  # type: ignore[attr-defined]
            return indices[atom]

        for eqn in jaxpr.eqns:
            inputs, where = list(map(index, eqn.invars)), _where(eqn) or called_at
            called, name = _called(eqn)
            if called is None:
                outputs = self.fresh(len(eqn.outvars))
                operation = Operation(
                    name=eqn.primitive.name,
                    run=functools.partial(_bind, eqn.primitive, eqn.params),
                    inputs=tuple(inputs),
                    outputs=tuple(outputs),
                    in_avals=tuple(v.aval for v in eqn.invars),
                    out_avals=tuple(v.aval for v in eqn.outvars),
                    params=eqn.params,
                    inside=inside,
                    where=where,
                )
                self.operations.append(operation)
            else:
                held = list(map(self.constant, called.consts))
                operands = inputs[len(inputs) - len(called.jaxpr.invars) :]  # a branch does not take its number
                outputs = self.inline(called.jaxpr, held, operands, (*inside, *name), where)
            indices.update(zip(eqn.outvars, outputs, strict=True))
        return [index(atom) for atom in jaxpr.outvars]


def _called(eqn: Any) -> tuple[ClosedJaxpr | None, tuple[str, ...]]:
    """What the equation calls, and under which name, if any; None if it computes something itself."""
    primitive = eqn.primitive
    if primitive.name in CALLS:
        called = eqn.params[CALLS[primitive.name]]
        return (called if isinstance(called, ClosedJaxpr) else ClosedJaxpr(called, ())), ()
    if eqn.params.get("branches_platforms"):
        return _branch_here(eqn), ()
    if not inspect.isfunction(primitive.impl) or primitive.impl.__module__.startswith("jax."):
        return None, ()
    try:
        traced = jax.make_jaxpr(functools.partial(primitive.impl, **eqn.params))(*(v.aval for v in eqn.invars))
    except Exception:  # an implementation that cannot be traced
        return None, ()
    inner = traced.jaxpr
    while len(inner.eqns) == 1 and inner.eqns[0].primitive.name == "jit":
        inner = inner.eqns[0].params["jaxpr"].jaxpr
    is_itself = len(inner.eqns) == 1 and inner.eqns[0].primitive is primitive
    return (None, ()) if is_itself else (traced, (primitive.name,))


def _branch_here(eqn: Any) -> ClosedJaxpr:
    """What `jax.lax.platform_dependent` runs on this machine; None among the platforms is the default."""
    pairs = list(zip(eqn.params["branches_platforms"], eqn.params["branches"], strict=True))
    named = [branch for platforms, branch in pairs if platforms and jax.default_backend() in platforms]
    return (named or [branch for platforms, branch in pairs if platforms is None])[0]


def _bind(primitive: Primitive, params: dict[str, Any], *values: Any) -> list:
    outs = primitive.bind(*values, **primitive.get_bind_params(params))
    return list(outs) if primitive.multiple_results else [outs]


def _where(eqn: Any) -> str:
    """The innermost line that is neither JAX's nor fnnet's machinery."""
    traceback = eqn.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        if not frame.file_name.startswith(JAX) and frame.file_name not in MACHINERY:
            return f"{os.path.basename(frame.file_name)}:{frame.line_num} ({frame.function_name})"
    return ""


def _same_bits(a: Any, b: Any) -> bool:
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.extended):
        return False
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()
