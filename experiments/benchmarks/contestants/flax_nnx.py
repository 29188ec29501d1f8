"""Flax NNX: its modules, run by its functional interface, which spares the loop what `nnx.jit` does in Python."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

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


def sequential(net: Net, rngs: nnx.Rngs) -> nnx.Sequential:
    """The network as Flax has it."""
    return nnx.Sequential(
        *(_layer(layer, before[-1], rngs) for layer, before in zip(net.layers, shapes(net), strict=False))
    )


def _layer(layer: Layer, inputs: int, rngs: nnx.Rngs) -> Any:
    match layer:
        case BatchNorm() | Residual() | Embedding():
            raise Unsupported("residual blocks and transformers are not written out for Flax")
        case Conv(features, window, stride, padding, groups):
            size = (window, window)
            return nnx.Conv(
                inputs, features, size, strides=stride, padding=padding, feature_group_count=groups, rngs=rngs
            )
        case Dense(features):
            return nnx.Linear(inputs, features, rngs=rngs)
        case MaxPool(window, stride, 1):
            return lambda x: nnx.max_pool(x, (window, window), (stride, stride))
        case MaxPool(window, stride, dilation):  # which Flax does not have
            return lambda x: pooled_by_slices(x, (1, 2), window, stride, dilation)
        case MeanPool(window):
            return lambda x: nnx.avg_pool(x, (window, window), (window, window))
        case Flatten():
            return lambda x: x.reshape(x.shape[0], -1)
        case LeakyRelu():
            return nnx.leaky_relu
    return nnx.relu


def _name(path: tuple) -> str:
    """As in "layers/0/kernel"."""
    return "/".join(map(str, path))


class FlaxNnx(ThroughJax):
    """A `Library`."""

    distributions = (*ThroughJax.distributions, "flax")

    def shapes(self, net: Net) -> dict[str, tuple[int, ...]]:
        """Flax's own names."""
        model = nnx.eval_shape(lambda: sequential(net, nnx.Rngs(0)))
        return {_name(path): leaf.shape for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))}

    def model(self, net: Net, arrays: Mapping[str, Any] | None) -> Model:
        """Modules of a mini-batch."""
        graph, params = nnx.split(sequential(net, nnx.Rngs(0)), nnx.Param)
        if arrays is not None:
            flat = nnx.to_flat_state(params)
            params = nnx.from_flat_state([(p, leaf.replace(jnp.asarray(arrays[_name(p)]))) for p, leaf in flat])

        def logits(params: Any, xs: Any) -> Any:
            return nnx.merge(graph, params)(xs)

        return model_of(params, logits)


library = FlaxNnx
