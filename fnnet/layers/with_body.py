"""`WithBody`: a layer that is made of one network, its body, which answers for it."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.costs.summary import products_of, summarise
from fnnet.layers.decay import decayed
from fnnet.layers.protocol import Layer, Params
from fnnet.layers.sequential import Sequential


class WithBody(Layer):
    """What `Repeat`, `Tied`, `Padded` and `Recomputed` share: the parameters are those of the body."""

    @property
    def body(self) -> Layer:
        """The network that it is made of."""
        raise NotImplementedError

    def with_body(self, body: Any) -> Any:
        """The same layer with another body."""
        raise NotImplementedError

    @property
    def entries(self) -> tuple[str, ...]:
        """The body's."""
        return self.body.entries

    @property
    def example_dtype(self) -> Any:
        """The body's."""
        return self.body.example_dtype

    def init(self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> dict[str, Any]:
        """The body's parameters for one example of that shape."""
        return self.body.init(key, shape, dtype)

    @property
    def of_batch(self) -> bool:
        """As the body says."""
        return self.body.of_batch

    def statistics(self, params: Params) -> dict[str, Any]:
        """As the body says."""
        return self.body.statistics(params)

    def decayed(self, params: Params, x: Any) -> dict[str, Any]:
        """As the body says."""
        return decayed(self.body, x.shape, x.dtype)

    def flops(self, params: Params, x: Any) -> int:
        """Those of the body."""
        return summarise(Sequential(self.body), x.shape, _dtype(params, x)).flops

    def products(self, params: Params, x: Any) -> int:
        """Those of the body."""
        return products_of(Sequential(self.body), x.shape, _dtype(params, x))

    def inner(self, params: Params) -> list[tuple[str, Layer, Params]]:
        """The body."""
        return [("", self.body, params)]

    def with_length(self, length: Any, rows: int) -> Any:
        """The same for a sequence of `rows` rows, of which the first `length` count."""
        return self.with_body(self.body.with_length(length, rows))

    def without_policy(self) -> Any:
        """The same without a compute_dtype, at any depth."""
        return self.with_body(self.body.without_policy())


def _dtype(params: Params, x: Any) -> Any:
    """That in which the body computes: x's, or for indices the parameters'."""
    arrays = (array for array in (x, *jax.tree.leaves(params)) if jnp.issubdtype(array.dtype, jnp.floating))
    return next((array.dtype for array in arrays), jnp.float32)
