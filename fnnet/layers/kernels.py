"""A kernel and a bias: how they are drawn, and how `apply` takes them."""

from typing import Any

import jax

from fnnet.core.arguments import as_array
from fnnet.layers.answers import Initializer, Parameter
from fnnet.layers.protocol import Layer, Params

glorot = jax.nn.initializers.glorot_uniform()
zeros = jax.nn.initializers.zeros


def kernel_and_bias(layer: Any, kernel: tuple[int, ...]) -> dict[str, Parameter]:
    """The parameters of a layer with a kernel of that shape, and perhaps a bias."""
    params = {"kernel": Parameter(kernel, layer.kernel_init or glorot)}
    if layer.bias:
        params["bias"] = Parameter((layer.features,), layer.bias_init, decayed=False)
    return params


def initializer_for(gain: float) -> Initializer:
    """He's, truncated normal with the variance gain^2 / fan in; Glorot's where the gain is 1."""
    if gain == 1:
        return glorot
    return jax.nn.initializers.variance_scaling(round(gain * gain, 12), "fan_in", "truncated_normal")


def entry(layer: Layer, params: Params, name: str, wanted: tuple[int | str, ...]) -> jax.Array:
    """params[name], which must have the shape that `init` gives it; a size with a name may be any."""
    own = type(layer).__name__
    value = as_array(own, f'params["{name}"]', params[name])
    fits = [isinstance(w, str) or w == s for w, s in zip(wanted, value.shape, strict=False)]
    if value.ndim != len(wanted) or not all(fits):
        shape = str(wanted).replace("'", "")
        raise ValueError(f'{own}: params["{name}"] of shape {value.shape} must have shape {shape}')
    return value


def bias_of(layer: Any, params: Params) -> jax.Array | None:
    """params["bias"], or None for a layer without one."""
    return entry(layer, params, "bias", (layer.features,)) if layer.bias else None
