"""`Conv`: a convolution over the spatial axes."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_array
from fnnet.core.geometry import Padding, Window, integer, window
from fnnet.formulations.windows import valid
from fnnet.layers.fields import image_for, set_fields, set_flags, window_on
from fnnet.layers.kernels import Initializer, bias_of, kernel_and_bias, kernel_of, zeros
from fnnet.layers.protocol import MINI_BATCH, Layer, Params, check_entries, example_shape
from fnnet.rules.convolution import conv


@dataclass(frozen=True, repr=False)
class Conv(Layer):
    """Convolution over the spatial axes of x (*image, channels); `fnnet.conv` has the equations.

    Args:
        features: Number of output channels.
        window: Size of the kernel's window; an integer means the same on each spatial axis of x.
        stride: Step between places, one for all axes or one an axis.
        padding: "SAME", "SAME_LOWER", "VALID", an integer, or for each axis an integer or a pair.
        dilation: Step between taps.
        groups: Number of groups of channels that do not mix.
        bias: Whether there is one.
        kernel_init: As for `Dense`; the fan counts the window's taps.
        bias_init: The same for the bias.

    Parameters: kernel (*window, inputs / groups, features), bias (features,).
    """

    features: int
    window: int | Sequence[int]
    _: dataclasses.KW_ONLY
    stride: int | Sequence[int] = 1
    padding: Padding = "SAME"
    dilation: int | Sequence[int] = 1
    groups: int = 1
    bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer = zeros

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        set_fields(
            self, features=integer("Conv", "features", self.features), groups=integer("Conv", "groups", self.groups)
        )
        set_flags(self, "bias")
        if self.features % self.groups:
            raise ValueError(f"Conv: groups (={self.groups}) must divide features (={self.features})")
        image = image_for(self, "window", "stride", "padding", "dilation")
        if not 1 <= len(image) - 1 <= 3:
            raise ValueError(f"Conv: window (={self.window}) must have 1 to 3 entries, one for each spatial axis")
        self._place(image)

    @property
    def entries(self) -> tuple[str, ...]:
        """kernel, and bias if there is one."""
        return ("kernel", "bias") if self.bias else ("kernel",)

    def init(self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> dict[str, Any]:
        """Kernel and bias for one example of that shape."""
        shape = example_shape("Conv", shape)
        size = window_on(self, shape)
        if shape[-1] % self.groups:
            raise ValueError(f"Conv: groups (={self.groups}) must divide x's {shape[-1]} channels, x of shape {shape}")
        return kernel_and_bias(self, key, (*size, shape[-1] // self.groups, self.features), dtype)

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> jax.Array:
        """(*image, inputs) -> (*places, features)."""
        check_entries(self, params)
        check_one_example(self, params, x.shape)
        kernel = kernel_of(self, params, (*window_on(self, x.shape), "inputs / groups", self.features))
        return conv(
            x,
            kernel,
            bias_of(self, params),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def flops(self, params: Params, x: Any) -> int:
        """A multiplication and an addition for each tap inside the image, an addition for the bias of each output."""
        place = self._place(x.shape)
        products = int(valid(place).sum()) * (x.shape[-1] // self.groups) * self.features
        return 2 * products + self.bias * math.prod(place.out) * self.features

    def _place(self, shape: tuple[int, ...]) -> Window:
        size = window_on(self, shape)
        return window("Conv", shape, size, stride=self.stride, dilation=self.dilation, padding=self.padding)


def check_one_example(layer: Conv, params: Params, shape: tuple[int, ...]) -> None:
    """Whether x has as many axes as the kernel is for: with one integer as the window, x alone would decide."""
    kernel = as_array("Conv", 'params["kernel"]', params["kernel"])
    rank = kernel.ndim - 2 if isinstance(layer.window, int) else len(layer.window)
    if not 1 <= rank <= 3 or len(shape) == rank + 1:
        return
    channels = kernel.shape[-2] * layer.groups if kernel.ndim == rank + 2 else "channels"
    wanted = ", ".join([*("depth", "height", "width")[-rank:], str(channels)])
    raise ValueError(
        f'Conv: x of shape {shape} must have shape ({wanted}), as params["kernel"] of shape {kernel.shape} says'
        + f"; {MINI_BATCH}" * (len(shape) > rank + 1)
    )
