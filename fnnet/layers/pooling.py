"""`MaxPool` and `AvgPool`: the largest value and the mean of each window; and of the whole image."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from fnnet.core.arguments import as_array
from fnnet.core.geometry import Padding, pooling_window
from fnnet.layers.answers import Access, Call
from fnnet.layers.fields import image_for, set_flags, window_on
from fnnet.layers.protocol import Layer, Params, check_entries
from fnnet.rules.average_pooling import avg_pool
from fnnet.rules.max_pooling import max_pool


@dataclass(frozen=True, repr=False)
class MaxPool(Layer):
    """`fnnet.max_pool` over the spatial axes of x (*image, channels), an integer meaning the same on each of them."""

    window: int | Sequence[int]
    _: dataclasses.KW_ONLY
    stride: int | Sequence[int] | None = None
    padding: Padding = "VALID"
    dilation: int | Sequence[int] = 1
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        image = image_for(self, "window", "stride", "padding", "dilation")
        size = window_on(self, image)
        set_flags(self, "ceil_mode")
        pooling_window("MaxPool", image, size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def call(self, params: Params, x: Any) -> Call:
        """(*image, channels) -> (*places, channels)."""
        names = "stride", "padding", "dilation", "ceil_mode"
        return Call(max_pool, (x, window_on(self, x.shape)), {name: getattr(self, name) for name in names})

    @property
    def gain(self) -> None:
        """The next layer's."""
        return None

    def access(self, x: Any) -> Access:
        """Slices of x, one for each tap."""
        return Access("window", taps=math.prod(window_on(self, x.shape)), selects=True)


@dataclass(frozen=True, repr=False)
class AvgPool(Layer):
    """`fnnet.avg_pool` over the spatial axes of x (*image, channels), an integer meaning the same on each of them."""

    window: int | Sequence[int]
    _: dataclasses.KW_ONLY
    stride: int | Sequence[int] | None = None
    padding: Padding = "VALID"
    dilation: int | Sequence[int] = 1
    count_padding: bool = False
    divisor: float | int | None = None
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        image = image_for(self, "window", "stride", "padding", "dilation")
        size = window_on(self, image)
        set_flags(self, "count_padding", "ceil_mode")
        pooling_window("AvgPool", image, size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def call(self, params: Params, x: Any) -> Call:
        """(*image, channels) -> (*places, channels)."""
        names = "stride", "padding", "dilation", "count_padding", "divisor", "ceil_mode"
        return Call(avg_pool, (x, window_on(self, x.shape)), {name: getattr(self, name) for name in names})

    @property
    def gain(self) -> None:
        """The next layer's."""
        return None

    def access(self, x: Any) -> Access:
        """Slices of x, one for each tap."""
        return Access("window", taps=math.prod(window_on(self, x.shape)))


class _Global(Layer):
    """One number a channel: the image is one window."""

    pool: ClassVar[Callable]

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """(*image, channels) -> (channels,)."""
        check_entries(self, params)
        name, x = type(self).__name__, as_array(type(self).__name__, "x", x)
        if not 2 <= x.ndim <= 4:
            raise ValueError(f"{name}: x of shape {x.shape} must be one image (*image, channels) with 1 to 3 axes")
        return type(self).pool(x, x.shape[:-1]).reshape(x.shape[-1:])

    @property
    def gain(self) -> None:
        """The next layer's."""
        return None


@dataclass(frozen=True, repr=False)
class GlobalMaxPool(_Global):
    """The largest entry of each channel, by `fnnet.max_pool`: (*image, channels) -> (channels,)."""

    pool = staticmethod(max_pool)


@dataclass(frozen=True, repr=False)
class GlobalAvgPool(_Global):
    """The mean of each channel, by `fnnet.avg_pool`: (*image, channels) -> (channels,)."""

    pool = staticmethod(avg_pool)
