"""`MaxPool` and `AvgPool`: the largest value and the mean of each window; and of the whole image."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core.arguments import accumulator, as_array, as_divisor
from fnnet.core.geometry import Padding, Window, pooling_window
from fnnet.layers.answers import Access, Call
from fnnet.layers.arguments import check_entries
from fnnet.layers.fields import image_for, set_fields, set_flags, window_of, window_on
from fnnet.layers.padding_aware import PaddingAware
from fnnet.layers.protocol import Layer, Params
from fnnet.rules.average_pooling import avg_pool, divisors
from fnnet.rules.max_pooling import max_pool


@dataclass(frozen=True, repr=False)
class MaxPool(Layer):
    """`fnnet.max_pool` over the spatial axes of x (*image, channels); an integer window means two axes."""

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
    def spatial_axes(self) -> int:
        """As many as the window has."""
        return len(window_of(self))

    @property
    def gain(self) -> None:
        """The next layer's."""
        return None

    def access(self, x: Any) -> Access:
        """Slices of x, one for each tap."""
        return Access("window", taps=math.prod(window_on(self, x.shape)), selects=True)

    def engine(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Its sizes."""
        sizes = window_on(self, shape), self.stride, self.padding, self.dilation, self.ceil_mode
        return _sizes("max_pool", shape, pooling_window("MaxPool", shape, *sizes))


@dataclass(frozen=True, repr=False)
class AvgPool(Layer):
    """`fnnet.avg_pool` over the spatial axes of x (*image, channels); an integer window means two axes."""

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
        if self.divisor is not None:
            set_fields(self, divisor=as_divisor("AvgPool", self.divisor))
        pooling_window("AvgPool", image, size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def call(self, params: Params, x: Any) -> Call:
        """(*image, channels) -> (*places, channels)."""
        names = "stride", "padding", "dilation", "count_padding", "divisor", "ceil_mode"
        return Call(avg_pool, (x, window_on(self, x.shape)), {name: getattr(self, name) for name in names})

    @property
    def spatial_axes(self) -> int:
        """As many as the window has."""
        return len(window_of(self))

    @property
    def gain(self) -> None:
        """The next layer's."""
        return None

    def access(self, x: Any) -> Access:
        """Slices of x, one for each tap."""
        return Access("window", taps=math.prod(window_on(self, x.shape)))

    def engine(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Its sizes, and what the sum of each window is divided by."""
        sizes = window_on(self, shape), self.stride, self.padding, self.dilation, self.ceil_mode
        place = pooling_window("AvgPool", shape, *sizes)
        divided = divisors(place, self.count_padding, self.divisor, "float64")
        each = np.broadcast_to(divided, (*place.out, 1)).ravel().tolist()
        return _sizes("avg_pool", shape, place) | {"divisors": each}


def _sizes(kind: str, shape: tuple[int, ...], place: Window) -> dict[str, Any]:
    """The sizes of a pooling of an example of that shape."""
    return {"kind": kind, **dataclasses.asdict(place), "channels": shape[-1]}


class _Global(PaddingAware):
    """One number a channel: the image is one window."""

    pool: ClassVar[Callable]
    windowed: ClassVar[Any]  # the same layer with a window
    outside: ClassVar[float]  # in place of rows that do not count

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """(*image, channels) -> (channels,)."""
        check_entries(self, params)
        name, x = type(self).__name__, as_array(type(self).__name__, "x", x)
        if not 2 <= x.ndim <= 4:
            raise ValueError(f"{name}: x of shape {x.shape} must be one image (*image, channels) with 1 to 3 axes")
        self.check_rows(x)
        if self.length is not None:
            rows = jnp.arange(len(x), dtype=jnp.int32).reshape(-1, *(1,) * (x.ndim - 1))
            x = jnp.where(rows < jnp.int32(self.length), x, type(self).outside)
        y = type(self).pool(x, x.shape[:-1]).reshape(x.shape[-1:])
        return y if self.length is None else self.of_part(y, len(x))

    def of_part(self, y: Any, rows: int) -> Any:
        """What was pooled, of so many rows, as that of the first `length`; 0 where there are none."""
        raise NotImplementedError

    def engine(self, shape: tuple[int, ...]) -> Mapping[str, Any] | None:
        """That of the pooling whose window is the image."""
        return self.windowed(shape[:-1]).engine(shape) if self.length is None else None

    @property
    def gain(self) -> None:
        """The next layer's."""
        return None


@dataclass(frozen=True, repr=False)
class GlobalMaxPool(_Global):
    """The largest entry of each channel, by `fnnet.max_pool`: (*image, channels) -> (channels,).

    In `Padded`, a sequence that is all padding gives 0.
    """

    pool = staticmethod(max_pool)
    windowed = MaxPool
    outside: ClassVar = -math.inf

    def of_part(self, y: Any, rows: int) -> Any:
        """The largest entry of the first `length` rows; 0 where there are none."""
        return jnp.where(self.length > 0, y, 0)


@dataclass(frozen=True, repr=False)
class GlobalAvgPool(_Global):
    """The mean of each channel, by `fnnet.avg_pool`: (*image, channels) -> (channels,).

    In `Padded`, a sequence that is all padding gives 0.
    """

    pool = staticmethod(avg_pool)
    windowed = AvgPool
    outside: ClassVar = 0.0

    def of_part(self, y: Any, rows: int) -> Any:
        """The mean of all rows, those of the padding 0, as that of the first `length`; 0 where there are none."""
        dtype = accumulator(y.dtype)
        return (y.astype(dtype) * (rows / jnp.maximum(self.length, 1).astype(dtype))).astype(y.dtype)
