"""`LSTM` and `GRU`: recurrent layers over one sequence."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_array
from fnnet.core.geometry import integer
from fnnet.layers.answers import Access, Initializer, Layout, Parameter
from fnnet.layers.fields import set_fields, set_flags
from fnnet.layers.kernels import entry, glorot, zeros
from fnnet.layers.protocol import MINI_BATCH, Layer, Params, check_entries, with_fields
from fnnet.rules.gru import gru
from fnnet.rules.lstm import lstm

orthogonal = jax.nn.initializers.orthogonal()
LAYOUT = Layout(
    (2,),
    {
        "input_kernel": "weight_ih_l0",
        "recurrent_kernel": "weight_hh_l0",
        "bias": "bias_ih_l0",
        "recurrent_bias": "bias_hh_l0",
    },
    None,
)


class Recurrent(Layer):
    """What LSTM and GRU share: (time, features) -> (time, hidden)."""

    layout: ClassVar = LAYOUT
    length: ClassVar[Any] = None
    gates: ClassVar[int]
    sums: ClassVar[int]  # operations of a step on a unit, beside the products and the biases
    hidden: int
    reverse: bool
    kernel_init: Initializer | None
    recurrent_init: Initializer | None
    bias_init: Initializer

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        set_fields(self, hidden=integer(type(self).__name__, "hidden", self.hidden))
        flags = (field.name for field in dataclasses.fields(self) if field.type is bool)  # type: ignore[arg-type]
        set_flags(self, *flags)

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """Kernels and biases for one sequence of that shape; kernels are drawn gate by gate."""
        if len(shape) != 2:
            raise ValueError(f"{type(self).__name__}: x of shape {shape} must have shape (time, features)")
        wide = self.gates * self.hidden
        found = {
            "input_kernel": Parameter((shape[-1], wide), by_gate(self.kernel_init or glorot, self.gates)),
            "recurrent_kernel": Parameter((self.hidden, wide), by_gate(self.recurrent_init or orthogonal, self.gates)),
        }
        biases = (name for name in self.entries if name not in found)
        return found | {name: Parameter((wide,), self.bias_init, decayed=False) for name in biases}

    def outputs(self, arrays: dict[str, Any]) -> Any:
        """The rule's outputs of all steps, from the sequence `xs` and the parameters by name."""
        raise NotImplementedError

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """(time, features) -> (time, hidden)."""
        check_entries(self, params)
        name, wide = type(self).__name__, self.gates * self.hidden
        shapes: dict[str, tuple[int | str, ...]] = {
            "input_kernel": ("features", wide),
            "recurrent_kernel": (self.hidden, wide),
        }
        own = {key: entry(self, params, key, shapes.get(key, (wide,))) for key in self.entries}
        x, features = as_array(name, "x", x), own["input_kernel"].shape[0]
        if x.ndim != 2 or x.shape[-1] != features:
            raise ValueError(
                f"{name}: x of shape {x.shape} must have shape (time, {features})" + f"; {MINI_BATCH}" * (x.ndim > 2)
            )
        return self.outputs({"xs": x, **own})

    def with_length(self, length: Any) -> "Recurrent":
        """The same with outputs of 0 from step `length` on, which leave the state as it is."""
        return with_fields(self, length=length)

    def flops(self, params: Params, x: Any) -> int:
        """Its products, its biases, and the sums and products entry by entry."""
        biases = self.gates * (len(self.entries) - 2)
        return self.products(params, x) + x.shape[0] * self.hidden * (biases + self.sums)

    def products(self, params: Params, x: Any) -> int:
        """A multiplication and an addition for each weight and step."""
        return 2 * x.shape[0] * (math.prod(params["input_kernel"].shape) + math.prod(params["recurrent_kernel"].shape))

    def access(self, x: Any) -> Access:
        """Products."""
        return Access("product")


@dataclass(frozen=True, repr=False)
class LSTM(Recurrent):
    """Long short-term memory over x (time, features); `fnnet.lstm` has the equations.

    Args:
        hidden: Number of units, the size of an output.
        bias: Whether there is one.
        recurrent_bias: Whether there is a second one, which is added to the first: PyTorch's LSTM has two.
        reverse: Whether to go from the last step to the first.
        kernel_init: Of each gate's part of the input kernel; None means Glorot.
        recurrent_init: Of each gate's part of the recurrent kernel; None means orthogonal.
        bias_init: Of the biases.

    Parameters: input_kernel (features, 4 hidden), recurrent_kernel (hidden, 4 hidden), bias (4 hidden,), recurrent_bias
    (4 hidden,); the gates in the order i, f, g, o.
    """

    hidden: int
    _: dataclasses.KW_ONLY
    bias: bool = True
    recurrent_bias: bool = False
    reverse: bool = False
    kernel_init: Initializer | None = None
    recurrent_init: Initializer | None = None
    bias_init: Initializer = zeros

    gates: ClassVar = 4
    sums: ClassVar = 8  # the two products' sum for each gate, f c + i g, o tanh c

    @property
    def entries(self) -> tuple[str, ...]:
        """The kernels, and the biases that there are."""
        biases = {"bias": self.bias, "recurrent_bias": self.recurrent_bias}
        return ("input_kernel", "recurrent_kernel", *(name for name, there in biases.items() if there))

    def outputs(self, arrays: dict[str, Any]) -> Any:
        """By `lstm`, of the sum of the biases."""
        second = arrays.pop("recurrent_bias", None)
        if second is not None:
            arrays["bias"] = arrays["bias"] + second if self.bias else second
        return lstm(**arrays, lengths=self.length, reverse=self.reverse)[0]


@dataclass(frozen=True, repr=False)
class GRU(Recurrent):
    """Gated recurrent units over x (time, features); `fnnet.gru` has the equations.

    Args:
        hidden: Number of units, the size of an output.
        bias: Whether there are biases: one for each kernel.
        reverse: Whether to go from the last step to the first.
        kernel_init: Of each gate's part of the input kernel; None means Glorot.
        recurrent_init: Of each gate's part of the recurrent kernel; None means orthogonal.
        bias_init: Of the biases.

    Parameters: input_kernel (features, 3 hidden), recurrent_kernel (hidden, 3 hidden), bias (3 hidden,), recurrent_bias
    (3 hidden,); the gates in the order r, z, n.
    """

    hidden: int
    _: dataclasses.KW_ONLY
    bias: bool = True
    reverse: bool = False
    kernel_init: Initializer | None = None
    recurrent_init: Initializer | None = None
    bias_init: Initializer = zeros

    gates: ClassVar = 3
    sums: ClassVar = 7  # two sums for r and z, two operations for n's argument, three for h

    @property
    def entries(self) -> tuple[str, ...]:
        """The kernels, and the biases if there are any."""
        return ("input_kernel", "recurrent_kernel", *("bias", "recurrent_bias") * self.bias)

    def outputs(self, arrays: dict[str, Any]) -> Any:
        """By `gru`."""
        return gru(**arrays, lengths=self.length, reverse=self.reverse)[0]


def by_gate(initializer: Initializer, gates: int) -> Initializer:
    """Draws the part of each gate by itself, so that the fans are those of one gate."""

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        rows, columns = shape
        keys = jax.random.split(key, gates)
        return jnp.concatenate([initializer(k, (rows, columns // gates), dtype) for k in keys], -1)

    return draw
