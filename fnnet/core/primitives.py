"""The only module that touches JAX's extension interface: primitives that are their own lowering.

A primitive made here computes whatever its function traces to, so that nothing of it remains before XLA; what it adds
is a say in how vmap, differentiation and sharding treat the function. docs/rules.md tells why this is needed.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive, take_current_trace
from jax.interpreters import ad, batching, mlir

from fnnet.core import supported
from fnnet.core.eager import compiled
from fnnet.core.jaxprs import all_equations

supported.warn_of(jax.__version__)  # here, since this module is what another version may break

COLLECTIVES = frozenset(
    "all_gather all_gather_invariant all_gather_reduced all_to_all axis_index pbroadcast pgather pmax pmin ppermute "
    "psum psum2 psum_invariant psum_scatter ragged_all_to_all reduce_scatter unreduced_psum".split()
)

Arrays = list[Any]
Batcher = Callable[..., tuple[Arrays, list[int]]]


class _Primitive(Primitive):
    """A primitive in whose place `jax.checkpoint` gets the function, under `jax_remat3`.

    There JAX runs the checkpointed function in a trace of its own, which takes a primitive of others as one operation:
    a checkpoint policy would see no product in it, and jax.hessian would ask for its forward mode. The trace looks
    into a custom_vjp function, which is what a rule's function is. A linear primitive stays: it has a forward mode.
    """

    multiple_results = True

    def __init__(self, name: str, function: Callable[..., Arrays]):
        super().__init__(name)
        self.function = function

    def bind(self, *args: Any, **params: Any) -> Arrays:
        with take_current_trace() as trace:
            checkpointed = type(trace).__name__ == "RematTrace"
        if checkpointed and self not in ad.primitive_transposes:
            return self.function(*args, **params)
        return super().bind(*args, **params)


def primitive(name: str, function: Callable[..., Arrays], jvp: Callable, batch: Batcher) -> Primitive:
    """A primitive with several results that is its own lowering.

    Args:
        name: What jaxprs call it.
        function: function(*arrays, **params) -> list of arrays; params are hashable.
        jvp: jvp(primals, tangents, **params) -> (outputs, output tangents); a tangent may be None, for zero.
        batch: batch(args, dims, size, **params) -> (outputs, output dims); an unmapped argument has dim None.
    """
    new = _Primitive(name, function)

    @functools.cache
    def traced(params: tuple[tuple[str, Any], ...]) -> Callable:
        return jax.jit(functools.partial(function, **dict(params)))

    @functools.cache
    def program(params: tuple[tuple[str, Any], ...]) -> Callable:
        return compiled(functools.partial(function, **dict(params)))

    @new.def_impl
    def _(*args: Any, **params: Any) -> Arrays:
        inside_a_trace = any(isinstance(a, jax.core.Tracer) for a in args)  # where JAX takes no options
        return (traced if inside_a_trace else program)(tuple(params.items()))(*args)

    @new.def_abstract_eval
    def _(*avals: Any, **params: Any) -> Arrays:
        # Traced, since a bare ShapedArray would lose shardings and varying axes.
        return jax.make_jaxpr(traced(tuple(params.items())))(*avals).out_avals

    def dense_jvp(primals: Sequence, tangents: Sequence, **params: Any) -> tuple[Arrays, Arrays]:
        given = [None if type(t) is ad.Zero or t.dtype == jax.dtypes.float0 else t for t in tangents]
        outs, out_tangents = jvp(primals, given, **params)
        zeros = [
            ad.Zero(jax.typeof(out).to_tangent_aval()) if t is None else t
            for out, t in zip(outs, out_tangents, strict=True)
        ]
        return outs, zeros

    def batcher(args: Sequence, dims: Sequence, **params: Any) -> tuple[Arrays, list[int]]:
        size = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
        return batch(args, dims, size, **params)

    mlir.register_lowering(new, mlir.lower_fun(function, multiple_results=True))
    ad.primitive_jvps[new] = dense_jvp
    batching.primitive_batchers[new] = batcher
    return new


def transpose(linear: Primitive, rule: Callable) -> None:
    """Make `linear` transposable.

    rule(output_bar, args, which, **params) is the cotangent of args[which], which is None among the args.
    """

    def transposed(cotangents: Sequence, *args: Any, **params: Any) -> Arrays:
        (which,) = (i for i, a in enumerate(args) if ad.is_undefined_primal(a))
        bars: Arrays = [None] * len(args)
        (output_bar,) = cotangents
        if type(output_bar) is not ad.Zero:
            bars[which] = rule(output_bar, [None if i == which else a for i, a in enumerate(args)], which, **params)
        return bars

    ad.primitive_transposes[linear] = transposed


def to_axis(a: Any, dim: int | None, size: Any, axis: int) -> Any:
    """`a` with its mapped axis, or a new one of that size, at `axis`."""
    if dim is not None:
        return jnp.moveaxis(a, dim, axis)
    return jnp.broadcast_to(jnp.expand_dims(a, axis), (*a.shape[:axis], size, *a.shape[axis:]))


def varying(a: Any) -> frozenset:
    """The manual mesh axes over which `a` varies, under shard_map."""
    return jax.typeof(a).manual_axis_type.varying


def cast_varying(a: Any, axes: frozenset) -> Any:
    """`a`, varying over `axes` too. The transpose of this cast is the sum over the devices."""
    missing = axes - varying(a)
    return lax.pcast(a, tuple(sorted(missing)), to="varying") if missing else a


def same_varying(args: Sequence) -> Arrays:
    """The arguments, cast to the union of their varying axes."""
    union = frozenset().union(*map(varying, args)) if args else frozenset()
    return [cast_varying(a, union) for a in args]


def collectives(function: Callable, *args: Any) -> set[str]:
    """Names of the collective operations that function(*args) runs."""
    closed = jax.make_jaxpr(function)(*args)
    return {equation.primitive.name for equation in all_equations(closed.jaxpr)} & COLLECTIVES


def devices_have_names() -> bool:
    """Whether this is traced inside shard_map, where a collective operation finds its axis."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and bool(mesh.manual_axes)


