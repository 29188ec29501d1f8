"""`Conv`: a convolution over the spatial axes."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from fnnet.core.arguments import as_array
from fnnet.core.geometry import Padding, Window, integer, window
from fnnet.formulations.windows import valid
from fnnet.layers.answers import Access, Call, Initializer, Layout, Parameter
from fnnet.layers.fields import AXES, check_initializers, image_for, set_fields, set_flags, window_of, window_on
from fnnet.layers.gram_norms import norms_of_product, patches
from fnnet.layers.kernels import bias_of, entry, initializer_for, kernel_and_bias, zeros
from fnnet.layers.protocol import MINI_BATCH, Layer, Params, with_fields
from fnnet.rules.convolution import conv


class Convolutional(Layer):
    """What `Conv` and `ConvTranspose` share: a kernel (*window, inputs / groups, features), and a bias."""

    features: int
    groups: int
    bias: bool
    kernel_init: Initializer | None

    @property
    def entries(self) -> tuple[str, ...]:
        """kernel, and bias if there is one."""
        return ("kernel", "bias") if self.bias else ("kernel",)

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """Kernel and bias for one example of that shape."""
        size = window_on(self, shape)
        if shape[-1] % self.groups:
            name = type(self).__name__
            raise ValueError(
                f"{name}: groups (={self.groups}) must divide x's {shape[-1]} channels, x of shape {shape}"
            )
        return kernel_and_bias(self, (*size, shape[-1] // self.groups, self.features))

    def with_gain(self, gain: float) -> "Convolutional":
        """The layer with its kernel drawn for this gain, unless it has an initialiser of its own."""
        return self if self.kernel_init else with_fields(self, kernel_init=initializer_for(gain))


@dataclass(frozen=True, repr=False)
class Conv(Convolutional):
    """Convolution over the spatial axes of x (*image, channels); `fnnet.conv` has the equations.

    Args:
        features: Number of output channels.
        window: Size of the kernel's window, one entry for each spatial axis of x; an integer means two axes.
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

    layout: ClassVar = Layout((3, 4, 5), {"kernel": "weight", "bias": "bias"}, {"kernel": "kernel", "bias": "bias"})

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        set_fields(
            self, features=integer("Conv", "features", self.features), groups=integer("Conv", "groups", self.groups)
        )
        set_flags(self, "bias")
        check_initializers(self)
        if self.features % self.groups:
            raise ValueError(f"Conv: groups (={self.groups}) must divide features (={self.features})")
        image = image_for(self, "window", "stride", "padding", "dilation")
        if not 1 <= len(image) - 1 <= 3:
            raise ValueError(f"Conv: window (={self.window}) must have 1 to 3 entries, one for each spatial axis")
        self._place(image)

    @property
    def spatial_axes(self) -> int:
        """As many as the window has."""
        return len(window_of(self))

    def call(self, params: Params, x: Any) -> Call:
        """(*image, inputs) -> (*places, features)."""
        check_one_example(self, params, x.shape)
        kernel = entry(self, params, "kernel", (*window_on(self, x.shape), "inputs / groups", self.features))
        names = "stride", "padding", "dilation", "groups"
        return Call(conv, (x, kernel, bias_of(self, params)), {name: getattr(self, name) for name in names})

    def flops(self, params: Params, x: Any) -> int:
        """Its products, and an addition for the bias of each output."""
        return self.products(params, x) + self.bias * math.prod(self._place(x.shape).out) * self.features

    def products(self, params: Params, x: Any) -> int:
        """A multiplication and an addition for each tap inside the image."""
        return 2 * int(valid(self._place(x.shape)).sum()) * (x.shape[-1] // self.groups) * self.features

    def access(self, x: Any) -> Access:
        """One product, whose operands XLA puts into another order."""
        return Access("product", groups=self.groups)

    def squared_gradient_norms(self, params: Params, x: Any, y_bar: Any) -> jax.Array | None:
        """By Gram matrices of the patches, where these are cheaper; with groups by the gradient."""
        if self.groups > 1:
            return None
        return norms_of_product(params, x, y_bar, lambda: patches(x, self._place(x.shape[1:])))

    def factor(self, of: str, index: tuple[int, ...], out: tuple[int, ...], shape: tuple[int, ...]) -> tuple:
        """dy_o / dW_t = x_(so+dt-p), and dy_o / dx_i = W_((i-so+p)/d)."""
        if of == "bias":
            return ()
        place, per_group, inputs = self._place(shape), self.features // self.groups, shape[-1] // self.groups
        starts = [o * s - lo for o, s, (lo, _) in zip(out, place.stride, place.padding, strict=False)]
        if of == "kernel":
            *taps, channel, output = index
            spot = [start + d * t for start, d, t in zip(starts, place.dilation, taps, strict=True)]
            return "x", (*spot, channel + (output // per_group) * inputs)
        tap = [(i - start) // d for i, start, d in zip(index, starts, place.dilation, strict=False)]
        return "kernel", (*tap, index[-1] % inputs, out[-1])

    def engine(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Its sizes."""
        sizes = {"channels": shape[-1], "features": self.features, "groups": self.groups}
        return {"kind": "conv", **dataclasses.asdict(self._place(shape)), **sizes}

    def _place(self, shape: tuple[int, ...]) -> Window:
        size = window_on(self, shape)
        return window("Conv", shape, size, stride=self.stride, dilation=self.dilation, padding=self.padding)


def check_one_example(layer: Any, params: Params, shape: tuple[int, ...]) -> None:
    """Whether x has as many axes as the kernel is for."""
    kernel = as_array(type(layer).__name__, 'params["kernel"]', params["kernel"])
    rank = len(window_of(layer))
    if len(shape) == rank + 1 or kernel.ndim != rank + 2:
        return
    own = type(layer).__name__
    wanted = ", ".join([*AXES[rank], str(kernel.shape[-2] * layer.groups)])
    raise ValueError(
        f'{own}: x of shape {shape} must have shape ({wanted}), as params["kernel"] of shape {kernel.shape} says'
        + f"; {MINI_BATCH}" * (len(shape) > rank + 1)
    )
