"""The proof of `fnnet.avg_pool`."""

from typing import Any

import numpy as np
from jax import lax

from fnnet.proofs.drawn_windows import POOLED, REFUSED, drawn_pooling
from fnnet.proofs.draws import held, normal
from fnnet.proofs.proof import Configuration, Proof
from fnnet.proofs.refused import FLAGS, NOT_FLOATING
from fnnet.proofs.windows import Each, axes, padded_image, patches, window_and_strides
from fnnet.rules.average_pooling import avg_pool


def plain_avg_pool(
    x: Any,
    window: Each,
    *,
    stride: Each | None = None,
    padding: Any = "VALID",
    dilation: Each = 1,
    count_padding: bool = False,
    divisor: float | int | None = None,
    ceil_mode: bool = False,
) -> Any:
    """Sums by reduce_window or, dilated, of patches; over how many entries each window counts."""
    placed = axes(x.shape, window, stride, padding, dilation, ceil_mode)
    padded = padded_image(x, placed, 0.0)
    if all(axis.dilation == 1 for axis in placed):
        sums = lax.reduce_window(padded, 0.0, lax.add, *window_and_strides(x, placed), "VALID")
    else:
        sums = patches(padded, placed).sum(0)
    if divisor is not None:
        return sums / divisor
    counts = np.ones(())
    for axis in placed:
        taps = axis.starts[:, None] + axis.dilation * np.arange(axis.size)
        first, last = (-axis.lo, axis.image + axis.hi) if count_padding else (0, axis.image)
        counts = counts[..., None] * ((taps >= first) & (taps < last)).sum(1)
    return sums / counts[..., None].astype(sums.dtype)


def sample(rng: np.random.Generator) -> Configuration:
    """A pooling, and what its sums are divided by."""
    drawn, count = drawn_pooling(rng), bool(rng.integers(2))
    divisor = [None, None, 3, -2.5][rng.integers(4)]
    extra = {"padding counts": count and "padding" in drawn.features, "divisor": divisor is not None}
    static = {"count_padding": count} | ({} if divisor is None else {"divisor": divisor})
    return Configuration(drawn.arrays, {**drawn.static, **static}, features=drawn.features | held(extra))


AVG_POOL = Proof(
    avg_pool,
    plain_avg_pool,
    examples=[
        normal({"window": 2}, x=(2, 4, 6, 2)),
        normal({"window": 3, "stride": 2, "padding": "SAME"}, "overlapping", x=(2, 4, 6, 2)),
        normal({"window": (3,), "padding": 1, "count_padding": True}, "padding counts", x=(2, 7, 2)),
        normal({"window": 2, "stride": 1, "dilation": 2, "divisor": 1}, "dilated, sums", x=(2, 5, 6, 2)),
    ],
    sample=sample,
    covers=POOLED | {"padding counts", "divisor"},
    tiny=normal({"window": (3, 2), "stride": (2, 1), "padding": 1}, x=(2, 5, 3, 1)),
    forms=[normal({"window": 3, "stride": 2, "padding": 1}, x=(6, 6, 3))],
    refused={
        **REFUSED,
        "x": (*REFUSED["x"], *NOT_FLOATING),
        "count_padding": FLAGS,
        "divisor": (0, 0.0, -0.0, np.inf, np.nan, "2", (2,), np.ones(2), object(), 1j),
    },
    is_heavy=True,
)
