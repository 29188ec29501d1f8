"""The ONNX nodes of fnnet's functions without a window, and of JAX's activations.

A layer that is one call of a function, as `Dense` is, has the function's nodes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core.arguments import axes_from_end
from fnnet.interop.onnx_graph import OnnxGraph, OnnxValue, Order, channels_first
from fnnet.interop.onnx_handlers import onnx_node
from fnnet.rules import activations
from fnnet.rules.batch_norm import group_norm
from fnnet.rules.dense import dense
from fnnet.rules.embedding import embedding
from fnnet.rules.layer_norm import layer_norm, rms_norm
from fnnet.rules.softmax import log_softmax, softmax

Each = int | Sequence[int]

ELEMENTWISE: dict[str, tuple[Callable, ...]] = {
    "Relu": (activations.relu, jax.nn.relu),
    "Sigmoid": (activations.sigmoid, jax.nn.sigmoid),
    "Tanh": (activations.tanh, jnp.tanh),
    "Softplus": (activations.softplus, jax.nn.softplus),
    "Softsign": (jax.nn.soft_sign,),
    "Selu": (jax.nn.selu,),
    "HardSwish": (jax.nn.hard_silu,),
    "Mish": (jax.nn.mish,),
    "Exp": (jnp.exp,),
    "Log": (jnp.log,),
    "Sqrt": (jnp.sqrt,),
    "Abs": (jnp.abs,),
    "Neg": (jnp.negative,),
    "Sin": (jnp.sin,),
    "Cos": (jnp.cos,),
}


def _alone(operator: str) -> Callable[[OnnxGraph, OnnxValue], OnnxValue]:
    """The handler of a function that is one operator."""
    return lambda graph, x: graph.elementwise(operator, x)


for _operator, _functions in ELEMENTWISE.items():
    onnx_node(*_functions)(_alone(_operator))


@onnx_node(activations.leaky_relu)
def _leaky_relu(graph: OnnxGraph, z: OnnxValue, slope: float = 0.01) -> OnnxValue:
    return graph.elementwise("LeakyRelu", z, alpha=float(slope))


@onnx_node(jax.nn.leaky_relu)
def _jax_leaky_relu(graph: OnnxGraph, x: OnnxValue, negative_slope: float = 0.01) -> OnnxValue:
    return graph.elementwise("LeakyRelu", x, alpha=float(negative_slope))


@onnx_node(activations.elu, jax.nn.elu)
def _elu(graph: OnnxGraph, z: OnnxValue, alpha: float = 1.0) -> OnnxValue:
    return graph.elementwise("Elu", z, alpha=float(alpha))


@onnx_node(activations.gelu, jax.nn.gelu)
def _gelu(graph: OnnxGraph, z: OnnxValue, approximate: bool = True) -> OnnxValue:
    return graph.elementwise("Gelu", z, approximate="tanh" if approximate else "none")


@onnx_node(activations.silu, jax.nn.silu)
def _silu(graph: OnnxGraph, z: OnnxValue) -> OnnxValue:
    return z * graph.elementwise("Sigmoid", z)


@onnx_node(jax.nn.log_sigmoid)
def _log_sigmoid(graph: OnnxGraph, x: OnnxValue) -> OnnxValue:
    return graph.elementwise("Neg", graph.elementwise("Softplus", graph.elementwise("Neg", x)))


@onnx_node(jax.nn.hard_sigmoid)
def _hard_sigmoid(graph: OnnxGraph, x: OnnxValue) -> OnnxValue:
    return graph.elementwise("HardSigmoid", x, alpha=1 / 6, beta=0.5)


@onnx_node(jax.nn.relu6)
def _relu6(graph: OnnxGraph, x: OnnxValue) -> OnnxValue:
    return graph.elementwise("Clip", x, np.zeros((), x.dtype), np.full((), 6, x.dtype))


@onnx_node(jax.nn.hard_tanh)
def _hard_tanh(graph: OnnxGraph, x: OnnxValue) -> OnnxValue:
    return graph.elementwise("Clip", x, np.full((), -1, x.dtype), np.ones((), x.dtype))


@onnx_node(jnp.square)
def _square(graph: OnnxGraph, x: OnnxValue) -> OnnxValue:
    return x * x


@onnx_node(softmax, jax.nn.softmax)
def _softmax(graph: OnnxGraph, z: OnnxValue, axis: Each = -1) -> OnnxValue:
    axes = _places(z, axis)
    if len(axes) == 1:
        return graph.elementwise("Softmax", z, axis=axes[0])
    _, e, total = _exponentials(graph, z, axes)
    return e / total


@onnx_node(log_softmax, jax.nn.log_softmax)
def _log_softmax(graph: OnnxGraph, z: OnnxValue, axis: Each = -1) -> OnnxValue:
    axes = _places(z, axis)
    if len(axes) == 1:
        return graph.elementwise("LogSoftmax", z, axis=axes[0])
    shifted, _, total = _exponentials(graph, z, axes)
    return shifted - graph.elementwise("Log", total)


def _exponentials(graph: OnnxGraph, z: OnnxValue, axes: list[int]) -> tuple[OnnxValue, OnnxValue, OnnxValue]:
    """z less its largest entry, the exponentials of that, and their sum: ONNX's Softmax has one axis."""
    along = np.asarray(axes, np.int64)
    shifted = z - graph.elementwise("ReduceMax", z, along)
    e = graph.elementwise("Exp", shifted)
    return shifted, e, graph.elementwise("ReduceSum", e, along)


