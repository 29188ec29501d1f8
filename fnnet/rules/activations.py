"""Activations, entry by entry: z -> y, of any shape. A rule keeps whichever array makes its slope cheapest to compute.

relu
    forward   y     = z if z > 0, else 0                          (1)
    backward  z_bar = y_bar if z > 0, else 0                      (2)   keeps z <= 0
leaky_relu
    forward   y     = z if z > 0, else slope z                    (3)
    backward  z_bar = y_bar if z > 0, else slope y_bar            (4)   keeps z > 0
sigmoid
    forward   y     = 1 / (1 + exp(-z))                           (5)
    backward  z_bar = y_bar y (1 - y)                             (6)   keeps y
tanh
    forward   y     = tanh z                                      (7)
    backward  z_bar = y_bar (1 - y) (1 + y)                       (8)   keeps y
softplus
    forward   y     = log(1 + exp(z))                             (9)
    backward  z_bar = y_bar (1 - exp(-y))                         (10)  keeps y; the slope is sigmoid(z)
silu
    forward   y     = z a,  a = sigmoid(z)                        (11)
    backward  z_bar = y_bar (a + z a (1 - a))                     (12)  keeps z
gelu
    forward   y     = z F,  F = P(N(0, 1) <= z)                   (13)
    backward  z_bar = y_bar (F + z exp(-z^2 / 2) / sqrt(2 pi))    (14)  keeps z
gelu, approximate
    forward   y     = z a,  a = sigmoid(v)                        (15)  the paper writes (1 + tanh(v / 2)) / 2 for a
    backward  z_bar = y_bar (a + z a (1 - a) v')                  (16)  keeps z
    where     v     = sqrt(8 / pi) (z + 0.044715 z^3)             (17)
elu
    forward   y     = z if z > 0, else alpha (exp(z) - 1)         (18)
    backward  z_bar = y_bar if z > 0, else y_bar alpha exp(z)     (19)  keeps z

A comparison takes one byte an entry. y is kept where the slope can be computed from it: it exists anyway, and the next
layer mostly keeps it too, as its input. silu and gelu are not monotonic: two z have the same y. elu keeps z, since
y + alpha loses the digits of alpha exp(z) where y is near -alpha.

Sources: 003 (15) and (18) are (5) and (6); 000 and 001, definition 11, are (6); 002 gives that slope the wrong sign.
001 (11) is (2) and leaves z = 0 out; 004 has slope 1 there in its formula, and 0, as here, in its code.
Derivation: docs/derivations/activations.md
"""

import math

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.core.arguments import as_floats, wide
from fnnet.core.habits import hinted
from fnnet.core.registration import rule
from fnnet.formulations.branches import not_fused
from fnnet.formulations.masked import masked


