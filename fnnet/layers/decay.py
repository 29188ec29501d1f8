"""`decayed`: which parameters weight decay is for."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.habits import hinted
from fnnet.core.paths import nested_dictionary
from fnnet.layers.arguments import example_shape
from fnnet.layers.containers import Container, is_threaded
from fnnet.layers.protocol import Layer, Params, abstract_example
from fnnet.layers.walk import walk


@hinted
def decayed(net: Layer, shape: Sequence[int], dtype: Any = jnp.float32) -> dict[str, Any]:
    """A tree of booleans like the parameters: True for kernels, False for biases and for the scales of norms.

    Args:
        net: A network or a layer. Each layer says it of its parameters; those of one that does not are True.
        shape: The shape of one example.
        dtype: Of the example, which is int32 where `Embedding` comes first.

    Example:
        optimizer = optax.adamw(1e-3, weight_decay=0.1, mask=fnnet.decayed(net, (28, 28, 1)))
    """
    x = abstract_example(net, example_shape("decayed", shape), dtype)
    params = jax.eval_shape(lambda key: net.init(key, x.shape), jax.random.key(0))
    if not isinstance(net, Container) or not is_threaded(net):
        return net.decayed(params, x)
    flags: dict[str, Any] = {}

    def visit(path: str, layer: Layer, own: Params, x: Any, key: Any) -> Any:
        if layer.entries:
            flags[path] = layer.decayed(own, x)
        return layer.apply(own, x)

    jax.eval_shape(lambda params, x: walk(net, params, x, None, visit), params, x)
    return nested_dictionary(flags.items())
