"""Activations, entry by entry: z -> y, of any shape. A rule keeps what its slope is cheapest found from.

                   forward                                backward: z_bar = y_bar times              kept
    relu           y = z if z > 0, else 0                 1 if z > 0, else 0                   (1)   z <= 0
    leaky_relu     y = z if z > 0, else slope z           1 if z > 0, else slope               (2)   z > 0
    sigmoid        y = 1 / (1 + exp(-z))                  y (1 - y)                            (3)   y
    tanh           y = tanh z                             (1 - y) (1 + y)                      (4)   y
    softplus       y = log(1 + exp(z))                    sigmoid(z) = 1 - exp(-y)             (5)   y
    silu           y = z a,  a = sigmoid(z)               a + z a (1 - a)                      (6)   z
    gelu           y = z F,  F = P(N(0, 1) <= z)          F + z exp(-z^2 / 2) / sqrt(2 pi)     (7)   z
      approximate  y = z a,  a = sigmoid(v)               a + z a (1 - a) v'                   (8)   z
                   v = sqrt(8 / pi) (z + 0.044715 z^3);  in the paper a is written (1 + tanh(v / 2)) / 2

A comparison takes one byte an entry. y is kept where it will do: it is there anyway, and the layer that follows mostly
keeps it too, as its input. silu and gelu are not monotonic: their y does not tell z.

Sources: 003 (15) and (18), 000 and 001, definition 11, are (3); 002 gives its slope the wrong sign. 001 (11) is (1) and
leaves z = 0 out; 004 has slope 1 there in its formula, and 0, as here, in its code.
Derivation: docs/derivations/activations.md
"""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.core.arguments import accumulator, as_floats
from fnnet.core.registration import rule
from fnnet.formulations.branches import computed_once