@hinted
def relu(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Rectified linear unit, max(z, 0), of a floating array of any shape; TypeError for another.

    The slope at 0 is 0. NaN stays NaN, and its gradient passes, as in PyTorch.

    Source: 001 (11).
    """
    return _relu(*as_floats("relu", z=z))


def relu_fwd(z):
    y = jax.nn.relu(z)  # (1); second derivatives pass through this line, where jnp.maximum has slope 1/2 at a tie
    y = not_fused(y)  # else XLA computes z again for each reader: biases, norms, sums of residual blocks
    return y, y <= 0  # where z <= 0; not y == 0 and not z > 0, which would drop the gradient of a NaN


def relu_bwd(silent, y_bar):
    return (masked(lambda silent, y_bar: jnp.where(silent, 0, y_bar), silent, y_bar),)  # (2)


_relu = rule(relu_fwd, relu_bwd, batched=("z",), gain=math.sqrt(2))


@hinted
def leaky_relu(z: Float[ArrayLike, "*shape"], slope: float = 0.01) -> Float[Array, "*shape"]:
    """z where z > 0, else slope * z, of a floating array of any shape; TypeError for another.

    `slope` is a number, fixed at compilation. The slope at 0 is `slope`, as in PyTorch, so that leaky_relu(z, 0) agrees
    with relu; jax.nn.leaky_relu has 1 there. NaN stays NaN, and its gradient is scaled by `slope`, as in PyTorch.

    Source: Maas, Hannun and Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, 2013.
    """
    return _leaky_relu(*as_floats("leaky_relu", z=z), slope=slope)


def leaky_relu_fwd(z, *, slope):
    y = not_fused(jnp.where(z > 0, z, slope * z))  # (3)
    return y, (y if slope >= 0 else z) > 0  # where z > 0


def leaky_relu_bwd(positive, y_bar, *, slope):
    return (masked(lambda positive, y_bar: jnp.where(positive, y_bar, slope * y_bar), positive, y_bar),)  # (4)


_leaky_relu = rule(leaky_relu_fwd, leaky_relu_bwd, batched=("z",), gain=math.sqrt(2))


@hinted
def sigmoid(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Logistic function 1 / (1 + exp(-z)), of a floating array of any shape; TypeError for another.

    Source: 003 (15) and (18).
    """
    return _sigmoid(*as_floats("sigmoid", z=z))


def sigmoid_fwd(z):
    y = lax.logistic(z)  # (5)
    return y, y


def sigmoid_bwd(y, y_bar):
    return (y_bar * (y * (1 - y)),)  # (6)


_sigmoid = rule(sigmoid_fwd, sigmoid_bwd, batched=("z",))


@hinted
def tanh(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Hyperbolic tangent, of a floating array of any shape; TypeError for another."""
    return _tanh(*as_floats("tanh", z=z))


def tanh_fwd(z):
    y = jnp.tanh(z)  # (7)
    return y, y


def tanh_bwd(y, y_bar):
    return (y_bar * ((1 - y) * (1 + y)),)  # (8); 1 - y y would cancel near 1


_tanh = rule(tanh_fwd, tanh_bwd, batched=("z",))


@hinted
def softplus(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + exp(z)), of a floating array of any shape; TypeError for another. It does not overflow.

    Source: Dugas, Bengio, Belisle, Nadeau and Garcia, Incorporating Second-Order Functional Knowledge, 2000.
    """
    return _softplus(*as_floats("softplus", z=z))


def softplus_fwd(z):
    y = jnp.logaddexp(z, 0)  # (9)
    return y, y


def softplus_bwd(y, y_bar):
    return (y_bar * -jnp.expm1(-y),)  # (10)


_softplus = rule(softplus_fwd, softplus_bwd, batched=("z",))


@hinted
def silu(z: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Sigmoid linear unit z sigmoid(z), of a floating array of any shape; TypeError for another.

    At -inf it is 0, and the slope is 0 there and 1 at +inf: the limits. bf16 and f16 are computed in f32.

    Source: Elfwing, Uchibe and Doya, Sigmoid-Weighted Linear Units for Neural Network Function Approximation, 2017.
    """
    return _silu(*as_floats("silu", z=z))


def silu_fwd(z):
    (wide_z,) = wide(z)
    return gated(wide_z, lax.logistic(wide_z)).astype(z.dtype), z  # (11)


def silu_bwd(z, y_bar):
    (bar,), bounded = wide(y_bar), within(z, 1000)
    a = lax.logistic(bounded)
    return ((bar * (a + bounded * a * (1 - a))).astype(z.dtype),)  # (12)


_silu = rule(silu_fwd, silu_bwd, batched=("z",))


@hinted
def gelu(z: Float[ArrayLike, "*shape"], approximate: bool = True) -> Float[Array, "*shape"]:
    """Gaussian error linear unit z P(N(0, 1) <= z), of a floating array of any shape.

    `approximate` takes the formula with tanh, (15), which differs by less than 5e-4. At -inf it is 0, and the slope is
    0 there and 1 at +inf: the limits. bf16 and f16 are computed in f32.

    Raises TypeError where z is not a floating array or `approximate` not a bool.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016, section 2.
    """
    if not isinstance(approximate, bool):
        raise TypeError(f"gelu: approximate (={approximate!r}) must be True or False")
    return _gelu(*as_floats("gelu", z=z), approximate=approximate)


def gelu_fwd(z, *, approximate):
    bounded = within(z, 40)
    gate = lax.logistic(cubic(bounded)) if approximate else normal_cdf(bounded)  # (13), (15), (17)
    return gated(z.astype(gate.dtype), gate).astype(z.dtype), z


def gelu_bwd(z, y_bar, *, approximate):
    (bar,), bounded = wide(y_bar), within(z, 40)
    if approximate:
        a = lax.logistic(cubic(bounded))
        slope = a + bounded * a * (1 - a) * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * bounded * bounded)  # (16)
    else:
        slope = normal_cdf(bounded) + bounded * jnp.exp(-bounded * bounded / 2) / math.sqrt(2 * math.pi)  # (14)
    return ((bar * slope).astype(z.dtype),)


def cubic(z):
    return math.sqrt(8 / math.pi) * (z + 0.044715 * z * z * z)


def normal_cdf(z):
    return lax.erfc(-z / math.sqrt(2)) / 2


_gelu = rule(gelu_fwd, gelu_bwd, batched=("z",))


@hinted
def elu(z: Float[ArrayLike, "*shape"], alpha: float = 1.0) -> Float[Array, "*shape"]:
    """Exponential linear unit: z where z > 0, else alpha (exp(z) - 1), of a floating array; TypeError for another.

    `alpha` is a number, fixed at compilation. The slope at 0 is `alpha`, the one from the left, as in PyTorch and
    jax.nn. bf16 and f16 are computed in f32.

    Source: Clevert, Unterthiner and Hochreiter, Fast and Accurate Deep Network Learning by ELUs, 2016, (15) and (16).
    """
    return _elu(*as_floats("elu", z=z), alpha=alpha)


def elu_fwd(z, *, alpha):
    return jnp.where(z > 0, z, (alpha * jnp.expm1(negative_part(z))).astype(z.dtype)), z  # (18)


def elu_bwd(z, y_bar, *, alpha):
    slope = alpha * jnp.exp(negative_part(z))
    return (jnp.where(z > 0, y_bar, (y_bar.astype(slope.dtype) * slope).astype(z.dtype)),)  # (19)


_elu = rule(elu_fwd, elu_bwd, batched=("z",), gain=math.sqrt(2))


def negative_part(z):
    """z in f32 or f64 where it is not positive, else 0; derivatives at 0 are those from the left."""
    return jnp.where(z > 0, 0, *wide(z))


def gated(z, gate):
    """z * gate, 0 at -inf, where the gate is 0."""
    return jnp.maximum(z, jnp.finfo(z.dtype).min) * gate


def within(z, bound):
    """z in f32 or f64, cut off where its gate has long been exactly 0 or 1, so that its powers stay finite."""
    return jnp.clip(*wide(z), -bound, bound)
