"""The ONNX nodes of fnnet's layers that are more than one call of a function."""

import math
from typing import Any

import numpy as np

from fnnet.interop.onnx_functions import flattened, product, scale_and_bias
from fnnet.interop.onnx_graph import OnnxGraph, OnnxValue, channels_first
from fnnet.interop.onnx_handlers import onnx_node
from fnnet.layers.attention import PARTS, Attention
from fnnet.layers.batch_norm import BatchNorm
from fnnet.layers.dropout import Dropout
from fnnet.layers.flatten import Flatten
from fnnet.layers.padded import Padded
from fnnet.layers.pooling import GlobalAvgPool, GlobalMaxPool
from fnnet.layers.protocol import Params
from fnnet.layers.recomputed import Recomputed
from fnnet.layers.recurrent import GRU, LSTM, Recurrent
from fnnet.layers.repeat import Repeat
from fnnet.layers.tied import Tied
from fnnet.rules.rotary import rotary

TIME_FIRST = (1, 0, 2)


@onnx_node(Flatten)
def _flatten(graph: OnnxGraph, layer: Flatten, params: Params, x: OnnxValue) -> OnnxValue:
    return flattened(graph, x)


@onnx_node(Dropout)
def _dropout(graph: OnnxGraph, layer: Dropout, params: Params, x: OnnxValue) -> OnnxValue:
    return x


@onnx_node(BatchNorm)
def _batch_norm(graph: OnnxGraph, layer: BatchNorm, params: Params, x: OnnxValue) -> OnnxValue:
    affine = scale_and_bias(x, params.get("scale"), params.get("bias"))
    statistics = params["mean"], params["variance"]
    order = channels_first(x)
    return graph.node("BatchNormalization", x, *affine, *statistics, order=order, epsilon=layer.epsilon)


@onnx_node(Repeat)
def _repeat(graph: OnnxGraph, layer: Repeat, params: Params, x: OnnxValue) -> OnnxValue:
    for name, block, own in layer.inner(params):
        x = graph.layer(block, own, x, name)
    return x


@onnx_node(Recomputed)
def _recomputed(graph: OnnxGraph, layer: Recomputed, params: Params, x: OnnxValue) -> OnnxValue:
    return graph.layer(layer.body, params, x)


@onnx_node(Tied)
def _tied(graph: OnnxGraph, layer: Tied, params: Params, x: OnnxValue) -> OnnxValue:
    rows = graph.layer(layer.body, params, x)
    table = params["embedding_0"]["embedding"]
    # The table is stored once. Its transpose is no mini-batch, but an array that MatMul reads.
    kernel = graph.node("Transpose", table, shape=table.shape[:1], dtype=table.dtype, perm=(1, 0))
    return graph.node("MatMul", rows, kernel, shape=(*rows.shape[:-1], table.shape[0]))


@onnx_node(Padded)
def _padded(graph: OnnxGraph, layer: Padded, params: Params, x: OnnxValue) -> OnnxValue:
    places = np.arange(1, x.shape[0] + 1, dtype=x.dtype)
    is_padding = graph.node("Equal", x, np.full((), layer.index, x.dtype), dtype=bool)
    ends = graph.node("Where", is_padding, np.zeros((), x.dtype), places, dtype=x.dtype)
    length = graph.node("ReduceMax", ends, np.asarray([1], np.int64), shape=(), keepdims=0)
    return graph.layer(layer.net.with_length(length, x.shape[0]), params, x)


@onnx_node(GlobalAvgPool)
def _global_avg_pool(graph: OnnxGraph, layer: GlobalAvgPool, params: Params, x: OnnxValue) -> OnnxValue:
    if layer.length is None:
        return _whole_image(graph, "GlobalAveragePool", x)
    total = _over_rows(graph, "ReduceSum", x, layer.length, 0)
    rows = graph.cast(graph.node("Max", layer.length, np.ones((), np.int32)), x.dtype)
    entries = graph.node("Mul", rows, np.full((), math.prod(x.shape[1:-1]), x.dtype))
    return graph.node("Div", total, _unsqueezed(graph, entries, 1))


@onnx_node(GlobalMaxPool)
def _global_max_pool(graph: OnnxGraph, layer: GlobalMaxPool, params: Params, x: OnnxValue) -> OnnxValue:
    if layer.length is None:
        return _whole_image(graph, "GlobalMaxPool", x)
    y = _over_rows(graph, "ReduceMax", x, layer.length, -math.inf)
    some = _unsqueezed(graph, graph.node("Greater", layer.length, np.zeros((), np.int32), dtype=bool), 1)
    return graph.node("Where", some, y, np.zeros((), x.dtype), shape=y.shape, dtype=y.dtype)


def _whole_image(graph: OnnxGraph, operator: str, x: OnnxValue) -> OnnxValue:
    """One number a channel."""
    order, channels = channels_first(x), x.shape[-1]
    y = graph.node(operator, x, shape=(*(1,) * (len(x.shape) - 1), channels), order=order)
    return graph.node("Flatten", y, shape=(channels,), order=order, axis=1)


def _over_rows(graph: OnnxGraph, operator: str, x: OnnxValue, length: OnnxValue, outside: float) -> OnnxValue:
    """One number a channel, of the first `length` rows; the others are as `outside`."""
    rank = len(x.shape)
    counted = _unsqueezed(graph, _before(graph, length, x.shape[:1]), *range(2, rank + 1))
    kept = graph.node("Where", counted, x, np.full((), outside, x.dtype), shape=x.shape, dtype=x.dtype)
    return graph.node(operator, kept, np.arange(1, rank, dtype=np.int64), shape=x.shape[-1:], keepdims=0)


