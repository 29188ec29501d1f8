"""What a training step costs each of several devices: FLOPs, bytes to and from memory, bytes sent, layer by layer.

The devices form a mesh of two axes. Along "data" each has its own examples, and the gradients are summed. Along
"parameters" each has its own examples, too, and a share of the parameters, their gradients and Adam's two moments.
As in `fit`, a step gathers the parameters once, before the forward. With P entries of a layer's parameters, d and p
devices along the axes:

    parameters gathered                4 P (p - 1) / p        along "parameters"     (1)
    gradients summed and shared out    4 P (p - 1) / p        along "parameters"     (2)
    gradients summed                   8 P / p (d - 1) / d    along "data"           (3)

are the bytes that each device sends in a ring, which is the least that an all-gather, a reduce-scatter and an
all-reduce can do. (An array that the devices cannot divide stays whole on each: its all-reduce sends as much as (1) and
(2).)

FLOPs: a layer with products (Dense, Conv) does a forward's products twice more in the backward, once for the kernel
and, where parameters lie before it, once for x. Other layers: what XLA counts in forward and backward of the layer
compiled alone. Adam: 16 for each parameter, as XLA counts optax's. The loss is left out.

Bytes: memory_traffic.py. Adam makes either moment and the parameter one after the other, 11 readings and writings of
an entry, as XLA does on a CPU.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.notebook import html_paragraph, html_table
from fnnet.costs.memory_traffic import Traffic, traffic_of
from fnnet.costs.summary import Visit, aligned_table, visits_of
from fnnet.layers.containers import Container, in_training, is_threaded

AXES = ("data", "parameters")
STATE = 4  # bytes of a parameter, a gradient, a moment
ADAM_FLOPS, ADAM_BYTES = 16, 11 * STATE  # of each parameter
HELD = 4 * STATE  # bytes of a parameter with its gradient and moments
WHOLE = 2 * STATE  # of a gathered parameter and its gradient before the sum
OPTIMIZER = "adam"  # the name of the optimiser's row


@dataclass(frozen=True)
class StepRow:
    """One layer, or the optimiser, on one device.

    Attributes:
        name: The layer's path.
        flops: Of forward and backward.
        bytes: To and from memory.
        sent: Bytes to other devices, by axis of the mesh.
        collectives: How many there are along "parameters".
        copied: Of the bytes, those that only put arrays into another order, as on a CPU.
    """

    name: str
    flops: int
    bytes: int
    sent: dict[str, int]
    collectives: int = 0
    copied: int = 0


@dataclass(frozen=True, repr=False)
class StepCost:
    """What a training step costs each device; `str` makes a table.

    Attributes:
        rows: A row for each layer, and one for Adam.
        batch: Examples of the whole mini-batch.
        devices: How many there are along each axis.
        held_bytes: Parameters, gradients, moments, and what the backward finds kept, on one device.
        dtype: In which most FLOPs are done.
    """

    rows: tuple[StepRow, ...]
    batch: int
    devices: dict[str, int]
    held_bytes: int
    dtype: str

    @property
    def flops(self) -> int:
        """Of a step, on one device."""
        return sum(row.flops for row in self.rows)

    @property
    def bytes(self) -> int:
        """To and from the memory of one device."""
        return sum(row.bytes for row in self.rows)

    @property
    def sent(self) -> dict[str, int]:
        """By one device to others, along each axis."""
        return {axis: sum(row.sent[axis] for row in self.rows) for axis in AXES}

    def __repr__(self) -> str:
        """The table, a line a row, aligned, and what it is of."""
        return f"{aligned_table(self._cells(), left=1)}\n{self._caption}"

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        heading, *rows = self._cells()
        return html_table(heading, rows, total=True) + html_paragraph(self._caption)

    def _cells(self) -> list[tuple[str, ...]]:
        cells: list[tuple[str, ...]] = [("layer", "FLOPs", "bytes", *(f"sent, {axis}" for axis in AXES))]
        total = StepRow("total", self.flops, self.bytes, self.sent)
        for row in (*self.rows, total):
            sent = (f"{row.sent[axis]:,}" for axis in AXES)
            cells.append((row.name, f"{row.flops:,}", f"{row.bytes:,}", *sent))
        return cells

    @property
    def _caption(self) -> str:
        mesh = ", ".join(f"{axis} {number}" for axis, number in self.devices.items())
        return (
            f"a training step on one device of {math.prod(self.devices.values())} ({mesh}); "
            f"batch {self.batch}; {self.held_bytes:,} bytes held"
        )


def step_cost(net: Container, shape: tuple[int, ...], dtype: Any, batch: int, devices: Any) -> StepCost:
    """The cost of one step of `net` on a mini-batch; ValueError or TypeError for what cannot be."""
    mesh = _mesh(devices)
    number = math.prod(mesh.values())
    if not isinstance(batch, int) or batch < 1 or batch % number:
        raise ValueError(f"summary: batch (={batch!r}) must be a positive multiple of the number of devices, {number}")
    each = batch // number
    visits = visits_of(net, shape, dtype)
    rows = [_row(visit, each, mesh, own) for visit, own in zip(visits, traffic_of(visits, each), strict=True)]
    learnt = sum(visit.entries for visit in visits)
    share = -(-learnt // mesh["parameters"])
    rows.append(StepRow(OPTIMIZER, ADAM_FLOPS * share, ADAM_BYTES * share, dict.fromkeys(AXES, 0)))
    kept = each * sum(visit.kept_bytes for visit in visits) + (WHOLE * learnt if mesh["parameters"] > 1 else 0)
    widest = max(visits, key=lambda visit: _products(visit), default=None)
    name = jnp.dtype(dtype if widest is None else widest.x.dtype).name
    return StepCost(tuple(rows), batch, mesh, HELD * share + kept, name)


def _row(visit: Visit, examples: int, mesh: Mapping[str, int], traffic: Traffic) -> StepRow:
    entries, d, p = visit.entries, mesh["data"], mesh["parameters"]
    sent = {
        "data": 2 * STATE * entries * (d - 1) // (d * p),  # (3)
        "parameters": 2 * STATE * entries * (p - 1) // p,  # (1), (2)
    }
    collectives = 2 * (entries > 0 and p > 1)
    return StepRow(visit.name, _flops(visit, examples), traffic.bytes, sent, collectives, traffic.copied)


def _flops(visit: Visit, examples: int) -> int:
    layer, products = visit.layer, _products(visit)
    if is_threaded(layer):  # the sum of a residual, and of its two cotangents
        own = layer.flops(visit.params, visit.x)
        return examples * (own + visit.moving * visit.x.size * bool(own))
    if products:
        forward = layer.flops(visit.params, visit.x)  # its bias's additions are the bias's gradient's, too
        return examples * (2 * forward + visit.moving * products)
    return examples * _xla_flops(visit)


def _products(visit: Visit) -> int:
    """FLOPs of the products of one example's forward."""
    return 0 if is_threaded(visit.layer) else visit.layer.products(visit.params, visit.x)


