"""`Dense`: an affine map of the last axis."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_array
from fnnet.core.geometry import integer
from fnnet.layers.fields import set_fields, set_flags
from fnnet.layers.kernels import Initializer, bias_of, kernel_and_bias, kernel_of, zeros
from fnnet.layers.protocol import MINI_BATCH, Layer, Params, check_entries, example_shape
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

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        set_fields(self, features=integer("Dense", "features", self.features))
        set_flags(self, "bias")

    @property
    def entries(self) -> tuple[str, ...]:
        """kernel, and bias if there is one."""
        return ("kernel", "bias") if self.bias else ("kernel",)

    def init(self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> dict[str, Any]:
        """Kernel and bias for one example of that shape."""
        shape = example_shape("Dense", shape)
        if not shape:
            raise ValueError("Dense: x of shape () must have one axis or more")
        return kernel_and_bias(self, key, (shape[-1], self.features), dtype)

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> jax.Array:
        """(..., inputs) -> (..., features)."""
        check_entries(self, params)
        kernel, bias = kernel_of(self, params, ("inputs", self.features)), bias_of(self, params)
        x, inputs = as_array("Dense", "x", x), kernel.shape[0]
        if x.ndim == 1 and 0 < inputs < x.size and x.size % inputs == 0:
            raise ValueError(
                f'Dense: x of shape {x.shape} must have shape ({inputs},), as params["kernel"] of shape {kernel.shape} '
                f"says; if these are {x.size // inputs} examples made flat, {MINI_BATCH}"
            )
        return dense(x, kernel, bias)

    def flops(self, params: Params, x: Any) -> int:
        """A multiplication and an addition for each input of each output, an addition for its bias."""
        return math.prod(x.shape[:-1]) * self.features * (2 * x.shape[-1] + self.bias)
