"""`LSTM` and `GRU`: recurrent layers over one sequence."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_array
from fnnet.core.geometry import integer
from fnnet.layers.answers import Access, Initializer, Layout, Parameter
from fnnet.layers.arguments import check_entries
from fnnet.layers.fields import check_initializers, set_fields, set_flags
from fnnet.layers.kernels import entry, glorot, zeros
from fnnet.layers.padding_aware import PaddingAware
from fnnet.layers.protocol import MINI_BATCH, Params
from fnnet.rules.gru import gru
from fnnet.rules.lstm import lstm

orthogonal = jax.nn.initializers.orthogonal()
TORCH = {
    "input_kernel": "weight_ih_l0",
    "recurrent_kernel": "weight_hh_l0",
    "bias": "bias_ih_l0",
    "recurrent_bias": "bias_hh_l0",
}


def cell(input_gates: str, recurrent_gates: str, **biases: Any) -> dict[str, Any]:
    """Flax's names in a cell that has a module for each gate: "ii if ig io" are those that read the input."""
    kernels = {"input_kernel": input_gates, "recurrent_kernel": recurrent_gates}
    named = {name: tuple(f"{gate}/kernel" for gate in gates.split()) for name, gates in kernels.items()}
    return named | {name: tuple(f"{gate}/bias" for gate in gates.split()) for name, gates in biases.items()}


JOINED = {"input_kernel": "dense_i/kernel", "recurrent_kernel": "dense_h/kernel"}
LSTM_CELLS = (  # linen's two, NNX's LSTMCell and OptimizedLSTMCell
    cell("ii if ig io", "hi hf hg ho", bias="hi hf hg ho"),
    cell("ii if_ ig io", "hi hf hg ho", bias="hi hf hg ho"),
    JOINED | {"bias": "dense_h/bias"},
)
GRU_CELLS = (cell("ir iz in", "hr hz hn", bias="ir iz in", recurrent_bias="hn"), JOINED | {"bias": "dense_i/bias"})


class Recurrent(PaddingAware):
    """What LSTM and GRU share: (time, features) -> (time, hidden).

    Steps that do not count have outputs of 0, and leave the state as it is.
    """

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
        check_initializers(self)

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """Kernels and biases for one sequence of that shape; kernels are drawn gate by gate."""
        if len(shape) != 2:
            raise ValueError(f"{type(self).__name__}: x of shape {shape} must have shape (time, features)")
        wide = self.gates * self.hidden
        found = {
            "input_kernel": Parameter((shape[-1], wide), by_gate(self.kernel_init or glorot, self.gates)),
            "recurrent_kernel": Parameter((self.hidden, wide), by_gate(self.recurrent_init or orthogonal, self.gates)),
        }
        biases = ((name, gates * self.hidden) for name, gates in self.biases.items())
        return found | {name: Parameter((size,), self.bias_init, decayed=False) for name, size in biases}

    @property
    def biases(self) -> dict[str, int]:
        """The biases that there are, each with the number of its gates."""
        raise NotImplementedError

    @property
    def entries(self) -> tuple[str, ...]:
        """The kernels, and the biases that there are."""
        return ("input_kernel", "recurrent_kernel", *self.biases)

    def outputs(self, arrays: dict[str, Any], state: Any = None) -> tuple[Any, Any]:
        """The rule's outputs of all steps and its last state, from `xs`, the parameters by name, and a first state."""
        raise NotImplementedError

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """(time, features) -> (time, hidden)."""
        return self._run(params, x)[0]

    @property
    def over_time(self) -> bool:
        """Yes."""
        return True

    def step(self, params: Params, row: Any, cache: Any, position: jax.Array, size: int) -> tuple[Any, Any]:
        """(features,) -> (hidden,); the cache is the rule's state."""
        if self.reverse:
            raise ValueError(f"{type(self).__name__}: {self!r} begins at the end, and cannot go on as generate does")
        ys, state = self._run(params, row[None], cache)
        return ys[0], state

    def _run(self, params: Params, x: Any, state: Any = None) -> tuple[Any, Any]:
        check_entries(self, params)
        name, wide = type(self).__name__, self.gates * self.hidden
        shapes: dict[str, tuple[int | str, ...]] = {
            "input_kernel": ("features", wide),
            "recurrent_kernel": (self.hidden, wide),
        }
        shapes |= {name: (gates * self.hidden,) for name, gates in self.biases.items()}
        own = {key: entry(self, params, key, shape) for key, shape in shapes.items()}
        x, features = as_array(name, "x", x), own["input_kernel"].shape[0]
        if x.ndim != 2 or x.shape[-1] != features:
            raise ValueError(
                f"{name}: x of shape {x.shape} must have shape (time, {features})" + f"; {MINI_BATCH}" * (x.ndim > 2)
            )
        self.check_rows(x)
        return self.outputs({"xs": x, **own}, state)

    def flops(self, params: Params, x: Any) -> int:
        """Its products, its biases, and the sums and products entry by entry."""
        return self.products(params, x) + x.shape[0] * self.hidden * (sum(self.biases.values()) + self.sums)

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
    layout: ClassVar = Layout((2,), TORCH, LSTM_CELLS, features_last=True)
    sums: ClassVar = 8  # the two products' sum for each gate, f c + i g, o tanh c

    @property
    def biases(self) -> dict[str, int]:
        """One for each kernel that has one, of all gates."""
        there = {"bias": self.bias, "recurrent_bias": self.recurrent_bias}
        return {name: self.gates for name in there if there[name]}

    def outputs(self, arrays: dict[str, Any], state: Any = None) -> tuple[Any, Any]:
        """By `lstm`, of the sum of the biases."""
        second = arrays.pop("recurrent_bias", None)
        if second is not None:
            arrays["bias"] = arrays["bias"] + second if self.bias else second
        return lstm(**arrays, initial_state=state, lengths=self.length, reverse=self.reverse)