def _before(graph: OnnxGraph, length: OnnxValue, shape: tuple[int, ...]) -> OnnxValue:
    """An array of that shape: which entries are among the first `length` along the last axis."""
    numbers = np.ascontiguousarray(np.broadcast_to(np.arange(shape[-1], dtype=np.int32), (1, *shape)))
    lengths = _unsqueezed(graph, length, *range(1, len(shape) + 1))
    return graph.node("Greater", lengths, numbers, shape=shape, dtype=bool)


def _unsqueezed(graph: OnnxGraph, x: OnnxValue, *axes: int) -> OnnxValue:
    """With new axes of size 1 at these places of (batch, *shape)."""
    shape = list(x.shape)
    for axis in axes:
        shape.insert(axis - 1, 1)
    return graph.node("Unsqueeze", x, np.asarray(axes, np.int64), shape=tuple(shape))


@onnx_node(Attention)
def _attention(graph: OnnxGraph, layer: Attention, params: Params, x: OnnxValue) -> OnnxValue:
    def projected(rows: OnnxValue, part: str) -> OnnxValue:
        return product(graph, rows, params[f"{part}_kernel"], params.get(f"{part}_bias"))

    q, k, v = (projected(x, part) for part in PARTS[:3])
    heads, key_heads = layer.heads, layer.heads if layer.key_heads is None else layer.key_heads
    if layer.rotary:
        positions = _positions(graph, x)
        q, k = _turned(graph, q, positions, heads), _turned(graph, k, positions, key_heads)
    attributes: dict[str, Any] = {"q_num_heads": heads, "kv_num_heads": key_heads, "is_causal": int(layer.causal)}
    if layer.length is None:
        return projected(graph.node("Attention", q, k, v, **attributes), "out")
    rows = x.shape[0]
    seen = _before(graph, layer.length, (1, rows, rows))  # ONNX Runtime does not broadcast it along the queries
    return projected(graph.node("Attention", q, k, v, seen, **attributes), "out")


def _positions(graph: OnnxGraph, x: OnnxValue) -> OnnxValue:
    """0 and on for the rows of each example."""
    length = x.shape[0]
    batch = graph.node("Shape", x, shape=(), dtype=np.int64, end=1)
    sizes = graph.node("Concat", batch, np.asarray([length], np.int64), shape=(), axis=0)
    return graph.node("Expand", graph.stored(np.arange(length, dtype=np.int64)[None]), sizes, shape=(length,))


def _turned(graph: OnnxGraph, x: OnnxValue, positions: OnnxValue, heads: int) -> OnnxValue:
    """`rotary` of queries or keys."""
    length, features = x.shape
    half = features // heads // 2
    vectors = np.tile(np.repeat(np.asarray([1, 0], np.float32), half), (length, 1, 1))
    turned = np.asarray(rotary(vectors, np.arange(length, dtype=np.int32)))  # (1, 0) becomes (cos t, sin t)
    cos, sin = turned[:, 0, :half].astype(x.dtype), turned[:, 0, half:].astype(x.dtype)
    return graph.node("RotaryEmbedding", x, cos, sin, positions, num_heads=heads)


@onnx_node(LSTM)
def _lstm(graph: OnnxGraph, layer: LSTM, params: Params, x: OnnxValue) -> OnnxValue:
    return _recurrent(graph, "LSTM", layer, params, x, (0, 3, 1, 2))  # i, o, f, g


@onnx_node(GRU)
def _gru(graph: OnnxGraph, layer: GRU, params: Params, x: OnnxValue) -> OnnxValue:
    return _recurrent(graph, "GRU", layer, params, x, (1, 0, 2), linear_before_reset=1)  # z, r, n


def _recurrent(
    graph: OnnxGraph,
    operator: str,
    layer: Recurrent,
    params: Params,
    x: OnnxValue,
    gates: tuple[int, ...],
    **attributes: Any,
) -> OnnxValue:
    """A recurrence, with fnnet's gates in ONNX's order; its output is without ONNX's axis of directions."""

    def in_order(array: Any) -> np.ndarray:
        parts = np.split(np.asarray(array), len(gates), axis=-1)
        return np.concatenate([parts[gate] for gate in gates], axis=-1)

    def kernel(name: str) -> Any:
        return graph.stored(in_order(params[name]).T[None], of=params[name])

    def bias(name: str) -> np.ndarray:
        found = np.asarray(params[name]) if name in params else np.zeros(0, x.dtype)
        return in_order(np.pad(found, (len(gates) * layer.hidden - len(found), 0)))  # a GRU's may be of n alone

    names = "bias", "recurrent_bias"
    named = next((params[name] for name in names if name in params), None)
    biases = None if named is None else graph.stored(np.concatenate([*map(bias, names)])[None], of=named)
    attributes |= {"hidden_size": layer.hidden, "direction": "reverse" if layer.reverse else "forward"}
    shape = (x.shape[0], layer.hidden)
    arrays = kernel("input_kernel"), kernel("recurrent_kernel"), biases, layer.length
    directions = {"shape": (shape[0], 1, shape[1]), "out_order": (1, 2, 0, 3)}  # (time, 1, batch, hidden)
    y = graph.node(operator, x, *arrays, order=TIME_FIRST, **directions, **attributes)
    return graph.node("Squeeze", y, np.asarray([1], np.int64), shape=shape, order=y.order, out_order=TIME_FIRST)
