"""Random configurations of what slides over an image: convolution and the poolings, in one to three dimensions."""

import math
from typing import Any

import numpy as np

from contract.cases import Draw
from fnnet.proofs import layer_references

LEADING = ((), (), (2,), (3,), (1,), (2,), (3,), (2, 3), (1, 2, 2), (3, 1), (0,), (2, 0))


def conv(rng: np.random.Generator) -> Draw:
    size, stride, dilation = _window(rng, 4)
    extents = _extents(size, dilation)
    padding, slack = _padding(rng, extents, [3] * len(size))
    image = _image(rng, [e - p for e, p in zip(extents, slack, strict=True)])
    groups, inputs, outputs = _channels(rng)
    outputs = 16 if groups == 1 and rng.random() < 0.2 else outputs
    lead = LEADING[rng.integers(len(LEADING))]
    kernel = (*size, inputs // groups, outputs)
    biased = bool(rng.integers(2))
    static = {"padding": padding, "groups": groups} | _spelled(rng, stride=stride, dilation=dilation)

    def arrays(rng: np.random.Generator) -> dict:
        shapes = {"x": (*lead, *image, inputs), "kernel": kernel} | ({"bias": (outputs,)} if biased else {})
        return {name: rng.normal(size=shape) for name, shape in shapes.items()}

    features = _features(layer_references.axes((*image, 1), size, stride, padding, dilation), lead, padding)
    extra = {"groups": groups > 1, "depthwise": 1 < groups == inputs, "bias": biased}
    extra["few taps, many outputs"] = outputs == 16 and groups == 1 and math.prod(size) * inputs <= 32
    return Draw(static, arrays, features | _held(extra))


def avg_pool(rng: np.random.Generator) -> Draw:
    draw, count = max_pool(rng), bool(rng.integers(2))
    divisor = [None, None, 3, -2.5][rng.integers(4)]
    extra = {"padding counts": count and "padding" in draw.features, "divisor": divisor is not None}
    static = {"count_padding": count} | ({} if divisor is None else {"divisor": divisor})
    return Draw(draw.static | static, draw.arrays, draw.features | _held(extra))


def max_pool(rng: np.random.Generator) -> Draw:
    """A pooling none of whose windows lies in the padding alone, where there is no maximum and no mean."""
    while True:
        size, stride, dilation = _window(rng, 7 if rng.random() < 0.2 else 4)
        own_stride, ceil_mode = bool(rng.random() < 0.2), bool(rng.integers(2))
        stride = size if own_stride else stride
        extents = _extents(size, dilation)
        padding, slack = _padding(rng, extents, [min(3, e - 1) for e in extents])
        # In ceil mode even the first window may end outside, by less than a stride.
        image = _image(rng, [e - p - ceil_mode * (s - 1) for e, p, s in zip(extents, slack, stride, strict=True)])
        axes = layer_references.axes((*image, 1), size, stride, padding, dilation, ceil_mode)
        if all(_sees_the_image(axis) for axis in axes):
            break
    channels, tied = int(rng.integers(1, 4)), bool(rng.integers(2))
    lead = LEADING[rng.integers(len(LEADING))]
    square = len(size) == 2 and size[0] == size[1]
    static = {"window": size[0] if square and rng.integers(2) else size, "padding": padding, "ceil_mode": ceil_mode}
    static |= _spelled(rng, dilation=dilation) | ({} if own_stride else _spelled(rng, stride=stride))

    def arrays(rng: np.random.Generator) -> dict:
        shape = (*lead, *image, channels)
        return {"x": rng.integers(-1, 2, shape).astype(float) if tied else rng.normal(size=shape)}

    features = _features(axes, lead, padding)
    extra = {"ties": tied and max(size) > 1, "stride None": own_stride, "many taps": math.prod(size) > 32}
    return Draw(static, arrays, features | _held(extra))


def _window(rng, most: int) -> tuple[tuple[int, ...], ...]:
    """Size, stride and dilation; half of the windows are not dilated."""
    rank = int(rng.choice([1, 2, 3], p=[0.3, 0.5, 0.2]))
    tops = (min(most, (7, 7, 4)[rank - 1]), 3, 3)
    size, stride, dilation = (tuple(rng.integers(1, top + 1, rank).tolist()) for top in tops)
    return size, stride, dilation if rng.integers(2) else (1,) * rank


def _extents(size, dilation) -> list[int]:
    return [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]


def _padding(rng, extents, most):
    """The padding as a caller may write it, and on each axis by how much the image may be smaller than the window."""
    kind = rng.choice(["SAME", "VALID", "integer", "integers", "pairs"])
    if kind == "SAME":
        return "SAME", extents
    if kind == "VALID":
        return "VALID", [0] * len(most)
    if kind == "integer":
        p = int(rng.integers(0, min(most) + 1))
        return p, [2 * p] * len(most)
    before, after = ([int(rng.integers(0, top + 1)) for top in most] for _ in range(2))
    if kind == "integers":
        return tuple(before), [2 * p for p in before]
    return tuple(zip(before, after, strict=True)), [lo + hi for lo, hi in zip(before, after, strict=True)]


def _image(rng, least) -> tuple[int, ...]:
    """Sizes of an image that the window fits into; one in five the smallest, so that some are 1."""
    spread = (8, 6, 4)[len(least) - 1]
    return tuple(max(1, n) + (int(rng.integers(0, spread)) if rng.random() > 0.2 else 0) for n in least)


def _channels(rng) -> tuple[int, int, int]:
    """Groups, input channels, output channels."""
    groups = int(rng.choice([1, 2, 3], p=[0.5, 0.25, 0.25]))
    inputs = groups if rng.random() < 0.4 else groups * int(rng.integers(1, 4))
    return groups, inputs, groups * int(rng.integers(1, 4))


def _spelled(rng, **values):
    """Each value as one integer, if it is the same along all axes and a coin says so."""
    return {n: v[0] if len(set(v)) == 1 and rng.integers(2) else v for n, v in values.items()}


def _sees_the_image(axis: layer_references.Axis) -> bool:
    taps = axis.starts[:, None] + axis.dilation * np.arange(axis.size)
    return bool(((taps >= 0) & (taps < axis.image)).any(1).all())


def _held(holds: dict[str, Any]) -> set[str]:
    return {name for name, yes in holds.items() if yes}


def _features(axes: list[layer_references.Axis], lead, padding) -> frozenset[str]:
    features = {f"rank {len(axes)}", f"{min(len(lead), 2)} leading axes"}
    features.add(padding if isinstance(padding, str) else "padding in numbers")
    for axis in axes:
        extent = axis.dilation * (axis.size - 1) + 1
        end = axis.image + axis.hi
        holds = {
            "stride does not divide": (end + axis.lo - extent) % axis.stride != 0,
            "dilation": axis.dilation > 1 and axis.size > 1,
            "even window": axis.size % 2 == 0,
            "size-1 axis": axis.image == 1,
            "overlapping": axis.stride < extent,
            "gaps": axis.stride > extent,
            "padding": axis.lo + axis.hi > 0,
            "uneven padding": axis.lo != axis.hi,
            "ceil_mode adds a window": axis.starts[-1] + extent > end,
            "empty leading axis": 0 in lead,
        }
        features |= _held(holds)
    return frozenset(features)
