"""`MaxPool` and `AvgPool`: the largest value and the mean of each window."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fnnet.core.geometry import Padding, pooling_window
from fnnet.layers.answers import Access, Call
from fnnet.layers.fields import image_for, set_flags, window_on
from fnnet.layers.protocol import Layer, Params
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
