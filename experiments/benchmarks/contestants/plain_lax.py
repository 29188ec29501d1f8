"""Autodiff of plain `jax.lax`: the network written out as its users without a library write it, channels last.

Max-pooling has no best form: `reduce_window`, whose gradient is select-and-scatter, or a reshape and a maximum where
the windows stand side by side, else a maximum of strided slices. Of a tie the former gives all to the first, the latter
a share to each; behind ReLU, where ties are of zeros, the network's gradients are the same.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.contestants import Unsupported
from benchmarks.contestants.jax_programs import Model, model_of
from benchmarks.contestants.through_jax import ThroughJax
from benchmarks.nets import (
    EPSILON,
    Attention,
    BatchNorm,
    Conv,
    Dense,
    Embedding,
    Flatten,
    Gelu,
    Layer,
    LayerNorm,
    LeakyRelu,
    MaxPool,
    MeanPool,
    Net,
    Residual,
    Shape,
    shapes_of,
)
from benchmarks.tasks import Convolution, Pooling


def convolution(x: Any, kernel: Any, *, stride: int, padding: int, dilation: int = 1, groups: int = 1) -> Any:
    if x.dtype == jnp.float64:  # which no fast convolution of a CPU takes
        return _by_taps(x, kernel, stride, padding, dilation, groups)
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _by_taps(x: Any, kernel: Any, stride: int, padding: int, dilation: int, groups: int) -> Any:
    """A convolution as a sum of products, one for each tap."""
    window, outputs = kernel.shape[0], kernel.shape[-1]
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    x = x.reshape(*x.shape[:3], groups, -1)
    taps = kernel.reshape(window, window, -1, groups, outputs // groups)
    rows, columns = ((size - dilation * (window - 1) - 1) // stride + 1 for size in x.shape[1:3])

    def tap(i: int, j: int) -> Any:
        top, left = i * dilation, j * dilation
        part = x[:, top : top + rows * stride : stride, left : left + columns * stride : stride][:, :rows, :columns]
        return jnp.einsum("nhwgc,cgo->nhwgo", part, taps[i, j])

    total = functools.reduce(jnp.add, (tap(i, j) for i in range(window) for j in range(window)))
    return total.reshape(*total.shape[:3], outputs)


def pooled_by_windows(x: Any, window: int, stride: int, dilation: int) -> Any:
    """By reduce_window; JAX has no gradient for a dilated one."""
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), "VALID", None, (1, dilation, dilation, 1)
    )


def pooled_by_slices(x: Any, axes: tuple[int, int], window: int, stride: int, dilation: int) -> Any:
    """The maximum of as many strided slices as the window has entries, over two axes of x."""

    def at(rows: int, columns: int) -> Any:
        start, stop, step = [0] * x.ndim, list(x.shape), [1] * x.ndim
        for axis, offset in zip(axes, (rows, columns), strict=True):
            places = (x.shape[axis] - dilation * (window - 1) - 1) // stride + 1
            start[axis], step[axis] = offset * dilation, stride
            stop[axis] = offset * dilation + (places - 1) * stride + 1
        return lax.slice(x, start, stop, step)

    return functools.reduce(jnp.maximum, (at(i, j) for i in range(window) for j in range(window)))


def pooled_by_reshape(x: Any, window: int, stride: int, dilation: int) -> Any:
    """By a reshape, where the windows stand side by side."""
    if stride != window or dilation != 1:
        return pooled_by_slices(x, (1, 2), window, stride, dilation)
    examples, height, width, channels = x.shape
    rows, columns = height // window, width // window
    inside = x[:, : rows * window, : columns * window]
    return inside.reshape(examples, rows, window, columns, window, channels).max((2, 4))


def mean_pooled(x: Any, window: int) -> Any:
    sides = (1, window, window, 1)
    return lax.reduce_window(x, 0.0, lax.add, sides, sides, "VALID") / window**2


def normalised(x: Any, scale: Any, bias: Any, axes: tuple[int, ...]) -> Any:
    """As Flax computes it: the variance by the mean of squares."""
    mean, of_squares = x.mean(axes, keepdims=True), jnp.square(x).mean(axes, keepdims=True)
    variance = jnp.maximum(of_squares - jnp.square(mean), 0)
    return (x - mean) * (lax.rsqrt(variance + EPSILON) * scale) + bias


def attention(x: Any, params: Mapping[str, Any], heads: int) -> Any:
    """Causal, with rotary positions, of x (batch, length, features)."""
    q, k, v = (x @ params[f"{part}_kernel"] + params[f"{part}_bias"] for part in ("query", "key", "value"))
    q, k, v = (part.reshape(*part.shape[:-1], heads, -1) for part in (q, k, v))
    seen = jax.nn.dot_product_attention(turned(q), turned(k), v, is_causal=True, implementation="xla")
    return seen.reshape(x.shape) @ params["out_kernel"] + params["out_bias"]


def turned(x: Any) -> Any:
    """Entries i and i + width / 2 of x (batch, length, heads, width) are a vector, which its position turns."""
    length, half = x.shape[1], x.shape[-1] // 2
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(half) / half)
    cos, sin = (jnp.asarray(table[:, None], x.dtype) for table in (np.cos(angles), np.sin(angles)))
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate((a * cos - b * sin, b * cos + a * sin), -1)


class PlainLax(ThroughJax):
    """A `Library`."""

    def __init__(self, pooling: str):
        """Max-pooling by "reduce_window" or by "reshape"."""
        self.pooling = pooling

    def shapes(self, net: Net) -> dict[str, tuple[int, ...]]:
        """Under fnnet's names, so that nothing has to be renamed."""
        return _shapes(net.layers, net.shape)

    def model(self, net: Net, arrays: Mapping[str, Any] | None) -> Model:
        """A function of a mini-batch."""
        params = _drawn(self.shapes(net)) if arrays is None else {n: jnp.asarray(a) for n, a in arrays.items()}

        def logits(params: Any, xs: Any) -> Any:
            return self._in_a_row(net.layers, "", params, xs)

        return model_of(params, logits)

    def _in_a_row(self, layers: tuple[Layer, ...], path: str, params: Mapping[str, Any], xs: Any) -> Any:
        for position, layer in enumerate(layers):
            xs = self._applied(layer, f"{path}{_kind(layer)}_{position}/", params, xs)
        return xs

    def _applied(self, layer: Layer, path: str, params: Mapping[str, Any], xs: Any) -> Any:
        match layer:
            case Conv(_, _, stride, padding, groups, bias):
                ys = convolution(xs, params[f"{path}kernel"], stride=stride, padding=padding, groups=groups)
                return ys + params[f"{path}bias"] if bias else ys
            case Dense():
                return xs @ params[f"{path}kernel"] + params[f"{path}bias"]
            case Embedding():
                return params[f"{path}embedding"][xs]
            case BatchNorm() | LayerNorm():
                axes = (-1,) if isinstance(layer, LayerNorm) else tuple(range(xs.ndim - 1))
                return normalised(xs, params[f"{path}scale"], params[f"{path}bias"], axes)
            case Attention(heads):
                return attention(xs, {name.removeprefix(path): own for name, own in params.items()}, heads)
            case Residual(body, shortcut):
                straight = self._in_a_row(shortcut, f"{path}shortcut/", params, xs)
                return self._in_a_row(body, path, params, xs) + straight
            case Gelu():
                return jax.nn.gelu(xs)
            case MaxPool(window, stride, dilation):
                return self._pooled(xs, window, stride, dilation)
            case MeanPool(window):
                return mean_pooled(xs, window)
            case Flatten():
                return xs.reshape(len(xs), -1)
            case LeakyRelu():
                return jax.nn.leaky_relu(xs)
        return jax.nn.relu(xs)

    def _pooled(self, x: Any, window: int, stride: int, dilation: int) -> Any:
        if self.pooling == "reduce_window" and dilation == 1:
            return pooled_by_windows(x, window, stride, dilation)
        return pooled_by_reshape(x, window, stride, dilation)

    def rule(self, case: Pooling | Convolution) -> Callable:
        """A function of jax.lax."""
        if isinstance(case, Convolution):
            if self.pooling == "reshape":
                raise Unsupported("its convolutions are those of autodiff")
            return lambda x, kernel: convolution(
                x, kernel, stride=case.stride, padding=case.padding, dilation=case.dilation, groups=case.groups
            )
        if self.pooling == "reduce_window" and case.dilation > 1:
            raise Unsupported("JAX has no gradient of a dilated reduce_window")
        return lambda x: self._pooled(x, case.window, case.stride, case.dilation)