def _xla_flops(visit: Visit) -> int:
    """Of forward and backward of one example, as XLA counts the operations that accelerators are given."""
    keys = jax.eval_shape(lambda: jax.random.key(0))

    def step(params: Any, x: Any, y_bar: Any, key: Any) -> Any:
        y, backward = jax.vjp(lambda params, x: in_training(visit.layer, params, x, key), params, x)
        return y, backward(y_bar)[: 1 + visit.moving]

    if not jnp.issubdtype(visit.y.dtype, jnp.floating) or not jnp.issubdtype(visit.x.dtype, jnp.floating):
        return visit.layer.flops(visit.params, visit.x)
    traced = jax.jit(step).trace(visit.params, visit.x, visit.y, keys)
    cost = traced.lower(lowering_platforms=("tpu",)).cost_analysis() or {}
    return max(int(cost.get("flops", 0)), 0)


def _mesh(devices: Any) -> dict[str, int]:
    """Devices along both axes; a number means data-parallel ones."""
    given = devices if isinstance(devices, Mapping) else {"data": devices}
    if unknown := given.keys() - set(AXES):
        raise ValueError(f"summary: devices has an axis {sorted(unknown)[0]!r}; there are {', '.join(AXES)}")
    for axis, number in given.items():
        if not isinstance(number, int) or number < 1:
            raise ValueError(f"summary: devices along {axis} (={number!r}) must be an integer of 1 or more")
    return {axis: given.get(axis, 1) for axis in AXES}
