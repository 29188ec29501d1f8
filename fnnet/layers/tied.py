"""`Tied`: a network over a vocabulary whose last layer is the transpose of its first, with one kernel for both."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from fnnet.core.arguments import as_array
from fnnet.layers.arguments import check_entries
from fnnet.layers.dense import Dense
from fnnet.layers.embedding import Embedding
from fnnet.layers.protocol import Layer, Params, check_layer, with_fields
from fnnet.layers.sequential import Row, Sequential
from fnnet.layers.with_body import WithBody
from fnnet.rules.dense import dense


@dataclass(frozen=True, repr=False, init=False)
class Tied(WithBody):
    """The rows of an embedding, the layers, and the product with the transpose of the embedding's table.

    Args:
        embedding: The first layer; its transpose is the last.
        *layers: What stands between, as in `Sequential`; its output must have as many features as a row of the table.

    Parameters: those of Sequential(embedding, *layers). The table is there once, and its gradient is the sum of both
    uses. The example is an array of indices (...), the output one number for each row of the table, (..., vocabulary):
    logits without a bias. Flax: `Embed.attend`; PyTorch: `head.weight = embedding.weight`.

    `summary` shows it as one layer, `fnnet.trace` its layers, the last product being a `Dense`.

    Source: Press and Wolf, Using the Output Embedding to Improve Language Models (2017).
    """

    embedding: Embedding
    layers: tuple[Layer | Callable, ...]

    def __init__(self, embedding: Embedding, *layers: Layer | Callable):
        """Raises TypeError for what is no `Embedding`, or no layer."""
        if not isinstance(embedding, Embedding):
            raise TypeError(f"Tied: embedding (={embedding!r}) must be an Embedding")
        for position, layer in enumerate(layers, 1):
            check_layer("Tied", f"layer {position}", layer)
        object.__setattr__(self, "embedding", embedding)
        object.__setattr__(self, "layers", layers)

    @property
    def body(self) -> Sequential:
        """All but the last product, which has no parameters of its own."""
        return Sequential(self.embedding, *self.layers)

    def with_body(self, body: Sequential) -> "Tied":
        """The same with another embedding and other layers."""
        embedding, *layers = body.layers
        return with_fields(self, embedding=embedding, layers=tuple(layers))

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """(...) of indices -> (..., vocabulary)."""
        rows = self.body.apply(params, as_array("Tied", "x", x), key=key)
        return dense(rows, self._kernel(params, rows))

    def apply_batch(self, params: Params, xs: Any, *, keys: jax.Array | None = None) -> tuple[Any, dict[str, Any]]:
        """As the layers say."""
        if keys is None or not self.of_batch:
            return super().apply_batch(params, xs, keys=keys)
        rows, statistics = self.body.apply_batch(params, as_array("Tied", "x", xs), keys=keys)
        return dense(rows, self._kernel(params, rows)), statistics

    def last_product(self, params: Params) -> tuple[Layer, Params, Any, None]:
        """All but the last product, and the table's transpose."""
        return self.body, params, params["embedding_0"]["embedding"].T, None

    def step(self, params: Params, row: Any, cache: Any, position: jax.Array, size: int) -> tuple[Any, Any]:
        """The steps of embedding and layers, then the last product."""
        row, cache = self.body.step(params, row, cache, position, size)
        return dense(row, self._kernel(params, row)), cache

    def _kernel(self, params: Params, rows: Any) -> Any:
        """The table's transpose, (features, vocabulary); raises where it does not fit the rows."""
        if rows.shape[-1:] != (self.embedding.features,):
            raise ValueError(
                f"Tied: the layers' output of shape {rows.shape} must end in {self.embedding.features}, "
                f"the features of {self.embedding!r}"
            )
        return params["embedding_0"]["embedding"].T

    def flops(self, params: Params, x: Any) -> int:
        """Of the layers, and a multiplication and an addition for each weight of the last product."""
        return super().flops(params, x) + self._last_product(x)

    def products(self, params: Params, x: Any) -> int:
        """Of the layers, and of the last."""
        return super().products(params, x) + self._last_product(x)

    def _last_product(self, x: Any) -> int:
        return 2 * math.prod(x.shape) * self.embedding.features * self.embedding.vocabulary

    def apart(self, params: Params) -> tuple[Layer, Params]:
        """The layers, and the last product as a `Dense` with a kernel of its own."""
        check_entries(self, params)
        body, own = self.body.apart(params)
        last = Dense(self.embedding.vocabulary, bias=False)
        row = Row.of(self, *body.members.values(), last)
        return row, {**own, list(row.members)[-1]: {"kernel": params["embedding_0"]["embedding"].T}}

    def __repr__(self) -> str:
        """The network as its user wrote it."""
        return f"Tied{repr(self.body).removeprefix('Sequential')}"
