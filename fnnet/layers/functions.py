"""Plain functions as layers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.partials import arguments_bound, innermost
from fnnet.core.registration import rule_of
from fnnet.layers.answers import Call
from fnnet.layers.protocol import Layer, Params, function_name, text
from fnnet.rules.activations import elu, gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh
from fnnet.rules.softmax import log_softmax, softmax

# JAX's own functions answer for themselves nowhere; fnnet's rules do, on their pages.
JAX_GAINS = {jax.nn.relu: math.sqrt(2), jax.nn.leaky_relu: math.sqrt(2)}
JAX_PRECISE = (jax.nn.softmax, jax.nn.log_softmax)
# For each function what `engine` gives of it, besides the arguments that a functools.partial binds.
ENGINES: dict[Any, dict[str, Any]] = {
    relu: {"kind": "relu"},
    leaky_relu: {"kind": "leaky_relu", "slope": 0.01},
    sigmoid: {"kind": "sigmoid"},
    tanh: {"kind": "tanh"},
    softplus: {"kind": "softplus"},
    silu: {"kind": "silu"},
    gelu: {"kind": "gelu", "approximate": True},
    elu: {"kind": "elu", "alpha": 1.0},
    softmax: {"kind": "softmax", "axis": -1},
    log_softmax: {"kind": "log_softmax", "axis": -1},
}
ENGINES |= {
    jax.nn.relu: ENGINES[relu],
    jax.nn.sigmoid: ENGINES[sigmoid],
    jax.nn.tanh: ENGINES[tanh],
    jnp.tanh: ENGINES[tanh],
    jax.nn.softplus: ENGINES[softplus],
    jax.nn.silu: ENGINES[silu],
    jax.nn.gelu: ENGINES[gelu],
    jax.nn.elu: ENGINES[elu],
    jax.nn.softmax: ENGINES[softmax],
    jax.nn.log_softmax: ENGINES[log_softmax],
}  # not jax.nn.leaky_relu, whose slope at 0 is another


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

    def engine(self, shape: tuple[int, ...]) -> dict[str, Any] | None:
        """Its kind and arguments, where it is an activation or a softmax of fnnet or JAX."""
        found = next((own for known, own in ENGINES.items() if known is innermost(self.function)), None)
        bound = arguments_bound(self.function)
        are_plain = all(isinstance(value, int | float) for value in bound.values())
        if found is None or bound.keys() - found.keys() or not are_plain:
            return None
        axis = (found := found | bound).pop("axis", None)
        return found if axis is None else found | {"size": shape[axis], "after": math.prod(shape[axis:][1:])}

    def __repr__(self) -> str:
        """The function, as its user wrote it."""
        return text(self.function)


def as_layer(layer: Layer | Callable) -> Layer:
    """A plain function as a layer; a layer as it is."""
    return layer if isinstance(layer, Layer) else Function(layer)
