"""A function computed operation by operation: its meaning, without what XLA does to several operations together.

XLA computes a single operation rightly, except a convolution that crops (openxla/xla#48713): here the input is cropped
first. A loop is one operation; it is compiled with `fnnet.safe_options`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.compiler import safe_options
from fnnet.core.jaxprs import FlatJaxpr, Operation

LOOPS = ("scan", "while", "cond")


def by_operation(jaxpr: FlatJaxpr, args: Sequence[Any]) -> Any:
    """jaxpr(*args), each operation computed by itself."""
    computed = values(jaxpr, args)
    return jax.tree.unflatten(jaxpr.out_tree, [computed[i] for i in jaxpr.outputs])


def values(jaxpr: FlatJaxpr, args: Sequence[Any]) -> dict[int, Any]:
    """Every value of a jaxpr, by its index."""
    computed = dict(enumerate(map(jnp.asarray, jax.tree.leaves(args))))
    for op in jaxpr.operations:
        outs = _alone(op)(*(computed[i] for i in op.inputs))
        computed.update(zip(op.outputs, outs, strict=True))
    return computed


def _alone(op: Operation) -> Callable[..., Sequence]:
    if op.name in LOOPS:
        return jax.jit(op.run, compiler_options=safe_options())
    if op.name == "conv_general_dilated":
        return lambda x, kernel: _convolved(op, x, kernel)
    return op.run


def _convolved(op: Operation, x: Any, kernel: Any) -> list:
    """If the convolution would crop its input, the input is cropped, padded and spread before it."""
    padding, spread = op.params["padding"], op.params["lhs_dilation"]
    if all(side >= 0 for sides in padding for side in sides):
        return op.run(x, kernel)
    _, _, *axes = op.params["dimension_numbers"].lhs_spec
    config = [(0, 0, 0)] * x.ndim
    for axis, (low, high), factor in zip(axes, padding, spread, strict=True):
        config[axis] = (low, high, factor - 1)
    placed = jax.lax.pad(x, x.dtype.type(0), config)
    return op.with_params(padding=((0, 0),) * len(axes), lhs_dilation=(1,) * len(axes))(placed, kernel)
