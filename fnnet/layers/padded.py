"""`Padded`: a network for sequences of different lengths, filled up to one length on the right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_array
from fnnet.core.geometry import integer
from fnnet.costs.summary import products_of, summarise
from fnnet.layers.decay import decayed
from fnnet.layers.fields import set_fields
from fnnet.layers.functions import as_layer
from fnnet.layers.protocol import Layer, Params, check_layer
from fnnet.layers.sequential import Sequential


@dataclass(frozen=True, repr=False)
class Padded(Layer):
    """A network of index sequences, whose padding changes nothing.

    Args:
        net: A network whose example is a sequence of integers, (length,): `Embedding` comes first.
        index: What the examples are filled up with on the right, such as a tokeniser's [PAD]. An example ends at its
            last other entry.

    `Attention` then sees no key of the padding, `LSTM` and `GRU` stop before it (in reverse they start before it), and
    `GlobalAvgPool` and `GlobalMaxPool` leave it out. Other layers compute the padding's rows like any others. A
    convolution, or a function of the whole sequence, reads them. `BatchNorm` inside is for evaluation only.

    Parameters: those of `net`; `fnnet.interop` carries them for `net`. `fnnet.trace` shows it as one layer.

    PyTorch: `src_key_padding_mask` of torch.nn.TransformerEncoder, and packed sequences. Flax: `mask`, `seq_lengths`.
    """

    net: Layer
    index: int = 0

    def __post_init__(self) -> None:
        """Raises TypeError for what is no layer or no integer, ValueError for a negative one."""
        check_layer("Padded", "net", self.net)
        set_fields(self, net=as_layer(self.net), index=integer("Padded", "index", self.index, least=0))

    @property
    def entries(self) -> tuple[str, ...]:
        """The network's."""
        return self.net.entries

    def init(self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> dict[str, Any]:
        """The network's parameters for one example of that shape, padding included."""
        return self.net.init(key, shape, dtype)

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """The network's output for one example, (length,) of integers with its padding."""
        x = as_array("Padded", "x", x)
        if x.ndim != 1 or not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(f"Padded: x of shape {x.shape} and dtype {x.dtype} must be one sequence of integers")
        places = jnp.arange(1, len(x) + 1, dtype=jnp.int32)
        length = jnp.where(x == self.index, 0, places).max(initial=0)
        return self.net.with_length(length).apply(params, x, key=key)

    def flops(self, params: Params, x: Any) -> int:
        """Those of the network."""
        return summarise(Sequential(self.net), x.shape, self._dtype(params)).flops

    def products(self, params: Params, x: Any) -> int:
        """Those of the network."""
        return products_of(Sequential(self.net), x.shape, self._dtype(params))

    def _dtype(self, params: Params) -> Any:
        return next((leaf.dtype for leaf in jax.tree.leaves(params)), jnp.float32)

    def statistics(self, params: Params) -> dict[str, Any]:
        """As the network says."""
        return self.net.statistics(params)

    def inner(self, params: Params) -> list[tuple[str, Layer, Params]]:
        """The network."""
        return [("", self.net, params)]

    @property
    def example_dtype(self) -> Any:
        """The network's."""
        return self.net.example_dtype

    def decayed(self, params: Params, x: Any) -> dict[str, Any]:
        """As the network says."""
        return decayed(self.net, x.shape, x.dtype)

    def without_policy(self) -> "Padded":
        """The same without a compute_dtype, at any depth."""
        return Padded(self.net.without_policy(), self.index)
