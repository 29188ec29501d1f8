"""Average-pooling: input x (..., *image, channels) -> output y (..., *places, channels).

    forward     y_o     = 1/c_o sum_t x_(so+t-p)                         (1)   o a place, t a tap
    backward    x_bar_i = sum_o sum_t y_bar_o / c_o where s o + t - p = i    (2)

c_o is the number of taps inside the image, or inside the image and its padding. Nothing is kept: (2) reads no value of
x. The sum runs axis by axis, k + k taps instead of k * k.

Source: not in the five documents; PyTorch's AvgPool2d and ONNX's AveragePool define the counts.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.arguments import accumulator, as_floats
from fnnet.formulations.windows import single_axis, spread, taps
from fnnet.geometry import Padding, Window, pooling_window
from fnnet.registration import rule


def avg_pool(
    x: Float[ArrayLike, "*batch_and_image channels"],
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_padding: bool = False,
    ceil_mode: bool = False,
) -> Float[Array, "*batch_and_places channels"]:
    """Mean of each window, over as many spatial axes as the window has entries.

    Args:
        x: One example (*image, channels), or with any leading batch axes.
        window: Size of the window, one entry an axis; an integer means two axes.
        stride: Step between windows; None means the window's size.
        padding: "SAME", "SAME_LOWER", "VALID", an integer, or for each axis an integer or a pair; less than the window
            spans.
        count_padding: Whether the zeros of the padding count in the mean.
        ceil_mode: Whether a last window that starts in the image (or its padding before) but ends outside counts. What
            lies beyond the padding is never counted.

    Returns:
        (..., *places, channels), of x's dtype. bf16 and f16 are accumulated in f32.

    Raises:
        ValueError: The window does not fit, or a size, stride or padding cannot be.
        TypeError: x is not a floating array.
    """
    (x,) = as_floats("avg_pool", x=x)
    place = pooling_window("avg_pool", x.shape, window, stride, padding, 1, ceil_mode)
    return _avg_pool(x, window=place, count_padding=bool(count_padding))


def avg_pool_fwd(x, *, window, count_padding):
    y = x.astype(accumulator(x.dtype))
    for axis in reversed(range(window.rank)):
        y = sum(taps(y, single_axis(window, axis), 0))
    return (y / counts(window, count_padding, y.dtype)).astype(x.dtype), None  # (1)


def avg_pool_bwd(_, y_bar, *, window, count_padding):
    x_bar = y_bar.astype(accumulator(y_bar.dtype))
    x_bar = x_bar / counts(window, count_padding, x_bar.dtype)
    for axis in range(window.rank):
        along = single_axis(window, axis)
        x_bar = spread([x_bar] * window.size[axis], along)  # (2)
    return (x_bar.astype(y_bar.dtype),)


def counts(window: Window, count_padding: bool, dtype) -> np.ndarray:
    """c_o, (*places, 1)."""
    result = np.ones((), int)
    for n, k, s, (lo, hi), o in zip(window.image, window.size, window.stride, window.padding, window.out, strict=True):
        start = np.arange(o) * s - lo
        first, last = (-lo, n + hi) if count_padding else (0, n)
        result = result[..., None] * (np.minimum(start + k, last) - np.maximum(start, first))
    return result[..., None].astype(jnp.dtype(dtype))


_avg_pool = rule(avg_pool_fwd, avg_pool_bwd, batched=("x",))
