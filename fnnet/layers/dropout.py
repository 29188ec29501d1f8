"""`Dropout`: random zeros in training."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.layers.arguments import check_entries
from fnnet.layers.fields import set_fields
from fnnet.layers.protocol import Layer, Params


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """With a key, each entry is 0 with probability `rate` and x / (1 - rate) otherwise; without one, the identity.

    Source: Srivastava et al., Dropout (2014), section 10, where evaluation is scaled; here training is, "inverted".
    """

    rate: float

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        if not isinstance(self.rate, Real) or isinstance(self.rate, bool):
            raise TypeError(f"Dropout: rate (={self.rate!r}) must be a number")
        set_fields(self, rate=float(self.rate))
        if not 0 <= self.rate < 1:
            raise ValueError(f"Dropout: rate (={self.rate}) must be 0 or more and less than 1")

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """x, some entries dropped if there is a key."""
        check_entries(self, params)
        if key is None or self.rate == 0:
            return x
        kept = jax.random.bernoulli(key, 1 - self.rate, x.shape)
        return jnp.where(kept, x / (1 - self.rate), 0)

    def engine(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Without a key."""
        return {"kind": "identity"}

    @property
    def by_row(self) -> bool:
        """Yes."""
        return True

    @property
    def gain(self) -> None:
        """The next layer's."""
        return None
