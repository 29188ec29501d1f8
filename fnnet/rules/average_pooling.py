"""Average-pooling: input x (..., *image, channels) -> output y (..., *places, channels).

    forward     y_i     = 1/c_i sum_t x_(si+dt-p)                             (1)   i a place, t a tap
    backward    x_bar_m = sum_i sum_t y_bar_i / c_i where s i + d t - p = m   (2)   m an entry of the image

c_i is the number of taps inside the image, or inside the image and its padding, or a number that the caller gives.
Nothing is kept, because (2) reads no value of x. The sum runs axis by axis: k + k taps instead of k * k.

Source: not in the five documents; PyTorch's AvgPool2d and ONNX's AveragePool define the counts.
Derivation: docs/derivations/average_pooling.md
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.core.arguments import as_divisor, as_flag, as_floats, wide
from fnnet.core.geometry import Padding, Window, pooling_window
from fnnet.core.habits import hinted
from fnnet.core.registration import rule
from fnnet.formulations.platforms import on_cpu
from fnnet.formulations.windows import is_tiling, single_axis, spread, taps, tiled


@hinted
def avg_pool(
    x: Float[ArrayLike, "*batch_and_image channels"],
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    count_padding: bool = False,
    divisor: float | int | None = None,
    ceil_mode: bool = False,
) -> Float[Array, "*batch_and_places channels"]:
    """Mean of each window, over as many spatial axes as the window has entries.

    Args:
        x: One example (*image, channels), or with any leading batch axes.
        window: Size of the window, one entry an axis; an integer means two axes.
        stride: Step between windows; None means the window's size.
        padding: "SAME", "SAME_LOWER", "VALID", an integer, or for each axis an integer or a pair; less than the window
            spans.
        dilation: Step between the taps of a window.
        count_padding: Whether the zeros of the padding count in the mean.
        divisor: What the sum of each window is divided by, any number but 0, instead of the number of taps that count;
            1 makes it sum-pooling.
        ceil_mode: Whether a last window that starts in the image (or its padding before) but ends outside counts. What
            lies beyond the padding is never counted.

    Returns:
        (..., *places, channels), of x's dtype. bf16 and f16 are accumulated in f32.

    Raises:
        ValueError: The window does not fit, or a size, stride, dilation, padding or divisor cannot be; or no tap of a
            window lies in the image, and the padding does not count.
        TypeError: x is not a floating array, the divisor not a number, or another argument of a wrong type.
    """
    (x,) = as_floats("avg_pool", x=x)
    ceil_mode = as_flag("avg_pool", "ceil_mode", ceil_mode)
    count_padding = as_flag("avg_pool", "count_padding", count_padding)
    place = pooling_window("avg_pool", x.shape, window, stride, padding, dilation, ceil_mode)
    if divisor is None:
        if not counts(place, count_padding).all():
            raise ValueError(
                f"avg_pool: window {place.size} dilated by {place.dilation} has no tap in x of shape {x.shape} at some "
                f"places: padding (={padding!r}) must leave it one, or count_padding be True"
            )
        return _avg_pool(x, window=place, count_padding=count_padding, divisor=None)
    return _avg_pool(x, window=place, count_padding=False, divisor=as_divisor("avg_pool", divisor))


def avg_pool_fwd(x, *, window, count_padding, divisor):
    (y,) = wide(x)
    for axis in reversed(range(window.rank)):
        y = sum(taps(y, single_axis(window, axis), 0))
    return (y / divisors(window, count_padding, divisor, y.dtype)).astype(x.dtype), None  # (1)


def avg_pool_bwd(_, y_bar, *, window, count_padding, divisor):
    (x_bar,) = wide(y_bar)
    x_bar = x_bar / divisors(window, count_padding, divisor, x_bar.dtype)
    x_bar = (copied_side_by_side if is_tiling(window) else copied)(x_bar, window=window)  # (2)
    return (x_bar.astype(y_bar.dtype),)


def copied(y_bar, *, window):
    """Each y_bar_i, added at each of its taps."""
    for axis in range(window.rank):
        y_bar = spread([y_bar] * window.size[axis], single_axis(window, axis))
    return y_bar


@on_cpu(lambda y_bar, *, window: tiled(lambda _, y_bar: y_bar, window, y_bar))
def copied_side_by_side(y_bar, *, window):
    """The same for windows that share no entry."""
    return copied(y_bar, window=window)


def divisors(window: Window, count_padding: bool, divisor: float | None, dtype) -> np.ndarray:
    """c_i, (*places, 1), or (1,) where the caller gives it."""
    return np.asarray(counts(window, count_padding) if divisor is None else [divisor], jnp.dtype(dtype))


def counts(window: Window, count_padding: bool) -> np.ndarray:
    """How many taps of each place count, (*places, 1)."""
    result = np.ones((), int)
    for w, k, s, d, (lo, hi), r in window.axes:
        at = np.arange(r)[:, None] * s + d * np.arange(k) - lo
        first, last = (-lo, w + hi) if count_padding else (0, w)
        result = result[..., None] * ((at >= first) & (at < last)).sum(1)
    return result[..., None]


_avg_pool = rule(avg_pool_fwd, avg_pool_bwd, batched=("x",))