def _kind(layer: Layer) -> str:
    """As fnnet names a layer: "batch_norm"."""
    return re.sub("(?<!^)(?=[A-Z])", "_", type(layer).__name__).lower()


def _shapes(layers: tuple[Layer, ...], shape: Shape, path: str = "") -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for position, (layer, before) in enumerate(zip(layers, shapes_of(layers, shape), strict=False)):
        place, features = f"{path}{_kind(layer)}_{position}/", before[-1:]
        own: dict[str, Shape] = {}
        match layer:
            case Conv(outputs, window, groups=groups, bias=bias):
                own = {"kernel": (window, window, before[-1] // groups, outputs)}
                own |= {"bias": (outputs,)} if bias else {}
            case Dense(outputs):
                own = {"kernel": (before[-1], outputs), "bias": (outputs,)}
            case BatchNorm():
                own = dict.fromkeys(("scale", "bias", "mean", "variance"), features)
            case LayerNorm():
                own = dict.fromkeys(("scale", "bias"), features)
            case Embedding(rows, width):
                own = {"embedding": (rows, width)}
            case Attention():
                for part in ("query", "key", "value", "out"):
                    own |= {f"{part}_kernel": features * 2, f"{part}_bias": features}
            case Residual(body, shortcut):
                own = _shapes(body, before) | _shapes(shortcut, before, "shortcut/")
        found |= {place + name: size for name, size in own.items()}
    return found


def _drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """In one compiled program."""
    draw = jax.nn.initializers.he_normal()

    def one(name: str, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return draw(key, shape) if len(shape) > 1 else jnp.full(shape, float(name.endswith(("scale", "variance"))))

    keys = jax.random.split(jax.random.key(0), len(shapes))
    return jax.jit(lambda keys: {name: one(name, key, shapes[name]) for name, key in zip(shapes, keys, strict=True)})(
        keys
    )


library = PlainLax
