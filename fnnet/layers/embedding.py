"""`Embedding`: a learned row for each index."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from fnnet.core.arguments import accumulator
from fnnet.core.geometry import integer
from fnnet.layers.answers import Call, Initializer, Layout, Parameter
from fnnet.layers.fields import check_initializers, set_fields
from fnnet.layers.kernels import entry
from fnnet.layers.protocol import Layer, Params
from fnnet.rules.embedding import embedding

rows = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)  # normal, variance 1 / features


@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """Rows of a table, one for each index of the example; torch.nn.Embedding, flax.linen.Embed.

    Args:
        vocabulary: How many rows: an example's entries are integers from 0 to vocabulary - 1.
        features: Size of a row.
        embedding_init: An initialiser of `jax.nn.initializers`. None means Flax's default, normal with variance
            1 / features: a row has a length near 1. PyTorch draws with variance 1.

    Parameters: embedding (vocabulary, features).

    It comes first in a network, whose example is then an array of integers: (length,) for a text.
    """

    vocabulary: int
    features: int
    embedding_init: Initializer | None = None

    layout: ClassVar = Layout((2,), {"embedding": "weight"}, {"embedding": "embedding"}, features_last=True)

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        sizes = {name: integer("Embedding", name, getattr(self, name)) for name in ("vocabulary", "features")}
        set_fields(self, **sizes)
        check_initializers(self)

    @property
    def entries(self) -> tuple[str, ...]:
        """embedding."""
        return ("embedding",)

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """The table, whatever the example's shape."""
        return {"embedding": Parameter((self.vocabulary, self.features), self.embedding_init or rows)}

    @property
    def example_dtype(self) -> Any:
        """int32."""
        return jnp.int32

    def call(self, params: Params, x: Any) -> Call:
        """(...) of integers -> (..., features)."""
        return Call(embedding, (entry(self, params, "embedding", (self.vocabulary, self.features)), x), {})

    @property
    def by_row(self) -> bool:
        """Yes."""
        return True

    def rows_read(self, name: str, x: Any) -> Any:
        """Of the table those that x names."""
        return jnp.unique(jnp.asarray(x)) if name == "embedding" else None

    def flops(self, params: Params, x: Any) -> int:
        """None: rows are copied."""
        return 0

    def squared_gradient_norms(self, params: Params, x: Any, y_bar: Any) -> jax.Array | None:
        """By sums over pairs of places with the same index, where these are fewer than the table's entries.

        |W_bar|^2 = sum_ts [k_t = k_s] sum_i y_bar_ti y_bar_si        (1)
        """
        places = math.prod(x.shape[1:])
        if places * places > self.vocabulary * self.features:
            return None
        k, bars = x.reshape(-1, places), y_bar.reshape(-1, places, self.features).astype(accumulator(y_bar.dtype))
        products = jnp.matmul(bars, jnp.matrix_transpose(bars))
        return jnp.where(k[:, :, None] == k[:, None], products, 0).sum((1, 2))  # (1)
