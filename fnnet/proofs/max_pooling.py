"""The proof of `fnnet.max_pool`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from fnnet.proofs.drawn_windows import POOLED, REFUSED, drawn_pooling
from fnnet.proofs.draws import normal
from fnnet.proofs.proof import Proof
from fnnet.proofs.windows import Each, axes, padded_image, patches, window_and_strides
from fnnet.rules.max_pooling import max_pool


def plain_max_pool(
    x: Any,
    window: Each,
    *,
    stride: Each | None = None,
    padding: Any = "VALID",
    dilation: Each = 1,
    ceil_mode: bool = False,
) -> Any:
    """Without dilation by reduce_window, whose gradient is select-and-scatter; with it, by patches and argmax."""
    placed = axes(x.shape, window, stride, padding, dilation, ceil_mode)
    padded = padded_image(x, placed, -jnp.inf)
    if all(axis.dilation == 1 for axis in placed):
        return lax.reduce_window(padded, -jnp.inf, lax.max, *window_and_strides(x, placed), "VALID")
    taps = patches(padded, placed)
    first = lax.stop_gradient(jnp.argmax(taps, axis=0, keepdims=True))
    return jnp.take_along_axis(taps, first, axis=0)[0]


MAX_POOL = Proof(
    max_pool,
    plain_max_pool,
    examples=[
        normal({"window": 2}, x=(2, 4, 6, 2)),
        normal({"window": 3, "stride": 2, "padding": "SAME"}, "overlapping", x=(2, 4, 6, 2)),
        normal({"window": 2, "stride": 1, "dilation": 2}, "dilated", x=(2, 5, 6, 2)),
        normal({"window": (2,), "stride": 2, "ceil_mode": True}, "1-D, ceil mode", x=(2, 7, 2)),
        normal({"window": (2, 2, 1), "stride": 1}, "3-D", x=(1, 4, 4, 2, 2)),
        normal({"window": 7, "stride": 1, "padding": 1}, "49 taps", x=(1, 8, 8, 1)),
    ],
    sample=drawn_pooling,
    covers=POOLED | {"ties"},
    tiny=normal({"window": (3, 2), "stride": (2, 1)}, x=(2, 5, 3, 1)),
    forms=[normal({"window": 2}, x=(6, 6, 3)), normal({"window": 3, "stride": 1}, "overlapping", x=(6, 6, 3))],
    refused=REFUSED | {"x": (*REFUSED["x"], *(np.ones((2, 4, 6, 2), dtype) for dtype in ("complex64", "bool")))},
    is_heavy=True,
)
