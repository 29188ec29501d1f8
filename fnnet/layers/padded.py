"""`Padded`: a network for sequences of different lengths, filled up to one length on the right."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_array
from fnnet.core.geometry import integer
from fnnet.layers.fields import set_fields
from fnnet.layers.functions import as_layer
from fnnet.layers.protocol import Layer, Params, check_layer, with_fields
from fnnet.layers.with_body import WithBody


@dataclass(frozen=True, repr=False)
class Padded(WithBody):
    """A network of index sequences, whose padding changes nothing.

    Args:
        net: A network whose example is a sequence of integers, (length,): `Embedding` comes first.
        index: What the examples are filled up with on the right, such as a tokeniser's [PAD]. An example ends at its
            last other entry.

    `Attention` then sees no key of the padding, `LSTM` and `GRU` stop before it (in reverse they start before it), and
    `GlobalAvgPool` and `GlobalMaxPool` leave it out. They raise where a layer before them has changed the number of
    rows. Other layers compute the padding's rows like any others. A convolution, or a function of the whole sequence,
    reads them. `BatchNorm` is refused: its statistics would count the padding.

    Parameters: those of `net`; `fnnet.interop` carries them for `net`. `fnnet.trace` shows it as one layer.

    PyTorch: `src_key_padding_mask` of torch.nn.TransformerEncoder, and packed sequences. Flax: `mask`, `seq_lengths`.
    """

    net: Layer
    index: int = 0

    def __post_init__(self) -> None:
        """Raises TypeError for what is no layer or no integer, ValueError for a negative one or a BatchNorm inside."""
        check_layer("Padded", "net", self.net)
        set_fields(self, net=as_layer(self.net), index=integer("Padded", "index", self.index, least=0))
        if self.net.of_batch:
            raise ValueError(
                "Padded: net has a BatchNorm, whose statistics would count the padding; LayerNorm and RMSNorm "
                "normalise each row by itself"
            )

    @property
    def body(self) -> Layer:
        """net."""
        return self.net

    def with_body(self, body: Layer) -> "Padded":
        """The same with another net."""
        return with_fields(self, net=body)

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """The network's output for one example, (length,) of integers with its padding."""
        x = as_array("Padded", "x", x)
        if x.ndim != 1 or not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(f"Padded: x of shape {x.shape} and dtype {x.dtype} must be one sequence of integers")
        places = jnp.arange(1, len(x) + 1, dtype=jnp.int32)
        length = jnp.where(x == self.index, 0, places).max(initial=0)
        return self.net.with_length(length, len(x)).apply(params, x, key=key)
