"""`Dense`: an affine map of the last axis."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from fnnet.core.arguments import as_array
from fnnet.core.geometry import integer
from fnnet.layers.answers import Access, Call, Initializer, Layout, Parameter
from fnnet.layers.fields import check_initializers, set_fields, set_flags
from fnnet.layers.gram_norms import norms_of_product
from fnnet.layers.kernels import bias_of, entry, initializer_for, kernel_and_bias, zeros
from fnnet.layers.protocol import MINI_BATCH, Layer, Params, with_fields
from fnnet.rules.dense import dense


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """x W + b, along the last axis of x.

    Args:
        features: Size of the output.
        bias: Whether there is one.
        kernel_init: An initialiser of `jax.nn.initializers`. None means Glorot (2010) (16), uniform with the variance
            2 / (fan in + fan out); `Sequential` puts He in its place before a ReLU.
        bias_init: The same for the bias.

    Parameters: kernel (inputs, features), bias (features,).
    """

    features: int
    _: dataclasses.KW_ONLY
    bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer = zeros

    layout: ClassVar = Layout((2,), {"kernel": "weight", "bias": "bias"}, {"kernel": "kernel", "bias": "bias"})

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        set_fields(self, features=integer("Dense", "features", self.features))
        set_flags(self, "bias")
        check_initializers(self)

    @property
    def entries(self) -> tuple[str, ...]:
        """kernel, and bias if there is one."""
        return ("kernel", "bias") if self.bias else ("kernel",)

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """Kernel and bias for one example of that shape."""
        if not shape:
            raise ValueError("Dense: x of shape () must have one axis or more")
        return kernel_and_bias(self, (shape[-1], self.features))

    def with_gain(self, gain: float) -> "Dense":
        """The layer with its kernel drawn for this gain, unless it has an initialiser of its own."""
        return self if self.kernel_init else with_fields(self, kernel_init=initializer_for(gain))

    def call(self, params: Params, x: Any) -> Call:
        """(..., inputs) -> (..., features)."""
        kernel, bias = entry(self, params, "kernel", ("inputs", self.features)), bias_of(self, params)
        x, inputs = as_array("Dense", "x", x), kernel.shape[0]
        if x.ndim == 1 and 0 < inputs < x.size and x.size % inputs == 0:
            raise ValueError(
                f'Dense: x of shape {x.shape} must have shape ({inputs},), as params["kernel"] of shape {kernel.shape} '
                f"says; if these are {x.size // inputs} examples made flat, {MINI_BATCH}"
            )
        return Call(dense, (x, kernel, bias), {})

    def engine(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Its sizes."""
        return {"kind": "dense", "inputs": shape[-1], "features": self.features}

    def last_product(self, params: Params) -> tuple[None, Params, Any, Any]:
        """Its kernel and bias."""
        return None, {}, entry(self, params, "kernel", ("inputs", self.features)), bias_of(self, params)

    @property
    def by_row(self) -> bool:
        """Yes."""
        return True

    def flops(self, params: Params, x: Any) -> int:
        """A multiplication and an addition for each input of each output, an addition for its bias."""
        return self.products(params, x) + self.bias * math.prod(x.shape[:-1]) * self.features

    def products(self, params: Params, x: Any) -> int:
        """A multiplication and an addition for each input of each output."""
        return 2 * math.prod(x.shape) * self.features

    def access(self, x: Any) -> Access:
        """One product."""
        return Access("product")

    def squared_gradient_norms(self, params: Params, x: Any, y_bar: Any) -> jax.Array | None:
        """By Gram matrices, where these are cheaper."""
        return norms_of_product(params, x, y_bar)

    def factor(self, of: str, index: tuple[int, ...], out: tuple[int, ...], shape: tuple[int, ...]) -> tuple:
        """dy_o / dW_io = x_i, and dy_o / dx_i = W_io."""
        if of == "bias":
            return ()
        return ("x", (*out[:-1], index[0])) if of == "kernel" else ("kernel", (index[-1], out[-1]))