@dataclass(frozen=True, repr=False)
class GRU(Recurrent):
    """Gated recurrent units over x (time, features); `fnnet.gru` has the equations.

    Args:
        hidden: Number of units, the size of an output.
        bias: Whether there are biases.
        recurrent_bias: Which gates have a second one, beside the recurrent product: True means all three, as in
            PyTorch; "n" that gate alone, where it is not the same as the first, as in linen; False none, as in NNX.
        reverse: Whether to go from the last step to the first.
        kernel_init: Of each gate's part of the input kernel; None means Glorot.
        recurrent_init: Of each gate's part of the recurrent kernel; None means orthogonal.
        bias_init: Of the biases.

    Parameters: input_kernel (features, 3 hidden), recurrent_kernel (hidden, 3 hidden), bias (3 hidden,), recurrent_bias
    (3 hidden,) or (hidden,); the gates in the order r, z, n.
    """

    hidden: int
    _: dataclasses.KW_ONLY
    bias: bool = True
    recurrent_bias: bool | Literal["n"] = True
    reverse: bool = False
    kernel_init: Initializer | None = None
    recurrent_init: Initializer | None = None
    bias_init: Initializer = zeros

    layout: ClassVar = Layout((2,), TORCH, GRU_CELLS, features_last=True)
    gates: ClassVar = 3
    sums: ClassVar = 7  # two sums for r and z, two operations for n's argument, three for h

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        super().__post_init__()
        if not isinstance(self.recurrent_bias, bool) and self.recurrent_bias != "n":
            raise ValueError(f'GRU: recurrent_bias (={self.recurrent_bias!r}) must be True, False or "n"')

    @property
    def biases(self) -> dict[str, int]:
        """One for each kernel that has one, of all gates or of n alone."""
        second = 1 if self.recurrent_bias == "n" else self.gates * self.recurrent_bias
        there = {"bias": self.gates, "recurrent_bias": second} if self.bias else {}
        return {name: gates for name, gates in there.items() if gates}

    def outputs(self, arrays: dict[str, Any], state: Any = None) -> tuple[Any, Any]:
        """By `gru`."""
        if self.recurrent_bias == "n" and self.bias:
            arrays["recurrent_bias"] = jnp.pad(arrays["recurrent_bias"], (2 * self.hidden, 0))
        return gru(**arrays, initial_state=state, lengths=self.length, reverse=self.reverse)


def by_gate(initializer: Initializer, gates: int) -> Initializer:
    """Draws the part of each gate by itself, so that the fans are those of one gate."""

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        rows, columns = shape
        keys = jax.random.split(key, gates)
        return jnp.concatenate([initializer(k, (rows, columns // gates), dtype) for k in keys], -1)

    return draw