def relu(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Rectified linear unit, max(z, 0), of a floating array of any shape; TypeError for another.

    The slope at 0 is 0. NaN stays NaN, and its gradient passes, as in PyTorch.

    Source: 001 (11).
    """
    return _relu(*as_floats("relu", z=z))


def relu_fwd(z):
    y = jax.nn.relu(z)  # (1); second derivatives pass through this line, where jnp.maximum has slope 1/2 at a tie
    return y, z <= 0  # not z > 0, which would drop the gradient of a NaN


def relu_bwd(silent, y_bar):
    return (jnp.where(computed_once(silent), 0, y_bar),)  # (1)


_relu = rule(relu_fwd, relu_bwd, batched=("z",), gain=math.sqrt(2))


def leaky_relu(z: Float[ArrayLike, "*shape"], slope: float = 0.01) -> Float[Array, "*shape"]:
    """z where z > 0, else slope * z, of a floating array of any shape; TypeError for another.

    `slope` is a number, fixed at compilation. The slope at 0 is `slope`, as in PyTorch, so that leaky_relu(z, 0) agrees
    with relu; jax.nn.leaky_relu has 1 there. NaN stays NaN, and its gradient is scaled by `slope`, as in PyTorch.

    Source: Maas, Hannun and Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, 2013.
    """
    return _leaky_relu(*as_floats("leaky_relu", z=z), slope=slope)


def leaky_relu_fwd(z, *, slope):
    return jnp.where(z > 0, z, slope * z), z > 0  # (2)


def leaky_relu_bwd(positive, y_bar, *, slope):
    return (jnp.where(computed_once(positive), y_bar, slope * y_bar),)  # (2)


_leaky_relu = rule(leaky_relu_fwd, leaky_relu_bwd, batched=("z",), gain=math.sqrt(2))


def sigmoid(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Logistic function 1 / (1 + exp(-z)), of a floating array of any shape; TypeError for another.

    Source: 003 (15) and (18).
    """
    return _sigmoid(*as_floats("sigmoid", z=z))


def sigmoid_fwd(z):
    y = lax.logistic(z)
    return y, y


def sigmoid_bwd(y, y_bar):
    return (y_bar * (y * (1 - y)),)  # (3)


_sigmoid = rule(sigmoid_fwd, sigmoid_bwd, batched=("z",))


def tanh(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Hyperbolic tangent, of a floating array of any shape; TypeError for another."""
    return _tanh(*as_floats("tanh", z=z))


def tanh_fwd(z):
    y = jnp.tanh(z)
    return y, y


def tanh_bwd(y, y_bar):
    return (y_bar * ((1 - y) * (1 + y)),)  # (4); 1 - y y would cancel near 1


_tanh = rule(tanh_fwd, tanh_bwd, batched=("z",))


def softplus(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + exp(z)), of a floating array of any shape; TypeError for another. It does not overflow.

    Source: Dugas, Bengio, Belisle, Nadeau and Garcia, Incorporating Second-Order Functional Knowledge, 2000.
    """
    return _softplus(*as_floats("softplus", z=z))


def softplus_fwd(z):
    y = jnp.logaddexp(z, 0)
    return y, y


def softplus_bwd(y, y_bar):
    return (y_bar * -jnp.expm1(-y),)  # (5)


_softplus = rule(softplus_fwd, softplus_bwd, batched=("z",))


def silu(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Sigmoid linear unit z sigmoid(z), of a floating array of any shape; TypeError for another.

    At -inf it is 0, and the slope is 0 there and 1 at +inf: the limits. bf16 and f16 are computed in f32.

    Source: Elfwing, Uchibe and Doya, Sigmoid-Weighted Linear Units for Neural Network Function Approximation, 2017.
    """
    return _silu(*as_floats("silu", z=z))


def silu_fwd(z):
    wide = z.astype(accumulator(z.dtype))
    return gated(wide, lax.logistic(wide)).astype(z.dtype), z


def silu_bwd(z, y_bar):
    bar, bounded = y_bar.astype(accumulator(z.dtype)), within(z, 1000)
    a = lax.logistic(bounded)
    return ((bar * (a + bounded * a * (1 - a))).astype(z.dtype),)  # (6)


_silu = rule(silu_fwd, silu_bwd, batched=("z",))


def gelu(z: Float[ArrayLike, "*shape"], approximate: bool = True) -> Float[Array, "*shape"]:
    """Gaussian error linear unit z P(N(0, 1) <= z), of a floating array of any shape.

    `approximate` takes the formula with tanh, (8), which differs by less than 5e-4. At -inf it is 0, and the slope is
    0 there and 1 at +inf: the limits. bf16 and f16 are computed in f32.

    Raises TypeError where z is not a floating array or `approximate` not a bool.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016, section 2.
    """
    if not isinstance(approximate, bool):
        raise TypeError(f"gelu: approximate (={approximate!r}) must be True or False")
    return _gelu(*as_floats("gelu", z=z), approximate=approximate)


def gelu_fwd(z, *, approximate):
    gate = lax.logistic(cubic(within(z, 40))) if approximate else normal_cdf(within(z, 40))
    return gated(z.astype(gate.dtype), gate).astype(z.dtype), z


def gelu_bwd(z, y_bar, *, approximate):
    bar, bounded = y_bar.astype(accumulator(z.dtype)), within(z, 40)
    if approximate:
        a = lax.logistic(cubic(bounded))
        slope = a + bounded * a * (1 - a) * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * bounded * bounded)  # (8)
    else:
        slope = normal_cdf(bounded) + bounded * jnp.exp(-bounded * bounded / 2) / math.sqrt(2 * math.pi)  # (7)
    return ((bar * slope).astype(z.dtype),)


def cubic(z):
    return math.sqrt(8 / math.pi) * (z + 0.044715 * z * z * z)


def normal_cdf(z):
    return lax.erfc(-z / math.sqrt(2)) / 2


_gelu = rule(gelu_fwd, gelu_bwd, batched=("z",))


def gated(z, gate):
    """z * gate, 0 at -inf, where the gate is 0."""
    return jnp.maximum(z, jnp.finfo(z.dtype).min) * gate


def within(z, bound):
    """z in f32 or f64, cut off where its gate has long been exactly 0 or 1, so that its powers stay finite."""
    return jnp.clip(z.astype(accumulator(z.dtype)), -bound, bound)
