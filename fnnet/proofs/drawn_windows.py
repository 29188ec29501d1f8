"""Random windows, strides, dilations and paddings over images in one to three dimensions."""

import math

import numpy as np

from fnnet.proofs.draws import LEADING, held
from fnnet.proofs.proof import Configuration
from fnnet.proofs.refused import FLAGS, HUGE, NOT_INTEGERS, ONE_OF_TWO, PADDINGS, STEPS, TOO_SMALL, ones
from fnnet.proofs.windows import Axis, axes

WINDOWED = frozenset(
    {"rank 1", "rank 2", "rank 3", "SAME", "VALID", "padding in numbers", "padding", "uneven padding", "0 leading axes"}
    | {"1 leading axes", "2 leading axes", "empty leading axis", "size-1 axis", "stride does not divide", "even window"}
    | {"overlapping", "gaps"}
)
POOLED = WINDOWED | {"dilation", "stride None", "ceil_mode adds a window", "many taps"}
REFUSED = {  # by both poolings, at a window of 2 on x (2, 4, 6, 2)
    "x": ones((), (4,), (6, 2), (1, 6, 2), (4, 1, 2), (2, 0, 0, 2)),
    "window": (None, *NOT_INTEGERS, *TOO_SMALL, *ONE_OF_TWO, (), (1, 1, 1, 1), 7, HUGE, (5, 1), (1, 7), (1, 1, 7)),
    "stride": STEPS,
    "dilation": (None, *STEPS, 6, (4, 1), (1, 6), HUGE),
    "padding": (*PADDINGS, 2, (2, 0), (0, 2), ((0, 2), (0, 0)), HUGE),
    "ceil_mode": FLAGS,
}


def drawn_pooling(rng: np.random.Generator) -> Configuration:
    """A pooling none of whose windows lies in the padding alone, where there is no maximum and no mean."""
    while True:
        size, stride, dilation = drawn_window(rng, 7 if rng.random() < 0.2 else 4)
        own_stride, ceil_mode = bool(rng.random() < 0.2), bool(rng.integers(2))
        stride = size if own_stride else stride
        extents = extents_of(size, dilation)
        padding, slack = drawn_padding(rng, extents, [min(3, e - 1) for e in extents])
        # In ceil mode even the first window may end outside, by less than a stride.
        image = drawn_image(rng, [e - p - ceil_mode * (s - 1) for e, p, s in zip(extents, slack, stride, strict=True)])
        placed = axes((*image, 1), size, stride, padding, dilation, ceil_mode)
        if all(_sees_the_image(axis) for axis in placed):
            break
    channels, tied = int(rng.integers(1, 4)), bool(rng.integers(2))
    lead = LEADING[rng.integers(len(LEADING))]
    square = len(size) == 2 and size[0] == size[1]
    static = {"window": size[0] if square and rng.integers(2) else size, "padding": padding, "ceil_mode": ceil_mode}
    static |= spelled(rng, dilation=dilation) | ({} if own_stride else spelled(rng, stride=stride))

    def arrays(rng: np.random.Generator) -> dict:
        shape = (*lead, *image, channels)
        return {"x": rng.integers(-1, 2, shape).astype(float) if tied else rng.normal(size=shape)}

    features = features_of(placed, lead, padding)
    extra = {"ties": tied and max(size) > 1, "stride None": own_stride, "many taps": math.prod(size) > 32}
    return Configuration(arrays, static, features=features | held(extra))


def drawn_window(rng, most: int) -> tuple[tuple[int, ...], ...]:
    """Size, stride and dilation; half of the windows are not dilated."""
    rank = int(rng.choice([1, 2, 3], p=[0.3, 0.5, 0.2]))
    tops = (min(most, (7, 7, 4)[rank - 1]), 3, 3)
    size, stride, dilation = (tuple(rng.integers(1, top + 1, rank).tolist()) for top in tops)
    return size, stride, dilation if rng.integers(2) else (1,) * rank


def extents_of(size, dilation) -> list[int]:
    """How far a window reaches along each axis."""
    return [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]


def drawn_padding(rng, extents, most):
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


def drawn_image(rng, least) -> tuple[int, ...]:
    """Sizes of an image that the window fits into; one in five the smallest, so that some are 1."""
    spread = (8, 6, 4)[len(least) - 1]
    return tuple(max(1, n) + (int(rng.integers(0, spread)) if rng.random() > 0.2 else 0) for n in least)


def spelled(rng, **values):
    """Each value as one integer, if it is the same along all axes and a coin says so."""
    return {n: v[0] if len(set(v)) == 1 and rng.integers(2) else v for n, v in values.items()}


def _sees_the_image(axis: Axis) -> bool:
    taps = axis.starts[:, None] + axis.dilation * np.arange(axis.size)
    return bool(((taps >= 0) & (taps < axis.image)).any(1).all())


def features_of(placed: list[Axis], lead, padding) -> frozenset[str]:
    """What a drawn window shows, for `Proof.covers`."""
    features = {f"rank {len(placed)}", f"{min(len(lead), 2)} leading axes"}
    features.add(padding if isinstance(padding, str) else "padding in numbers")
    for axis in placed:
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
        features |= held(holds)
    return frozenset(features)
