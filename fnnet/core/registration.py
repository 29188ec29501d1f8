"""`rule`: register a forward and a hand-written backward with `jax.custom_vjp` so that vmap uses them.

`jax.custom_vjp` alone, under grad(vmap(f)), runs the backward per example and sums afterwards: the gradient of a weight
becomes a batch of outer products. Here the custom_vjp function stands inside a primitive whose batching rule calls it
again with the mapped axis in front, so that the backward is called once, with the whole batch. docs/rules.md.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core import explicit_axes, primitives, rule_errors
from fnnet.core.eager import backward_at_once, forward_at_once
from fnnet.core.habits import hinted
from fnnet.core.jax_messages import is_axis_unbound, is_forward_mode_refused
from fnnet.core.partials import innermost

Lanes = tuple[tuple[bool, ...], ...]  # one row for each mapped axis that a parameter has too: which leaves have it


@hinted
def rule(
    forward: Callable, backward: Callable, *, batched: Sequence[str] = (), gain: float = 1.0, precise: bool = False
) -> "Rule":
    """A function whose gradient is `backward`, under every transformation of JAX but forward mode.

    Args:
        forward: forward(*arrays, **static) -> (output, residuals). Its positional parameters are arrays (or pytrees of
            arrays, or None), its keyword-only parameters are static: hashable values, lists being made tuples.
        backward: backward(residuals, output_bar, **static) -> one cotangent an array, in order, each with the shape and
            dtype of its array; None for integers. What it says of an argument that is None is not used.
        batched: The arrays that may carry leading batch axes. `forward` and `backward` must then take any number of
            them: the outputs and the batched arrays' cotangents carry them in front, and the other arrays' cotangents
            are sums over them. An array that is not named here never has batch axes; with no names at all, vmap
            works example by example, always right and sometimes slow.
        gain: What the initialiser multiplies the kernel before this function by: sqrt(2) for rectifiers, 1 for others,
            as torch.nn.init.calculate_gain.
        precise: Whether mixed precision leaves this function's input in f32, as it does for a softmax.

    Returns:
        A function of forward's arrays and static values; its value is the output.

    Raises:
        ValueError: `batched` names no array of `forward`; later, when it is called or differentiated: an output
            lacks the batched arrays' leading axes, a cotangent is missing or has a wrong shape, or the rule runs a
            collective operation.
        TypeError: a static value is an array or not hashable; a cotangent has a wrong dtype.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def square_fwd(x):
        ...     return x * x, x
        >>> def square_bwd(x, y_bar):
        ...     return (2 * x * y_bar,)
        >>> square = rule(square_fwd, square_bwd, batched=("x",))
        >>> float(jax.grad(square)(3.0))
        6.0
    """
    return Rule(forward, backward, tuple(batched), gain, precise)


def rule_of(function: Any) -> "Rule | None":
    """The rule that a public function wraps, under any `functools.partial`; a `Rule` is its own; None for others.

    The rule of a function `relu` is the one that its module makes from `relu_fwd`.
    """
    function = innermost(function)
    if isinstance(function, Rule):
        return function
    name, module = getattr(function, "__name__", ""), sys.modules.get(getattr(function, "__module__", None) or "")
    if module is None or getattr(module, name, None) is not function:  # functools.wraps copies both names
        return None
    rules = (value for value in vars(module).values() if isinstance(value, Rule) and value.name == name)
    return next((found for found in rules if found.forward.__module__ == module.__name__), None)


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Primals:
    """What the backward has to know of the forward: its arguments, leaf by leaf, and the structure of its output."""

    avals: tuple[Any, ...]
    out_tree: Any = None


@dataclass(eq=False)
class _Call:
    """A rule at one structure of arguments and one choice of static values: one object for each."""

    rule: "Rule"
    in_tree: Any
    static: tuple[tuple[str, Hashable], ...]
    out_sharding: explicit_axes.OutSharding | None = None
    # The output's structure and shapes, by the shapes at which the forward was traced.
    outputs: dict[tuple, tuple[Any, tuple]] = field(default_factory=dict)


class Rule:
    """A function with a hand-written backward; made by `rule`."""

    def __init__(self, forward: Callable, backward: Callable, batched: tuple[str, ...], gain: float, precise: bool):
        """Use `rule`."""
        self.forward, self.backward, self.batched, self.gain, self.precise = forward, backward, batched, gain, precise
        self.signature = inspect.signature(forward)
        self.arrays = rule_errors.arrays(forward, self.signature)
        self.name = forward.__name__.strip("_").removesuffix("_fwd").removesuffix("_forward")
        self.__name__, self.__doc__ = self.name, forward.__doc__
        for name in batched:
            if name not in self.arrays:
                raise ValueError(f"rule: batched names {name!r}, but the arrays of {self.name} are {self.arrays}")
        self._call = functools.cache(functools.partial(_Call, self))
        self._functions = functools.cache(self._forward_and_backward)
        self._primitive = primitives.primitive(f"fnnet.{self.name}", self._run, self._jvp, self._batch)

    def __call__(self, *args: Any, out_sharding: Any = None, **static: Any) -> Any:
        """The output of forward(*args, **static), under explicit mesh axes sharded as `out_sharding` says."""
        bound = self.signature.bind(*args, **static)
        bound.apply_defaults()
        arrays = tuple(bound.arguments[name] for name in self.arrays)
        others = [(k, v) for k, v in bound.arguments.items() if k not in self.arrays]
        values = tuple((k, rule_errors.static(self.name, k, v)) for k, v in others)
        leaves, in_tree = jax.tree.flatten(arrays)
        leaves = primitives.same_varying([jnp.asarray(leaf) for leaf in leaves])
        call = self._call(in_tree, values)
        if out_sharding is not None:
            call = self._call(in_tree, values, self._out_sharding(call, out_sharding, leaves))
        outs = self._primitive.bind(*leaves, call=call, lanes=())
        if _shapes(leaves) not in call.outputs:  # under vmap the forward was traced at other shapes
            jax.eval_shape(functools.partial(self._forward, call), *leaves)
        out_tree, shapes = call.outputs[_shapes(leaves)]
        for number, (out, shape) in enumerate(zip(outs, shapes, strict=True)):
            if out.shape != shape:
                what = f"has shape {out.shape} for one example under vmap, and {shape} without vmap"
                raise rule_errors.without_axes(self.name, self.batched, out_tree, number, what)
        return jax.tree.unflatten(out_tree, outs)

    def __repr__(self) -> str:
        """The rule's name and arrays."""
        return f"<rule {self.name}({', '.join(self.arrays)})>"

    # What the primitive is: the custom_vjp function, its derivative, and what vmap does to it.

    def _run(self, *leaves: Any, call: _Call, lanes: Lanes) -> list:
        return self._custom_vjp(call, lanes)(*leaves)

    def _jvp(self, primals: Sequence, tangents: Sequence, call: _Call, lanes: Lanes) -> tuple[list, list]:
        """`jax.jvp` of the custom_vjp function: reverse mode then finds the hand-written backward."""
        moving = [i for i, p in enumerate(primals) if primitives.is_inexact(p)]
        function = self._custom_vjp(call, lanes)

        def of_moving(*values: Any) -> list:
            merged = list(primals)
            for i, value in zip(moving, values, strict=True):
                merged[i] = value
            return function(*merged)

        dots = tuple(jnp.zeros_like(primals[i]) if tangents[i] is None else tangents[i] for i in moving)
        try:
            outs, out_dots = jax.jvp(of_moving, tuple(primals[i] for i in moving), dots)
        except TypeError as error:
            if not is_forward_mode_refused(error):
                raise
            raise TypeError(
                f"{self.name} has no forward-mode derivative (jax.jvp, jacfwd, linearize), only its backward, by "
                "jax.custom_vjp: use grad, vjp or jacrev, or the same function in plain jax.numpy"
            ) from None
        return outs, [t if primitives.is_inexact(o) else None for o, t in zip(outs, out_dots, strict=True)]

    def _batch(self, leaves: Sequence, dims: Sequence, size: Any, call: _Call, lanes: Lanes) -> tuple[list, list[int]]:
        """One more batch axis, or, where an array without batch axes is mapped (an ensemble), one more lane."""
        is_batched = self._leaf_flags(call)
        if any(dim is not None and not flag for dim, flag in zip(dims, is_batched, strict=True)):
            mask = tuple(dim is not None for dim in dims)
            moved = [a if d is None else jnp.moveaxis(a, d, 0) for a, d in zip(leaves, dims, strict=True)]
            outs = self._primitive.bind(*moved, call=call, lanes=(mask, *lanes))
            return outs, [0] * len(outs)
        depth = [sum(mask[i] for mask in lanes) for i in range(len(leaves))]
        moved = [
            primitives.to_axis(a, dim, size, axis) if flag else a
            for a, dim, axis, flag in zip(leaves, dims, depth, is_batched, strict=True)
        ]
        try:
            outs = self._primitive.bind(*moved, call=call, lanes=lanes)
        except (AssertionError, NameError):  # what JAX says of a collective over the axis of this vmap
            found = primitives.collectives(functools.partial(self._forward, call), *leaves)
            rule_errors.no_collectives(self.name, "forward", found)
            raise
        for number, out in enumerate(outs):
            if out.shape[len(lanes) : len(lanes) + 1] != (size,):
                out_tree, _ = next(iter(call.outputs.values()))
                what = f"of shape {out.shape[len(lanes) :]} lacks the batch axis of vmap, of size {size}"
                raise rule_errors.without_axes(self.name, self.batched, out_tree, number, what)
        return outs, [len(lanes)] * len(outs)

    def _custom_vjp(self, call: _Call, lanes: Lanes) -> Callable:
        """The rule on flat leaves; in an eager gradient forward and backward are a program each."""
        forward, backward = self._functions(call, lanes)
        function = jax.custom_vjp(lambda *leaves: forward(*leaves)[0])
        function.defvjp(forward, backward)
        return function

    def _forward_and_backward(self, call: _Call, lanes: Lanes) -> tuple[Callable, Callable]:
        """Forward and backward, each vmapped over the lanes, so that sums are stated here."""

        def forward(*leaves: Any) -> tuple[list, Any]:
            return self._forward(call, *leaves)

        def backward(residuals: Any, bars: list) -> list:
            return self._backward(call, residuals, bars)

        for mask in reversed(lanes):
            forward, backward = primitives.lane_forward(forward, mask), primitives.lane_backward(backward, mask)

        def outer_forward(*leaves: Any) -> tuple[list, Any]:
            if primitives.devices_have_names():
                rule_errors.no_collectives(self.name, "forward", primitives.collectives(forward, *leaves))
            outs, residuals = forward(*leaves)
            return outs, (_Primals(tuple(jax.typeof(a) for a in leaves)), residuals)

        def outer_backward(residuals: Any, bars: list) -> tuple:
            primals, kept = residuals
            if primitives.devices_have_names():
                rule_errors.no_collectives(self.name, "backward", primitives.collectives(backward, kept, bars))
            moving = [i for i, aval in enumerate(primals.avals) if primitives.is_inexact(aval)]

            def of_moving(kept: Any, bars: list) -> list:
                leaf_bars = backward(kept, bars)
                return [leaf_bars[i] for i in moving]

            specs = [primals.avals[i].sharding.spec for i in moving]
            leaf_bars = [None] * len(primals.avals)
            for i, bar in zip(moving, primitives.with_shardings(of_moving, (kept, bars), specs), strict=True):
                leaf_bars[i] = primitives.cast_varying(bar, primals.avals[i].manual_axis_type.varying)
            return tuple(leaf_bars)

        return forward_at_once(outer_forward), backward_at_once(outer_backward)

    # The two functions of the rule, on flat leaves.

    def _forward(self, call: _Call, *leaves: Any) -> tuple[list, Any]:
        with primitives.own_mesh(leaves), jax.named_scope(f"fnnet.{self.name}.forward"):
            if call.out_sharding is None:
                output, residuals = self._pair(call, *leaves)
            else:
                output = call.out_sharding.run(lambda *a: self._pair(call, *a)[0], leaves, self._leaf_flags(call))
                residuals = leaves  # the parameters as they are sharded
        outs, out_tree = jax.tree.flatten(output)
        call.outputs[_shapes(leaves)] = out_tree, tuple(jnp.shape(out) for out in outs)
        return outs, (_Primals(tuple(jax.typeof(a) for a in leaves), out_tree), residuals)

    def _pair(self, call: _Call, *leaves: Any) -> tuple[Any, Any]:
        arrays = jax.tree.unflatten(call.in_tree, leaves)
        return rule_errors.pair(self.name, self.forward(*arrays, **dict(call.static)))

    def _out_sharding(self, call: _Call, out_sharding: Any, leaves: Sequence) -> explicit_axes.OutSharding:
        shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]  # without their shardings
        output, _ = jax.eval_shape(functools.partial(self._pair, call), *shapes)
        ranks = [leaf.ndim for leaf, flag in zip(leaves, self._leaf_flags(call), strict=True) if flag]
        return explicit_axes.checked(
            self.name, out_sharding, leaves, jax.tree.leaves(output), ranks[0] if ranks else None
        )

    def _backward(self, call: _Call, residuals: Any, bars: list) -> list:
        primals, kept = residuals
        if call.out_sharding is not None:
            _, kept = self._pair(
                call, *call.out_sharding.gathered(kept, self._leaf_flags(call))
            )  # XLA drops the output
        bars = [bar if bar.dtype == jax.dtypes.float0 else jnp.asarray(bar) for bar in bars]
        output_bar = jax.tree.unflatten(primals.out_tree, bars)
        with jax.named_scope(f"fnnet.{self.name}.backward"):
            try:
                given = self.backward(kept, output_bar, **dict(call.static))
            except NameError as error:
                if is_axis_unbound(error):
                    rule_errors.no_collectives(self.name, "backward", {f"a collective ({error})"})
                raise
        arguments = jax.tree.unflatten(call.in_tree, primals.avals)
        return rule_errors.cotangents(self.name, self.arrays, arguments, given)

    def _leaf_flags(self, call: _Call) -> list[bool]:
        arrays = jax.tree.unflatten(call.in_tree, range(call.in_tree.num_leaves))
        named = zip(self.arrays, arrays, strict=True)
        return [name in self.batched for name, array in named for _ in jax.tree.leaves(array)]


def _shapes(leaves: Sequence) -> tuple:
    return tuple((a.shape, a.dtype) for a in leaves)
