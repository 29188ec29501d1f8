"""`Flatten`: an example as a vector."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.layers.answers import Access
from fnnet.layers.arguments import check_entries
from fnnet.layers.protocol import Layer, Params


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """All axes of the example as one, in row-major order."""

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> jax.Array:
        """(*shape) -> (size,)."""
        check_entries(self, params)
        return jnp.ravel(x)

    def engine(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """The entries stay as they lie in memory."""
        return {"kind": "identity"}

    @property
    def gain(self) -> None:
        """The next layer's."""
        return None

    @property
    def spatial_axes(self) -> int:
        """None: all axes are alike to it."""
        return 0

    def access(self, x: Any) -> Access:
        """None."""
        return Access("view")