def _places(x: OnnxValue, axis: Each) -> list[int]:
    """Where axes of an example lie in the graph's array."""
    rank = len(x.shape) + 1
    return [x.order.index(rank + one) for one in _from_end(x, axis)]


def _from_end(x: OnnxValue, axes: Each) -> tuple[int, ...]:
    return axes_from_end("to_onnx", "axes", axes, x=jax.ShapeDtypeStruct(x.shape, x.dtype))


@onnx_node(jnp.ravel)
def flattened(graph: OnnxGraph, x: OnnxValue) -> OnnxValue:
    """An example as a vector, in the order of its axes."""
    return x if len(x.shape) == 1 else graph.node("Flatten", x, shape=(math.prod(x.shape),), axis=1)


@onnx_node(dense)
def product(graph: OnnxGraph, x: OnnxValue, kernel: Any, bias: Any = None) -> OnnxValue:
    """x W + b."""
    shape = (*x.shape[:-1], kernel.shape[-1])
    if len(x.shape) == 1:
        return graph.node("Gemm", x, kernel, bias, shape=shape)
    y = graph.node("MatMul", x, kernel, shape=shape)
    return y if bias is None else graph.node("Add", y, bias)


@onnx_node(embedding)
def _embedding(graph: OnnxGraph, table: Any, indices: OnnxValue) -> OnnxValue:
    return graph.node("Gather", table, indices, shape=(*indices.shape, table.shape[-1]), dtype=table.dtype)


@onnx_node(layer_norm)
def _layer_norm(
    graph: OnnxGraph, x: OnnxValue, scale: Any = None, bias: Any = None, *, axes: Each = -1, epsilon: float = 1e-5
) -> OnnxValue:
    order, sizes = _with_last(x, axes)
    scale = np.ones(sizes, x.dtype) if scale is None else scale
    return graph.node("LayerNormalization", x, scale, bias, order=order, axis=-len(sizes), epsilon=epsilon)


@onnx_node(rms_norm)
def _rms_norm(
    graph: OnnxGraph, x: OnnxValue, scale: Any = None, *, axes: Each = -1, epsilon: float = 1e-5
) -> OnnxValue:
    order, sizes = _with_last(x, axes)
    scale = np.ones(sizes, x.dtype) if scale is None else scale
    return graph.node("RMSNormalization", x, scale, order=order, axis=-len(sizes), epsilon=epsilon)


def _with_last(x: OnnxValue, axes: Each) -> tuple[Order, tuple[int, ...]]:
    """The order that has those axes of an example at its end, as ONNX's norms want them, and their sizes."""
    rank, from_end = len(x.shape) + 1, _from_end(x, axes)
    own = [rank + axis for axis in from_end]
    return (*(axis for axis in range(rank) if axis not in own), *own), tuple(x.shape[axis] for axis in from_end)


@onnx_node(group_norm)
def _group_norm(
    graph: OnnxGraph, x: OnnxValue, groups: int, scale: Any = None, bias: Any = None, *, epsilon: float = 1e-5
) -> OnnxValue:
    affine = scale_and_bias(x, scale, bias)
    return graph.node("GroupNormalization", x, *affine, order=channels_first(x), num_groups=groups, epsilon=epsilon)


def scale_and_bias(x: OnnxValue, scale: Any, bias: Any) -> tuple[Any, Any]:
    """Ones and zeros where there are none."""
    ones = np.ones(x.shape[-1:], x.dtype)
    return ones if scale is None else scale, 0 * ones if bias is None else bias
