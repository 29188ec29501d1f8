"""The ONNX nodes of convolutions and pools.

ONNX wants a kernel with its outputs first. That form of it is stored under the parameter's name.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fnnet.core.geometry import Window, extent, per_axis, pooling_window, transposed_window, window
from fnnet.interop.onnx_graph import OnnxGraph, OnnxValue, channels_first
from fnnet.interop.onnx_handlers import onnx_node
from fnnet.rules.average_pooling import avg_pool, counts
from fnnet.rules.convolution import conv
from fnnet.rules.max_pooling import max_pool
from fnnet.rules.transposed_convolution import conv_transpose, exchanged

Each = int | Sequence[int]


@onnx_node(conv)
def _conv(
    graph: OnnxGraph,
    x: OnnxValue,
    kernel: Any,
    bias: Any = None,
    *,
    stride: Each = 1,
    padding: Any = "SAME",
    dilation: Each = 1,
    groups: int = 1,
) -> OnnxValue:
    place = window("conv", x.shape, kernel.shape[:-2], stride=stride, dilation=dilation, padding=padding)
    weight = graph.stored(_outputs_first(kernel), of=kernel)
    shape, windows = (*place.out, kernel.shape[-1]), _windows(place, place.padding)
    return graph.node("Conv", x, weight, bias, shape=shape, order=channels_first(x), group=groups, **windows)


@onnx_node(conv_transpose)
def _conv_transpose(
    graph: OnnxGraph,
    x: OnnxValue,
    kernel: Any,
    bias: Any = None,
    *,
    stride: Each = 1,
    padding: Any = 0,
    output_padding: Each = 0,
    dilation: Each = 1,
    groups: int = 1,
) -> OnnxValue:
    size = kernel.shape[:-2]
    fields = {"stride": stride, "dilation": dilation, "padding": padding, "output_padding": output_padding}
    place, more = transposed_window("conv_transpose", x.shape, size, **fields)
    added = per_axis("conv_transpose", "output_padding", output_padding, len(size), least=0)
    if any(more):  # ONNX Runtime accepts only an output padding below the stride
        x = _bordered(graph, x, [(0, zeros) for zeros in more], 0)
        added = tuple(q % s for q, s in zip(added, place.stride, strict=True))
    weight = graph.stored(_outputs_first(exchanged(np.asarray(kernel), groups)), of=kernel)
    shape = (*place.image, kernel.shape[-1])
    windows = _windows(place, place.padding) | {"group": groups, "output_padding": added}
    return graph.node("ConvTranspose", x, weight, bias, shape=shape, order=channels_first(x), **windows)


def _bordered(graph: OnnxGraph, x: OnnxValue, border: Sequence[tuple[int, int]], value: float) -> OnnxValue:
    """An image padded with a value: `border` has the numbers of entries before and after it, axis by axis."""
    image = tuple(n + lo + hi for n, (lo, hi) in zip(x.shape, border, strict=False))
    pads = np.asarray([0, 0, *(lo for lo, _ in border), 0, 0, *(hi for _, hi in border)], np.int64)
    fill = np.full((), value, x.dtype)
    return graph.node("Pad", x, pads, fill, shape=(*image, x.shape[-1]), order=channels_first(x))


def _outputs_first(kernel: Any) -> np.ndarray:
    """(*window, inputs, outputs) as (outputs, inputs, *window)."""
    return np.moveaxis(np.asarray(kernel), (-1, -2), (0, 1))


def _windows(place: Window, padding: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The attributes that convolutions and pools share."""
    pads = [lo for lo, _ in padding] + [hi for _, hi in padding]
    return {"kernel_shape": place.size, "strides": place.stride, "dilations": place.dilation, "pads": pads}


@onnx_node(max_pool)
def _max_pool(
    graph: OnnxGraph,
    x: OnnxValue,
    window: Each,
    *,
    stride: Each | None = None,
    padding: Any = "VALID",
    dilation: Each = 1,
    ceil_mode: bool = False,
) -> OnnxValue:
    place = pooling_window("max_pool", x.shape, window, stride, padding, dilation, ceil_mode)
    return _pooled(graph, "MaxPool", x, place, None if _is_shallow(place) else -math.inf)


@onnx_node(avg_pool)
def _avg_pool(
    graph: OnnxGraph,
    x: OnnxValue,
    window: Each,
    *,
    stride: Each | None = None,
    padding: Any = "VALID",
    dilation: Each = 1,
    count_padding: bool = False,
    divisor: float | None = None,
    ceil_mode: bool = False,
) -> OnnxValue:
    place = pooling_window("avg_pool", x.shape, window, stride, padding, dilation, ceil_mode)
    if divisor is None and not count_padding and _is_shallow(place):
        return _pooled(graph, "AveragePool", x, place)
    y = _pooled(graph, "AveragePool", x, place, 0)  # each window's sum over the number of its taps
    number = counts(place, count_padding) if divisor is None else np.full((1,) * len(x.shape), divisor)
    factors = np.moveaxis(math.prod(place.size) / number, -1, 0).astype(x.dtype)
    return y if (factors == 1).all() else graph.elementwise("Mul", y, factors)


def _pooled(graph: OnnxGraph, operator: str, x: OnnxValue, place: Window, border: float | None = None) -> OnnxValue:
    """A pool that ignores its padding; or, with `border`, that pads the image with this value first."""
    padding = _pool_padding(place)
    if border is not None and any(map(any, padding)):
        x, padding = _bordered(graph, x, padding, border), [(0, 0)] * place.rank
    shape, windows = (*place.out, x.shape[-1]), _windows(place, padding)
    return graph.node(operator, x, shape=shape, order=channels_first(x), **windows)


def _pool_padding(place: Window) -> list[tuple[int, int]]:
    """The padding, which ends where the last window does, so that no ceil_mode is needed."""
    return [(lo, max((o - 1) * s + extent(k, d) - n - lo, 0)) for n, k, s, d, (lo, _), o in place.axes]


def _is_shallow(place: Window) -> bool:
    """Whether a pool's padding is smaller than its window, dilation apart: ONNX Runtime accepts no other."""
    return all(max(pads) < k for pads, k in zip(_pool_padding(place), place.size, strict=True))
