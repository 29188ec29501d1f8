"""`Container`, a layer made of layers, and what the containers share."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_array
from fnnet.layers.protocol import Layer, Params


class Container(Layer):
    """A layer made of layers."""

    @property
    def members(self) -> dict[str, Layer]:
        """Its layers under the names that they have in its parameters."""
        raise NotImplementedError

    def thread(self, run: Callable, params: Params, x: Any, key: jax.Array | None) -> Any:
        """`apply`, with run(name, layer, params, x, key) in the place of each layer's own `apply`.

        Nothing else in it may depend on x's shape: x may be a mini-batch, and key a key for each example.
        """
        raise NotImplementedError

    @property
    def entries(self) -> tuple[str, ...]:
        """The names of the layers with parameters."""
        return tuple(name for name, layer in self.members.items() if layer.entries)

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """The output for one example.

        Args:
            params: What `init` made.
            x: One example; `jax.vmap(net.apply, (None, 0))` takes a mini-batch.
            key: For training: each layer gets its own fold of it. Without one, Dropout is the identity.

        Raises:
            ValueError: An entry of `params` is missing, unexpected or of a wrong shape.
            Exception: What a layer raises, with the layer's position in front: "layer 3, Dense(10): dense: x of ...".
        """
        x = as_array(type(self).__name__, "x", x)
        return self.thread(lambda _, layer, own, x, key: layer.apply(own, x, key=key), params, x, key)

    def with_members(self, members: Mapping[str, Layer]) -> "Container":
        """The same with other layers under the same names."""
        raise NotImplementedError

    def apart(self, params: Params) -> "tuple[Container, Params]":
        """Each layer apart; the container itself where none changes."""
        members = self.members
        found = {name: layer.apart(params.get(name, {})) for name, layer in members.items()}
        if all(layer is members[name] for name, (layer, _) in found.items()):
            return self, params
        own = {name: inner for name, (_, inner) in found.items() if name in params}
        return self.with_members({name: layer for name, (layer, _) in found.items()}), own

    def apply_batch(self, params: Params, xs: Any, *, keys: jax.Array | None = None) -> tuple[Any, dict[str, Any]]:
        """As each layer says."""
        if keys is None or not self.of_batch:
            return super().apply_batch(params, xs, keys=keys)
        statistics: dict[str, Any] = {}

        def run(name: str, layer: Layer, own: Params, xs: Any, keys: Any) -> Any:
            ys, of_layer = layer.apply_batch(own, xs, keys=keys)
            if of_layer:
                statistics[name] = of_layer
            return ys

        return self.thread(run, params, xs, keys), statistics

    @property
    def of_batch(self) -> bool:
        """Whether one of its layers is."""
        return any(layer.of_batch for layer in self.members.values())

    @property
    def spatial_axes(self) -> int | None:
        """Those of the first of its layers that says."""
        return next((axes for layer in self.members.values() if (axes := layer.spatial_axes) is not None), None)

    def statistics(self, params: Params) -> dict[str, Any]:
        """As each layer says."""
        return super().statistics(params) | {
            name: layer.statistics(params[name]) for name, layer in self.members.items() if name in params
        }

    def step(self, params: Params, row: Any, cache: Any, position: jax.Array, size: int) -> tuple[Any, Any]:
        """Each layer's step, and their caches by name."""
        caches = {}

        def run(name: str, layer: Layer, own: Params, row: Any, key: Any) -> Any:
            row, caches[name] = layer.step(own, row, None if cache is None else cache[name], position, size)
            return row

        return self.thread(run, params, row, None), caches


def is_threaded(layer: Any) -> TypeGuard[Container]:
    """Whether a layer computes what `thread` does: a container with an `apply` of its own may compute other things."""
    return isinstance(layer, Container) and type(layer).apply is Container.apply


def in_training(layer: Layer, params: Params, x: Any, key: jax.Array | None) -> Any:
    """`apply` with a key, of an example that is a mini-batch of its own where the layer needs a whole one."""
    if key is None or not layer.of_batch:
        return layer.apply(params, x, key=key)
    return layer.apply_batch(params, x[None], keys=key[None])[0][0]


@contextlib.contextmanager
def named_in_errors(place: str, layer: Layer) -> Iterator[None]:
    """An error inside says which layer it comes from: in front of its message, or in a note where that cannot be."""
    try:
        yield
    except Exception as error:
        shown = f"{type(layer).__name__}(...)" if isinstance(layer, Container) else repr(layer)
        message, args = str(error), error.args
        if args == (message,):  # changed in place, since a constructor may want other arguments
            error.args = (f"{place}, {shown}: {message}",)
        if str(error) == message:
            error.args = args
            error.add_note(f"in {place}, {shown}")
        raise


def folded(key: jax.Array | None, position: int | jax.Array) -> jax.Array | None:
    """The key of the layer at that position; of several keys along an axis, each one's."""
    if key is None:
        return None
    alone = 0 if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else 1  # the rank of one key
    fold = jax.random.fold_in if key.ndim == alone else jax.vmap(jax.random.fold_in, (0, None))
    return fold(key, position)


def layers_with_length(layers: Sequence[Layer | Callable], length: Any, rows: int) -> tuple[Layer | Callable, ...]:
    """The layers, each for a sequence of `rows` rows, of which the first `length` count."""
    return tuple(layer.with_length(length, rows) if isinstance(layer, Layer) else layer for layer in layers)


def plain_layers(layers: Sequence[Layer | Callable]) -> tuple[Layer | Callable, ...]:
    """The layers, each without a compute_dtype."""
    return tuple(layer.without_policy() if isinstance(layer, Layer) else layer for layer in layers)
