"""The handlers that write ONNX nodes, by class of layers and by function, and which of them a layer has."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

from fnnet.layers.answers import Call
from fnnet.layers.protocol import Layer, Params

NODES: dict[Any, Callable] = {}
Handler = TypeVar("Handler", bound=Callable)


def onnx_node(*kinds: Any) -> Callable[[Handler], Handler]:
    """A decorator for a handler, which writes the ONNX nodes of a class of layers or of a function.

    Args:
        *kinds: Classes of layers, for handler(graph, layer, params, x); or functions, for handler(graph, x), which
            also takes the function's other arguments, if any. `graph` is an `OnnxGraph`. `x` is an `OnnxValue`, and the
            handler returns one.

    Returns:
        The decorator. It replaces an earlier handler. A subclass with an `apply` of its own needs its own handler.

    Example:
        >>> import fnnet, jax.numpy as jnp
        >>> def hard_swish(x):
        ...     return x * jnp.clip(x / 6 + 0.5, 0, 1)
        >>> @fnnet.interop.onnx_node(hard_swish)
        ... def hard_swish_node(graph, x):
        ...     return graph.elementwise("HardSwish", x)
    """

    def register(handler: Handler) -> Handler:
        NODES.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def handler_of(layer: Layer) -> Callable | None:
    """The handler of a layer's class."""
    return next((NODES[kind] for kind in type(layer).__mro__ if _describes(kind, layer)), None)


def handler_of_function(function: Callable) -> Callable | None:
    """The handler of a function."""
    return NODES.get(function)


def _describes(kind: type, layer: Layer) -> bool:
    """Whether a class is one whose nodes are known, and computes what the layer does."""
    return kind in NODES and kind.apply is type(layer).apply  # type: ignore[attr-defined]


def call_with(layer: Layer, params: Params, x: Any) -> Call | None:
    """`layer.call` with a value of a graph in the place of the example; None where it is not one call of a function."""
    found: list[Call | None] = []

    def look(example: Any) -> Any:
        call = layer.call(params, example)
        if call is not None:
            args = tuple(x if arg is example else arg for arg in call.args)
            keywords = {name: x if value is example else value for name, value in call.keywords.items()}
            call = Call(call.function, args, keywords)
        found.append(call)
        return example

    jax.eval_shape(look, jax.ShapeDtypeStruct(x.shape, x.dtype))
    (call,) = found
    if call and any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((call.args, call.keywords))):
        return None  # it computes before it calls
    return call