def with_shardings(function: Callable, args: tuple, specs: Sequence) -> Any:
    """function(*args), a list; under explicit mesh axes its results have the shardings `specs`."""
    return function(*args) if explicit_mesh(args) is None else in_auto_axes(function, args, list(specs))


def explicit_mesh(arrays: Any) -> Any:
    """The mesh with explicit axes, which `jax.set_mesh` has set, or else that of the arrays; None without one."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        own = (jax.typeof(array).sharding.mesh for array in jax.tree.leaves(arrays))
        mesh = next((found for found in own if not found.empty), mesh)
    return mesh if not mesh.empty and mesh.explicit_axes else None


def own_mesh(arrays: Any) -> contextlib.AbstractContextManager:
    """Sets the explicit mesh of the arrays where none is set: new arrays, zeros for one, get the one that is set."""
    mesh = explicit_mesh(arrays)
    is_set = mesh is None or not jax.sharding.get_abstract_mesh().empty
    return contextlib.nullcontext() if is_set else jax.sharding.use_abstract_mesh(mesh)


def is_explicit(*arrays: Any) -> bool:
    """Whether any of them is sharded over explicit mesh axes, where a reshape must say what becomes of them."""
    return any(any(jax.typeof(array).sharding.spec) for array in arrays)


def in_auto_axes(function: Callable, args: Any, out_sharding: Any) -> Any:
    """function(*args), inside of which the explicit axes of the mesh are automatic."""
    with own_mesh(args):
        axes = jax.sharding.get_abstract_mesh().explicit_axes
        return jax.sharding.auto_axes(function, axes=axes, out_sharding=out_sharding)(*args)


def is_inexact(a: Any) -> bool:
    """Whether `a` has a gradient."""
    return jnp.issubdtype(jnp.result_type(a), np.inexact)


def lane_forward(forward: Callable, mask: tuple[bool, ...]) -> Callable:
    """A rule's forward over one more axis, which the leaves have where `mask` is true."""
    return jax.vmap(forward, in_axes=[0 if m else None for m in mask])


def lane_backward(backward: Callable, mask: tuple[bool, ...]) -> Callable:
    """The backward of `lane_forward`: cotangents of leaves without the axis are sums over it."""

    def lanes(residuals: Any, bars: list) -> list:
        leaf_bars = jax.vmap(backward)(residuals, bars)
        return [bar if m or bar is None else bar.sum(0) for m, bar in zip(mask, leaf_bars, strict=True)]

    return lanes
