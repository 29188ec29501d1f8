"""`augment` of `fit`: a network whose examples are changed at random while it is trained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from fnnet.training.batch_statistics import is_of_batch

FOLD = 0xA46  # no layer has this position: each folds the same key by its own


@dataclass(frozen=True)
class Augmented:
    """A network that applies augment(key, x) to its example whenever it gets a key."""

    net: Any
    augment: Callable

    @property
    def of_batch(self) -> bool:
        """Whether the network is."""
        return is_of_batch(self.net)

    def apply(self, params: Any, x: Any, *, key: jax.Array | None = None) -> Any:
        """The network's."""
        return self.net.apply(params, self._changed(x, key), key=key)

    def apply_batch(self, params: Any, xs: Any, *, keys: jax.Array | None = None) -> tuple[Any, dict[str, Any]]:
        """The network's."""
        xs = xs if keys is None else jax.vmap(self._changed)(xs, keys)
        return self.net.apply_batch(params, xs, keys=keys)

    def last_product(self, params: Any) -> Any:
        """The network's."""
        found = self.net.last_product(params) if hasattr(self.net, "last_product") else None
        if found is None or found[0] is None:
            return found
        body, *rest = found
        return Augmented(body, self.augment), *rest

    def with_statistics(self, params: Any, statistics: Any, step: jax.Array) -> Any:
        """The network's."""
        return self.net.with_statistics(params, statistics, step)

    def _changed(self, x: Any, key: jax.Array | None) -> Any:
        if key is None:
            return x
        changed = self.augment(jax.random.fold_in(key, FOLD), x)
        kinds = [(getattr(a, "shape", None), getattr(a, "dtype", None)) for a in (x, changed)]
        if kinds[0] != kinds[1]:
            (wanted, dtype), (shape, other) = kinds
            raise ValueError(f"fit: augment must keep shape {wanted} and dtype {dtype}; it gave {shape} and {other}")
        return changed
