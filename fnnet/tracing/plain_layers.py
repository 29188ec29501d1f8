"""A layer without its hand-written backward, for JAX to differentiate: an independent forward where there is one."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from fnnet.checking.undecorated import has_rules, undecorated
from fnnet.layers.convolution import Conv
from fnnet.layers.dense import Dense
from fnnet.layers.flatten import Flatten
from fnnet.layers.pooling import AvgPool, MaxPool
from fnnet.layers.protocol import Function, Layer
from fnnet.proofs import layer_references, reference_of

INDEPENDENT = "autodiff of an independent forward"
UNDECORATED = "autodiff of its forward without the hand-written backward"
AUTODIFF = "itself: it has no hand-written backward"


def plain_layer(layer: Any, own: Callable, args: tuple) -> tuple[Callable, str]:
    """The layer as plain(x, params) of one example, and what that is, in words.

    Args:
        layer: A layer, or what stands in the place of one.
        own: The layer as own(x, params).
        args: Arguments of it.
    """
    if type(layer) in _LAYERS:
        return functools.partial(_LAYERS[type(layer)], layer), INDEPENDENT
    function = layer.function if isinstance(layer, Function) else layer
    known = reference_of(function)
    if known is not None:
        return lambda x, params: known(x, **params), INDEPENDENT
    if not has_rules(own, args):
        return own, AUTODIFF
    return undecorated(own), UNDECORATED


def draws(layer: Any) -> bool:
    """Whether a layer may draw random numbers, for all that is known: Dropout, and layers of the reader's."""
    return isinstance(layer, Layer) and not isinstance(layer, Function) and type(layer) not in _LAYERS


def _dense(layer: Dense, x: Any, params: Any) -> Any:
    return layer_references.dense(x, params["kernel"], params.get("bias"))


def _conv(layer: Conv, x: Any, params: Any) -> Any:
    return layer_references.conv(
        x,
        params["kernel"],
        params.get("bias"),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )


def _max_pool(layer: MaxPool, x: Any, params: Any) -> Any:
    return layer_references.max_pool(
        x,
        _window(layer, x),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        ceil_mode=layer.ceil_mode,
    )


def _avg_pool(layer: AvgPool, x: Any, params: Any) -> Any:
    return layer_references.avg_pool(
        x,
        _window(layer, x),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        count_padding=layer.count_padding,
        divisor=layer.divisor,
        ceil_mode=layer.ceil_mode,
    )


def _flatten(layer: Flatten, x: Any, params: Any) -> Any:
    return jnp.reshape(x, (x.size,))


def _window(layer: Any, x: Any) -> Any:
    """One entry for each spatial axis of an example (*image, channels)."""
    return (layer.window,) * (x.ndim - 1) if isinstance(layer.window, int) else layer.window


_LAYERS: dict[type, Callable] = {
    Dense: _dense,
    Conv: _conv,
    MaxPool: _max_pool,
    AvgPool: _avg_pool,
    Flatten: _flatten,
}
