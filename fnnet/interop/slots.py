"""The layers of a network that hold parameters, in the order of their use, and in what order a dense one is fed.

A library whose images are (channels, *image) flattens them in another order than fnnet, whose images are
(*image, channels). The dense layer after a flatten then has the rows of its kernel in another order. A layer without
parameters may stand between the two if it treats all entries alike, as activations, softmax and Dropout do.
After an embedding features are last in every library, up to the network's output.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.layers.answers import Layout
from fnnet.layers.arguments import example_shape
from fnnet.layers.containers import is_threaded
from fnnet.layers.protocol import Layer, abstract_example
from fnnet.layers.walk import walk


class Slot(NamedTuple):
    """A layer with parameters.

    `rows` says for each input of a dense layer, and each entry of a norm's scale, which one it is where images are
    flattened channels first; None: the same one.
    """

    path: str  # "residual_2/conv_0"; "repeat_1[3]/conv_0" is the fourth repetition
    layout: Layout
    shapes: Mapping[str, tuple[int, ...]]
    rows: np.ndarray | None

    def name(self, entry: str) -> str:
        """The name of an entry in the parameters, where repetitions lie along first axes: "repeat_1/kernel"."""
        return re.sub(r"\[\d+\]", "", f"{self.path}/{entry}").lstrip("/")

    @property
    def repetition(self) -> tuple[int, ...]:
        """Which of the repetitions it is."""
        return tuple(map(int, re.findall(r"\[(\d+)\]", self.path)))


class Slots(NamedTuple):
    """All of them, and where a flattened image is used in a way that no order of rows makes up for."""

    found: list[Slot]
    doubts: list[str]


def slots(function: str, net: Any, shape: Sequence[int]) -> Slots:
    """The network's, for examples of that shape; nothing is computed."""
    if not is_threaded(net) and (not isinstance(net, Layer) or type(net).inner is Layer.inner):
        networks = "a Sequential, Residual, Repeat, Tied, Recomputed or Padded"
        raise TypeError(f"{function}: net must be {networks}, not {type(net).__name__}")
    example = example_shape(function, shape)
    found: list[Slot] = []
    doubts: list[str] = []
    orders: dict[int, tuple[Any, np.ndarray | None]] = {}  # by identity, of every array between layers
    features_last: set[int] = set()  # those whose axes are in the same order there: a text's, no image's

    def visit(path: str, layer: Layer, params: Any, x: Any, key: Any) -> Any:
        _, rows = orders.setdefault(id(x), (x, None))
        y = layer.apply(params, x)
        inner = layer.inner(params)
        if inner is not None:
            end = x
            for name, part, own in inner:
                end = run(path + name, part, own, end)
            orders[id(y)] = (y, orders.get(id(end), (end, None))[1])
            if id(end) in features_last:
                features_last.add(id(y))
            return y
        if layer.entries:
            if layer.layout is None:
                raise TypeError(
                    f"{function}: {path}, {layer!r}, has no layout: `Layer.layout` must say where others keep it"
                )
            found.append(Slot(path, layer.layout, {entry: params[entry].shape for entry in layer.entries}, rows))
            if rows is not None and not any(entry.endswith("kernel") for entry in layer.entries):
                doubts.extend([] if layer.layout.elementwise else [f"{path}, {layer!r}, has another order of entries"])
            rows = rows if layer.layout.elementwise else None
        elif id(x) not in features_last:
            rows, doubt = _rows_after(layer, x.shape, y.shape, rows)
            doubts.extend([f"{path}, {layer!r}, {doubt}"] if doubt else [])
        orders[id(y)] = (y, rows)
        if id(x) in features_last or (layer.layout is not None and layer.layout.features_last):
            features_last.add(id(y))
        return y

    def after(path: str, layer: Layer, params: Any, x: Any, y: Any) -> None:
        _, rows = orders.setdefault(id(x), (x, None))
        if id(y) not in orders and rows is not None:
            doubts.append(f"{path} adds to a flattened image")
        orders.setdefault(id(y), (y, None))
        if id(x) in features_last:
            features_last.add(id(y))

    def run(path: str, layer: Layer, params: Any, x: Any) -> Any:
        if not is_threaded(layer):
            return visit(path, layer, params, x, None)
        y = walk(layer, params, x, None, visit, after, path and f"{path}/")
        if path:
            after(path, layer, params, x, y)
        return y

    def forward(key: jax.Array) -> None:
        x = jnp.zeros_like(abstract_example(net, example, jnp.float32))
        run("", net.without_policy(), net.init(key, example), x)

    jax.eval_shape(forward, jax.random.key(0))
    return Slots(found, doubts)


def _rows_after(
    layer: Layer, before: tuple[int, ...], after: tuple[int, ...], rows: np.ndarray | None
) -> tuple[np.ndarray | None, str]:
    """`Slot.rows` after a layer without parameters, or what makes it unknown."""
    if before == after:
        return rows, ""
    if rows is not None:
        return None, "changes the shape of a flattened image"
    size, channels = math.prod(before), before[-1] if before else 1
    if len(before) > 1 and after == (size,):
        with jax.ensure_compile_time_eval():
            numbers = jnp.arange(size, dtype=jnp.float32).reshape(before)
            moved = np.asarray(layer.apply({}, numbers)).astype(int)
        if not np.array_equal(np.sort(moved), np.arange(size)):
            return None, "does more than flatten an image; write Flatten() for that"
        channels_first = np.moveaxis(np.arange(size).reshape(channels, *before[:-1]), 0, -1).ravel()
        rows = channels_first[moved]
        return (None if np.array_equal(rows, np.arange(size)) else rows), ""
    if len(before) == 1 and len(after) > 1 and 1 < after[-1] < size:
        return None, "makes an image of a vector"
    return None, ""


def stacked_shapes(found: Sequence[Slot]) -> dict[str, tuple[int, ...]]:
    """The shapes of the network's parameters by name, repetitions and all."""
    return {  # the last of its repetitions remains
        slot.name(entry): (*(n + 1 for n in slot.repetition), *shape)
        for slot in found
        for entry, shape in slot.shapes.items()
    }
