"""Max-pooling: input x (..., *image, channels) -> output y (..., *places, channels).

    forward     y_i     = max_t x_(si+dt-p)                                     (1)   i a place, t a tap of the window
                k_i     = the first t, in row-major order, that attains it      (2)
    backward    x_bar_m = sum of y_bar_i over the i where s i + d k_i - p = m   (3)   m an entry of the image
    index       m_i     = s i + d k_i - p, as one number                        (4)

(3) reads k alone, so neither x nor y is kept. k takes one byte an entry for windows of up to 128 taps.

Source: 001, "Max-pooling Layer", (16) and (17), for stride = window and with zeros as padding. Here padding never wins.
The two are the same after a ReLU only.
Derivation: docs/derivations/max_pooling.md
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Int32, Num

from fnnet.core.arguments import as_flag, as_reals
from fnnet.core.geometry import Padding, Window, pooling_window
from fnnet.core.habits import hinted
from fnnet.core.multilinear import Form
from fnnet.core.registration import rule
from fnnet.formulations.branches import computed_once
from fnnet.formulations.platforms import on_cpu
from fnnet.formulations.windows import is_tiling, single_axis, spread, taps, tiled, valid

MOST_TAPS = 16  # more are pooled axis by axis: k + k taps instead of k * k
UNROLLED = 48  # taps times channels below which LLVM unrolls their loops and vectorizes little


@hinted
def max_pool(
    x: Num[ArrayLike, "*batch_and_image channels"],
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Num[Array, "*batch_and_places channels"]:
    """Largest value in each window, over as many spatial axes as the window has entries.

    Args:
        x: One example (*image, channels), or with any leading batch axes.
        window: Size of the window, one entry an axis; an integer means two axes.
        stride: Step between windows; None means the window's size.
        padding: "SAME", "SAME_LOWER", "VALID", an integer, or for each axis an integer or a pair; less than the window
            spans.
        dilation: Step between the taps of a window.
        ceil_mode: Whether a last window that starts in the image (or its padding before) but ends outside counts.

    Returns:
        (..., *places, channels), of x's dtype. At a tie the gradient goes to the first maximum in row-major order, as
        in XLA and PyTorch. A NaN wins its window and gets its gradient. Padding never wins.

    Raises:
        ValueError: The window does not fit, or a size, stride, dilation or padding cannot be.
        TypeError: x is not an array of real numbers, or another argument is of a wrong type.

    Source: 001, "Max-pooling Layer", (15) to (17).
    """
    x, ceil_mode = as_reals("max_pool", "x", x), as_flag("max_pool", "ceil_mode", ceil_mode)
    place = pooling_window("max_pool", x.shape, window, stride, padding, dilation, ceil_mode)
    if math.prod(place.size) <= MOST_TAPS:
        return _max_pool(x, window=place)
    for axis in reversed(range(place.rank)):  # then the first of equals is the first in row-major order
        x = _max_pool(x, window=single_axis(place, axis))
    return x


@hinted
def max_pool_indices(
    x: Num[ArrayLike, "*batch_and_image channels"],
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Int32[Array, "*batch_and_places channels"]:
    """Where `max_pool` finds each maximum: the number of that entry in the image, counted in row-major order.

    The arguments are those of `max_pool`, and so is the choice among equal values and NaN. Integers have no gradient.

    Raises:
        ValueError: As `max_pool`; or no tap of a window lies in the image.
        TypeError: As `max_pool`.

    Example:
        >>> x = jnp.array([[3.0, 1.0, 5.0, 2.0]])[..., None]  # an image of one row, one channel
        >>> print(max_pool_indices(x, (1, 2)).ravel())
        [0 2]
    """
    x, ceil_mode = as_reals("max_pool_indices", "x", x), as_flag("max_pool_indices", "ceil_mode", ceil_mode)
    place = pooling_window("max_pool_indices", x.shape, window, stride, padding, dilation, ceil_mode)
    if not valid(place).any(0).all():
        raise ValueError(
            f"max_pool_indices: window {place.size} dilated by {place.dilation} has no tap in x of shape {x.shape} at "
            f"some places: padding (={padding!r}) must leave it one"
        )
    _, k = max_pool_fwd(lax.stop_gradient(x), window=place)
    index, taps_after, entries_after = jnp.zeros(k.shape, jnp.int32), 1, 1
    for axis in reversed(range(place.rank)):
        tap = k // taps_after % place.size[axis]
        start = np.arange(place.out[axis]) * place.stride[axis] - place.padding[axis][0]
        start = start.reshape(-1, *[1] * (place.rank - axis))
        index += entries_after * (start.astype(np.int32) + place.dilation[axis] * tap.astype(jnp.int32))  # (4)
        taps_after, entries_after = taps_after * place.size[axis], entries_after * place.image[axis]
    return index


def max_pool_fwd(x, *, window):
    return (of_few_channels if is_unrolled(x, window) else compared)(x, window=window)


def compared(x, *, window):
    """(1) and (2), tap by tap."""
    first = first_inside(window)
    y, k = None, None
    for t, value in enumerate(taps(x, window, lowest(x))):
        if y is None:
            y, k = value, jnp.zeros_like(value, index_dtype(window))
            continue
        wins = ~(value <= y) & (y == y)  # larger, or the first NaN
        if first[t].any():
            wins |= first[t][..., None]
        y = jnp.where(wins, value, y)  # (1)
        k = jnp.where(wins, jnp.asarray(t, k.dtype), k)  # (2)
    return y, k


def maxima_first(x, *, window):
    """The same for few channels on a CPU: y alone, and then the tap that has it."""
    y, _ = compared(x, window=window)  # (1)
    k, inside = jnp.zeros(y.shape, index_dtype(window)), valid(window)
    for t, value in reversed([*enumerate(taps(x, window, lowest(x)))]):
        has_it = ((value == y) | (value != value)) & inside[t][..., None]  # a NaN is the maximum
        k = jnp.where(has_it, jnp.asarray(t, k.dtype), k)  # (2)
    return y, k


of_few_channels = on_cpu(maxima_first)(compared)


def max_pool_bwd(k, y_bar, *, window):
    k = computed_once(k)  # else a CPU finds the maxima of all its windows again for each entry of x_bar
    return (form.x_bar(y_bar, k, window=window),)  # (3)


# The two partial derivatives of T(x, y_bar; k) = sum_i y_bar_i x_(si + dk_i - p).


def chosen(x, k, *, window: Window):
    """(1), the maxima being known: the entries of x that k points to."""
    return sum(jnp.where(k == t, value, 0) for t, value in enumerate(taps(x, window, 0)))


def routed(y_bar, k, *, window: Window):
    """(3): each y_bar_i, added where k points to."""
    return spread((jnp.where(k == t, y_bar, 0) for t in range(math.prod(window.size))), window)


def routed_side_by_side(y_bar, k, *, window: Window):
    """The same for windows that share no entry, in one loop, for CPUs."""
    return tiled(lambda t, k, y_bar: jnp.where(k == t.astype(k.dtype), y_bar, 0), window, k, y_bar)


def x_gradient(y_bar, k, *, window: Window):
    """(3), in the form that suits the window."""
    in_one_loop = is_tiling(window) and not is_unrolled(k, window)
    return (of_tiles if in_one_loop else routed)(y_bar, k, window=window)


of_tiles = on_cpu(routed_side_by_side)(routed)


def is_unrolled(array, window: Window) -> bool:
    """Whether LLVM unrolls the loops over taps and channels."""
    return math.prod(window.size) * array.shape[-1] < UNROLLED


def lowest(x):
    """What padding is worth: no more than any number."""
    return -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min


def first_inside(window: Window) -> np.ndarray:
    """Whether each tap but the first is the first inside the image, (taps, *places): it wins, even at -infinity."""
    inside = valid(window)
    first = inside & (np.cumsum(inside, axis=0) == 1)
    first[0] = False
    return first


def index_dtype(window: Window):
    """The smallest integer type that holds every tap's number."""
    return next(t for t in (jnp.int8, jnp.int16, jnp.int32) if math.prod(window.size) - 1 <= jnp.iinfo(t).max)


form = Form("max_pool", y=chosen, x_bar=x_gradient)
_max_pool = rule(max_pool_fwd, max_pool_bwd, batched=("x",))
