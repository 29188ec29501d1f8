"""`ConvTranspose`: a transposed convolution over the spatial axes, which makes images larger."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fnnet.core.geometry import Window, integer, transposed_window
from fnnet.formulations.windows import valid
from fnnet.layers.answers import Access, Call, Initializer, Layout
from fnnet.layers.convolution import Convolutional, check_one_example
from fnnet.layers.fields import check_initializers, hashable, image_for, set_fields, set_flags, window_of, window_on
from fnnet.layers.kernels import bias_of, entry, zeros
from fnnet.layers.protocol import Params
from fnnet.rules.transposed_convolution import conv_transpose


@dataclass(frozen=True, repr=False)
class ConvTranspose(Convolutional):
    """Transposed convolution over the spatial axes of x (*image, channels); `fnnet.conv_transpose` has the equations.

    Args:
        features: Number of output channels.
        window: Size of the kernel's window, one entry for each spatial axis of x; an integer means two axes.
        stride: By how much the image grows, one for all axes or one an axis.
        padding: How many entries are cut off at both ends: an integer, or for each axis an integer or a pair.
        output_padding: How many entries more the output has at its end.
        dilation: Step between taps.
        groups: Number of groups of channels that do not mix.
        bias: Whether there is one.
        kernel_init: As for `Conv`.
        bias_init: The same for the bias.

    Parameters: kernel (*window, inputs / groups, features), bias (features,).
    """

    features: int
    window: int | Sequence[int]
    _: dataclasses.KW_ONLY
    stride: int | Sequence[int] = 1
    padding: int | Sequence[int | Sequence[int]] = 0
    output_padding: int | Sequence[int] = 0
    dilation: int | Sequence[int] = 1
    groups: int = 1
    bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer = zeros

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        groups = integer("ConvTranspose", "groups", self.groups)
        layout = Layout((3, 4, 5), {"kernel": "weight", "bias": "bias"}, None, groups)
        features = integer("ConvTranspose", "features", self.features)
        set_fields(self, features=features, groups=groups, layout=layout, output_padding=hashable(self.output_padding))
        set_flags(self, "bias")
        check_initializers(self)
        if self.features % self.groups:
            raise ValueError(f"ConvTranspose: groups (={self.groups}) must divide features (={self.features})")
        image = image_for(self, "window", "stride", "padding", "dilation")
        if not 1 <= len(image) - 1 <= 3:
            raise ValueError(f"ConvTranspose: window (={self.window}) must have 1 to 3 entries, one for each axis")
        self._place(image)

    @property
    def spatial_axes(self) -> int:
        """As many as the window has."""
        return len(window_of(self))

    def call(self, params: Params, x: Any) -> Call:
        """(*image, inputs) -> (*places, features)."""
        check_one_example(self, params, x.shape)
        kernel = entry(self, params, "kernel", (*window_on(self, x.shape), "inputs / groups", self.features))
        names = "stride", "padding", "output_padding", "dilation", "groups"
        return Call(conv_transpose, (x, kernel, bias_of(self, params)), {name: getattr(self, name) for name in names})

    def flops(self, params: Params, x: Any) -> int:
        """Its products, and an addition for the bias of each output."""
        return self.products(params, x) + self.bias * math.prod(self._place(x.shape).image) * self.features

    def products(self, params: Params, x: Any) -> int:
        """A multiplication and an addition for each entry of x and each tap that falls into the output."""
        return 2 * int(valid(self._place(x.shape)).sum()) * x.shape[-1] * (self.features // self.groups)

    def access(self, x: Any) -> Access:
        """One product, whose operands XLA puts into another order."""
        return Access("product", groups=self.groups)

    def _place(self, shape: tuple[int, ...]) -> Window:
        """The window of the convolution from the output to x."""
        names = "stride", "padding", "output_padding", "dilation"
        place, _ = transposed_window(
            "ConvTranspose", shape, window_on(self, shape), **{name: getattr(self, name) for name in names}
        )
        return place
