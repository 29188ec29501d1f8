"""A kernel and a bias: how they are drawn, and how `apply` takes them."""

from collections.abc import Callable
from typing import Any

import jax

from fnnet.core.arguments import as_array
from fnnet.layers.protocol import Layer, Params

Initializer = Callable[..., jax.Array]

glorot = jax.nn.initializers.glorot_uniform()
he = jax.nn.initializers.he_normal()
zeros = jax.nn.initializers.zeros


def kernel_and_bias(layer: Any, key: jax.Array, kernel: tuple[int, ...], dtype: Any) -> dict[str, Any]:
    """Parameters with a kernel of that shape."""
    of_kernel, of_bias = jax.random.split(key)
    params = {"kernel": (layer.kernel_init or glorot)(of_kernel, kernel, dtype)}
    if layer.bias:
        params["bias"] = layer.bias_init(of_bias, (layer.features,), dtype)
    return params


def kernel_of(layer: Any, params: Params, wanted: tuple[int | str, ...]) -> jax.Array:
    """params["kernel"], of the wanted shape."""
    return checked(layer, params, "kernel", wanted)


def bias_of(layer: Any, params: Params) -> jax.Array | None:
    """params["bias"], or None for a layer without one."""
    return checked(layer, params, "bias", (layer.features,)) if layer.bias else None


def checked(layer: Layer, params: Params, entry: str, wanted: tuple[int | str, ...]) -> jax.Array:
    """params[entry], which must have the shape that `init` gives it; a size with a name may be any."""
    name = type(layer).__name__
    value = as_array(name, f'params["{entry}"]', params[entry])
    fits = [isinstance(w, str) or w == s for w, s in zip(wanted, value.shape, strict=False)]
    if value.ndim != len(wanted) or not all(fits):
        shape = str(wanted).replace("'", "")
        raise ValueError(f'{name}: params["{entry}"] of shape {value.shape} must have shape {shape}')
    return value
