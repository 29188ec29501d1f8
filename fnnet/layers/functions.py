"""Plain functions as layers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from fnnet.core.partials import innermost
from fnnet.core.registration import rule_of
from fnnet.layers.answers import Call
from fnnet.layers.protocol import Layer, Params, function_name, text

# JAX's own functions answer for themselves nowhere; fnnet's rules do, on their pages.
JAX_GAINS = {jax.nn.relu: math.sqrt(2), jax.nn.leaky_relu: math.sqrt(2)}
JAX_PRECISE = (jax.nn.softmax, jax.nn.log_softmax)


@dataclass(frozen=True, repr=False)
class Function(Layer):
    """A function of the example alone as a layer; `Sequential` takes the plain function."""

    function: Callable

    @property
    def kind(self) -> str:
        """The function's name."""
        name = function_name(self.function)
        return name if name.isidentifier() else "function"

    def call(self, params: Params, x: Any) -> Call:
        """function(x)."""
        return Call(self.function, (x,), {})

    @property
    def by_row(self) -> bool:
        """Taken for granted of a plain function."""
        return True

    @property
    def gain(self) -> float:
        """The rule's."""
        rule, function = rule_of(self.function), innermost(self.function)
        return next((gain for one, gain in JAX_GAINS.items() if one is function), 1.0) if rule is None else rule.gain

    @property
    def precise(self) -> bool:
        """The rule's."""
        rule, function = rule_of(self.function), innermost(self.function)
        return any(one is function for one in JAX_PRECISE) if rule is None else rule.precise

    def __repr__(self) -> str:
        """The function, as its user wrote it."""
        return text(self.function)


def as_layer(layer: Layer | Callable) -> Layer:
    """A plain function as a layer; a layer as it is."""
    return layer if isinstance(layer, Layer) else Function(layer)
