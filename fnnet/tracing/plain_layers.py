"""A layer without its hand-written backward, for JAX to differentiate: an independent forward where there is one."""

from collections.abc import Callable
from typing import Any

import jax

from fnnet.checking.undecorated import has_rules, undecorated
from fnnet.core.jaxprs import dependent_outputs
from fnnet.layers.answers import Call
from fnnet.layers.containers import in_training
from fnnet.layers.protocol import Layer
from fnnet.proofs import reference_of

INDEPENDENT = "autodiff of an independent forward"
UNDECORATED = "autodiff of its forward without the hand-written backward"
AUTODIFF = "itself: it has no hand-written backward"


def plain_layer(layer: Any, own: Callable, args: tuple) -> tuple[Callable, str]:
    """The layer as plain(x, params) of one example, and what that is, in words.

    Args:
        layer: A layer, or a function f(x, kernel=..., bias=...) that stands in the place of one.
        own: The layer as own(x, params).
        args: x and params, by shapes.
    """
    calls: list[Call | None] = []
    jax.eval_shape(lambda x, params: calls.append(_call(layer, x, params)), *args)
    if calls[0] is not None and reference_of(calls[0].function) is not None:
        return lambda x, params: _by_reference(_call(layer, x, params)), INDEPENDENT
    if not has_rules(own, args):
        return own, AUTODIFF
    return undecorated(own), UNDECORATED


def trains(layer: Any, params: Any, x: Any) -> bool:
    """Whether a layer does something else with a key; `x` is one example, by its shape."""
    return isinstance(layer, Layer) and (layer.of_batch or reads_key(layer, params, x))


def reads_key(layer: Layer, params: Any, x: Any) -> bool:
    """Whether what a layer does depends on the key's value."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    trained = jax.make_jaxpr(lambda key, params, x: in_training(layer, params, x, key))
    traced = trained(jax.random.key(0), shapes, x).jaxpr
    return any(dependent_outputs(traced, [number == 0 for number in range(len(traced.invars))]))


def _call(layer: Any, x: Any, params: Any) -> Call | None:
    return layer.call(params, x) if isinstance(layer, Layer) else Call(layer, (x,), params)


def _by_reference(call: Any) -> Any:
    return reference_of(call.function)(*call.args, **call.keywords)  # type: ignore[misc]
