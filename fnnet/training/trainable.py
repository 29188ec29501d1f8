"""Training a part of the parameters: the others keep their bits, without gradients or optimiser state."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

Flags = tuple[bool, ...]  # of each array of the parameters, in jax.tree's order


def part_of(
    net: Any, optimizer: Any, trainable: Any, params: Any, key: jax.Array, shape: tuple[int, ...]
) -> tuple[Any, Any]:
    """Network and optimiser for `fit(..., trainable=...)`; without params, those of `net.init` for that shape."""
    if trainable is None:
        return net, optimizer
    if params is None:
        params = jax.eval_shape(lambda key: net.init(key, shape), key)
    flags = flags_of(trainable, params)
    return PartlyTrained(net, flags), optimizer_of_part(optimizer, flags)


def flags_of(trainable: Any, params: Any) -> Flags:
    """Which arrays are trained.

    Args:
        trainable: trainable(name) -> bool with names such as "residual_2/conv_0/kernel"; or a tree of booleans like
            `params`, in which one boolean may stand for a whole layer.
        params: The parameters.

    Raises:
        ValueError: The tree does not fit, or no array is trained.
        TypeError: Something in it is no boolean.
    """
    if callable(trainable):
        found = [trainable(jax.tree_util.keystr(path, simple=True, separator="/")) for path, _ in _leaves(params)]
    else:
        try:
            spread = jax.tree.map(lambda flag, part: [flag] * len(jax.tree.leaves(part)), trainable, params)
        except (ValueError, TypeError) as error:
            raise ValueError(f"fit: trainable must be a tree of booleans like the parameters: {error}") from None
        found = jax.tree.leaves(spread)
    wrong = [flag for flag in found if not isinstance(flag, bool)]
    if wrong:
        raise TypeError(f"fit: trainable must give True or False for each parameter, not {wrong[0]!r}")
    if not any(found):
        names = ", ".join(jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in _leaves(params))
        raise ValueError(f"fit: trainable must name at least one parameter; there are {names}")
    return tuple(found)


@dataclass(frozen=True)
class PartlyTrained:
    """A network whose output is constant in the parameters that are not trained, so that no gradient is formed."""

    net: Any
    flags: Flags

    def apply(self, params: Any, x: Any, *, key: jax.Array | None = None) -> Any:
        """The network's."""
        leaves, tree = jax.tree.flatten(params)
        held = [leaf if flag else jax.lax.stop_gradient(leaf) for leaf, flag in zip(leaves, self.flags, strict=True)]
        return self.net.apply(jax.tree.unflatten(tree, held), x, key=key)


@functools.lru_cache(maxsize=32)
def optimizer_of_part(optimizer: Any, flags: Flags) -> Any:
    """The optimiser for the trained parameters alone: clipping, decay and moments see no others."""
    import optax

    def labels(params: Any) -> Any:
        return jax.tree.unflatten(jax.tree.structure(params), ["trained" if flag else "kept" for flag in flags])

    kept = optax.stateless(lambda updates, _: jax.tree.map(lambda u: jnp.full_like(u, -0.0), updates))  # p + -0.0 is p
    return optax.multi_transform({"trained": optimizer, "kept": kept}, labels)


def _leaves(params: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(params)[0]
