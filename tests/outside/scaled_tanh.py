"""Scaled tanh: input x (..., features), scale s (features,) -> output y (..., features).

    forward     y_ni     = s_i tanh x_ni                     (1)
    backward    x_bar_ni = y_bar_ni s_i (1 - t_ni) (1 + t_ni)    (2)   t = tanh x
                s_bar_i  = sum_n y_bar_ni t_ni               (3)

Source: LeCun et al., Efficient BackProp (1998), section 4.4, where s is 1.7159 and fixed.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import fnnet
from fnnet.layers import Call, Layer, Parameter
from fnnet.proofs import Configuration, Proof, register


def scaled_tanh_fwd(x, scale):
    t = jnp.tanh(x)
    return scale * t, (t, scale)  # (1)


def scaled_tanh_bwd(residuals, y_bar):
    t, scale = residuals
    x_bar = y_bar * scale * (1 - t) * (1 + t)  # (2)
    scale_bar = (y_bar * t).sum(tuple(range(t.ndim - 1)))  # (3)
    return x_bar, scale_bar


scaled_tanh = fnnet.rule(scaled_tanh_fwd, scaled_tanh_bwd, batched=("x",))


@dataclass(frozen=True, repr=False)
class ScaledTanh(Layer):
    """s tanh(x) with a learned scale for each feature, 1 at first. Parameters: scale (features,)."""

    @property
    def entries(self):
        """scale."""
        return ("scale",)

    def parameters(self, shape):
        """A scale for each entry of the last axis."""
        return {"scale": Parameter((shape[-1],), jax.nn.initializers.ones, decayed=False)}

    def call(self, params, x):
        """(..., features) -> (..., features)."""
        return Call(scaled_tanh, (x, params["scale"]), {})


def arrays(generator):
    return {"x": generator.normal(size=(4, 3)), "scale": generator.uniform(0.5, 2, 3)}


PROOF = register(
    Proof(
        scaled_tanh,
        reference=lambda x, scale: scale * jnp.tanh(x),
        examples=(Configuration(arrays),),
        parameters=("scale",),
    )
)
