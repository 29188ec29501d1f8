"""What the layers made of layers share."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.layers.protocol import Container, Layer


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


def layers_with_length(layers: Sequence[Layer | Callable], length: Any) -> tuple[Layer | Callable, ...]:
    """The layers, each for a sequence of that length."""
    return tuple(layer.with_length(length) if isinstance(layer, Layer) else layer for layer in layers)


def plain_layers(layers: Sequence[Layer | Callable]) -> tuple[Layer | Callable, ...]:
    """The layers, each without a compute_dtype."""
    return tuple(layer.without_policy() if isinstance(layer, Layer) else layer for layer in layers)
