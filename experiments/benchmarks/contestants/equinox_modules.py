"""Equinox: its modules, of one example and channels first, mapped over the mini-batch."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from benchmarks.contestants import Unsupported
from benchmarks.contestants.jax_programs import Model, model_of
from benchmarks.contestants.plain_lax import pooled_by_slices
from benchmarks.contestants.through_jax import ThroughJax
from benchmarks.nets import (
    BatchNorm,
    Conv,
    Dense,
    Embedding,
    Flatten,
    Layer,
    LeakyRelu,
    MaxPool,
    MeanPool,
    Net,
    Residual,
    shapes,
)


def sequential(net: Net, key: jax.Array) -> eqx.nn.Sequential:
    """The network as Equinox has it."""
    keys = jax.random.split(key, len(net.layers))
    layers = zip(net.layers, shapes(net), keys, strict=False)
    return eqx.nn.Sequential([_layer(layer, before[-1], key) for layer, before, key in layers])


def _layer(layer: Layer, inputs: int, key: jax.Array) -> Any:
    match layer:
        case BatchNorm() | Residual() | Embedding():
            raise Unsupported("residual blocks and transformers are not written out for Equinox")
        case Conv(features, window, stride, padding, groups):
            return eqx.nn.Conv2d(inputs, features, window, stride, padding, groups=groups, key=key)
        case Dense(features):
            return eqx.nn.Linear(inputs, features, key=key)
        case MaxPool(window, stride, 1):
            return eqx.nn.MaxPool2d(window, stride)
        case MaxPool(window, stride, dilation):  # which Equinox does not have
            return eqx.nn.Lambda(lambda x: pooled_by_slices(x, (1, 2), window, stride, dilation))
        case MeanPool(window):
            return eqx.nn.AvgPool2d(window, window)
        case Flatten():
            return eqx.nn.Lambda(jnp.ravel)
        case LeakyRelu():
            return eqx.nn.Lambda(jax.nn.leaky_relu)
    return eqx.nn.Lambda(jax.nn.relu)


class EquinoxModules(ThroughJax):
    """A `Library`."""

    distributions = (*ThroughJax.distributions, "equinox")

    def shapes(self, net: Net) -> dict[str, tuple[int, ...]]:
        """PyTorch's shapes, which are Equinox's but for a convolution's bias (out, 1, 1)."""
        model = eqx.filter_eval_shape(sequential, net, jax.random.key(0))
        return {
            f"layers.{i}.{entry}": leaf.shape[: 1 if entry == "bias" else None]
            for i, layer in enumerate(model.layers)
            for entry in ("weight", "bias")
            if (leaf := getattr(layer, entry, None)) is not None
        }

    def model(self, net: Net, arrays: Mapping[str, Any] | None) -> Model:
        """A module of one example; the images are channels last in all mini-batches, so that an axis is moved."""
        own = sequential(net, jax.random.key(0))
        if arrays is not None:
            own = _filled(own, arrays)
        params, static = eqx.partition(own, eqx.is_inexact_array)

        def logits(params: Any, xs: Any) -> Any:
            return jax.vmap(eqx.combine(params, static))(jnp.moveaxis(xs, -1, 1))

        return model_of(params, logits)


def _filled(model: Any, arrays: Mapping[str, Any]) -> Any:
    for name, array in arrays.items():
        _, position, entry = name.split(".")
        where = partial(_leaf, int(position), entry)
        model = eqx.tree_at(where, model, jnp.asarray(array).reshape(where(model).shape))
    return model


def _leaf(position: int, entry: str, model: Any) -> Any:
    return getattr(model.layers[position], entry)


library = EquinoxModules
