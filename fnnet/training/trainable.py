"""Training a part of the parameters: the others keep their bits, without gradients or optimiser state."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.paths import merged
from fnnet.training.batch_statistics import is_of_batch

MOMENTUM = 0.9  # of the running averages of statistics, as PyTorch's default
Flags = tuple[bool, ...]  # of each array of the parameters, in jax.tree's order


def part_of(
    net: Any, optimizer: Any, trainable: Any, params: Any, key: jax.Array, shape: tuple[int, ...]
) -> tuple[Any, Any]:
    """Network and optimiser for `fit(..., trainable=...)`; without params, those of `net.init` for that shape.

    Statistics are never trained; those that `trainable` names are averaged over the steps.
    """
    if trainable is None and not is_of_batch(net):
        return net, optimizer
    given = params
    if params is None:
        params = jax.eval_shape(lambda key: net.init(key, shape), key)
    wanted = (True,) * len(jax.tree.leaves(params)) if trainable is None else flags_of(trainable, params)
    is_statistic = jax.tree.leaves(net.statistics(params)) if is_of_batch(net) else (False,) * len(wanted)
    trained = tuple(flag and not other for flag, other in zip(wanted, is_statistic, strict=True))
    averaged = tuple(flag and other for flag, other in zip(wanted, is_statistic, strict=True))
    if not any(trained):
        raise ValueError("fit: trainable names statistics of BatchNorm alone, which are averaged and not trained")
    given = [leaf for leaf, flag in zip(jax.tree.leaves(given), averaged, strict=True) if flag] if given else []
    return PartlyTrained(net, trained, averaged, all(map(_is_initial, given))), optimizer_of_part(optimizer, trained)


def _is_initial(statistic: Any) -> bool:
    """Whether it is as BatchNorm makes it: a mean of 0, a variance of 1."""
    return bool(jnp.all(statistic == 0) | jnp.all(statistic == 1))


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
    trained: Flags
    averaged: Flags = ()  # statistics
    are_new: bool = True  # the statistics; else they are those of an earlier training, and are not dropped

    @property
    def of_batch(self) -> bool:
        """Whether the network is."""
        return is_of_batch(self.net)

    def apply(self, params: Any, x: Any, *, key: jax.Array | None = None) -> Any:
        """The network's."""
        return self.net.apply(self._held(params), x, key=key)

    def apply_batch(self, params: Any, xs: Any, *, keys: jax.Array | None = None) -> tuple[Any, dict[str, Any]]:
        """The network's."""
        return self.net.apply_batch(self._held(params), xs, keys=keys)

    def last_product(self, params: Any) -> Any:
        """The network's, None where it has no such method."""
        own = getattr(self.net, "last_product", None)
        return None if own is None else own(self._held(params))

    def with_statistics(self, params: Any, statistics: Any, step: jax.Array) -> Any:
        """The parameters with the running averages of the statistics: the mean of the first steps, then exponential."""
        share = jnp.maximum(1 - MOMENTUM, 1 / (step + 1) if self.are_new else 0)
        leaves, tree = jax.tree.flatten(params)
        new = jax.tree.leaves(merged(params, statistics))
        averaged = [
            (old + share.astype(old.dtype) * (seen.astype(old.dtype) - old)) if flag else old
            for old, seen, flag in zip(leaves, new, self.averaged, strict=True)
        ]
        return jax.tree.unflatten(tree, averaged)

    def _held(self, params: Any) -> Any:
        leaves, tree = jax.tree.flatten(params)
        held = [leaf if flag else jax.lax.stop_gradient(leaf) for leaf, flag in zip(leaves, self.trained, strict=True)]
        return jax.tree.unflatten(tree, held)


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
