"""Each fault that the table of published rules names, in a few lines; what they print shows it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A fault of a published gradient.

    Args:
        package: The distribution that has it.
        said: What is wrong, in a sentence.
        code: Lines that show it.
    """

    package: str
    said: str
    code: str


FAULTS = {
    "logsumexp": Fault(
        "jax",
        "The gradient of `jax.nn.logsumexp` by its weights `b` is 0 wherever a weight is 0; the slope there is not.",
        """
import jax, jax.numpy as jnp

value = lambda w: jax.nn.logsumexp(jnp.array([1.0, 2.0]), b=jnp.array([1.0, w]))
print("gradient", jax.grad(value)(0.0))
print("slope", (value(1e-3) - value(-1e-3)) / 2e-3)
""",
    ),
    "sinc": Fault(
        "jax",
        "The gradient of `jnp.sinc` loses all digits in single precision near 0, on jax 0.10.2; 0.12.0.1 is right.",
        """
import jax, jax.numpy as jnp

print("jax", jax.__version__)
print("gradient", jax.grad(jnp.sinc)(1e-4))
print("slope", -(jnp.pi**2) * 1e-4 / 3)
""",
    ),
    "focal": Fault(
        "optax",
        "The gradient of `sigmoid_focal_loss` by a label is wrong where the label is 0 or 1: it goes through the "
        "weights of `jax.nn.logsumexp`.",
        """
import jax, optax

loss = lambda label: optax.losses.sigmoid_focal_loss(jax.numpy.float32(0.5), label)
print("gradient", jax.grad(loss)(0.0))
print("slope", (loss(1e-3) - loss(0.0)) / 1e-3)
""",
    ),
    "simplex": Fault(
        "optax",
        "`projection_simplex` cannot be differentiated for single precision where double precision is enabled.",
        """
import jax, jax.numpy as jnp, optax.projections

with jax.enable_x64(True):
    try:
        jax.grad(lambda x: optax.projections.projection_simplex(x)[0])(jnp.array([0.2, 0.9], jnp.float32))
    except TypeError as error:
        print(str(error)[:75])
""",
    ),
    "power law": Fault(
        "numpyro",
        "The gradient of `DoublyTruncatedPowerLaw.log_prob` by `low` and `high` is that of the density, not of its "
        "logarithm; that by `high` has the wrong sign as well.",
        """
import jax, numpyro.distributions as dist

x = jax.numpy.float32(0.5)
log_prob = lambda high: dist.DoublyTruncatedPowerLaw(1.5, 0.1, high).log_prob(x)
print("gradient", jax.grad(log_prob)(1.2))
print("slope", (log_prob(1.21) - log_prob(1.19)) / 0.02)
""",
    ),
    "softmin": Fault(
        "ott-jax",
        "The gradient of `softmin` by its smoothing parameter `gamma` is zero.",
        """
import jax, jax.numpy as jnp
from ott.math.utils import softmin

value = lambda gamma: softmin(jnp.array([1.0, 2.0]), gamma, 0)
print("gradient", jax.grad(value)(0.5))
print("slope", (value(0.51) - value(0.49)) / 0.02)
""",
    ),
    "bi-tempered": Fault(
        "jax-bitempered-loss",
        "The gradient of `bi_tempered_logistic_loss` by the labels and by both temperatures is zero.",
        """
import jax, jax.numpy as jnp
from jax_bitempered_loss.loss import bi_tempered_logistic_loss

value = lambda t1: bi_tempered_logistic_loss(jnp.array([1.0, 2.0]), jnp.array([0.3, 0.7]), t1, 1.3)
print("gradient", jax.grad(value)(0.7))
print("slope", (value(0.71) - value(0.69)) / 0.02)
""",
    ),
    "log_ndtr": Fault(
        "jax",
        "The gradient of `jax.scipy.special.log_ndtr` loses four of seven digits in single precision far in the tail.",
        """
import jax, jax.numpy as jnp
from jax.scipy.special import log_ndtr

x = jnp.float32(-400.0)
print("gradient", jax.grad(log_ndtr)(x))
print("slope", (log_ndtr(x + 1) - log_ndtr(x - 1)) / 2)
""",
    ),
    "power_no_nan": Fault(
        "distrax",
        "The gradient of `power_no_nan` by its exponent is NaN at the base 0.",
        """
import jax
from distrax._src.utils.math import power_no_nan

print("gradient", jax.grad(power_no_nan, 1)(0.0, 2.0))
print("slope", (power_no_nan(0.0, 2.001) - power_no_nan(0.0, 1.999)) / 0.002)
""",
    ),
    "allpole": Fault(
        "jaxpole",
        "The gradient of `allpole` of complex arguments is conjugated, as PyTorch has it: JAX's is the transposed map.",
        """
import jax, jax.numpy as jnp
from jaxpole.filter import allpole

# y = (x0, x1 - i x0): a map that is linear in x. What it does to a tangent t, seen by g, is what x_bar says of t.
a, zi = jnp.full((1, 2, 1), 1j), jnp.zeros((1, 1), jnp.complex64)
f = lambda x: allpole(x, a, zi)
x, t, g = jnp.zeros((1, 2), jnp.complex64), jnp.array([[1.0 + 0j, 0]]), jnp.array([[0j, 1.0]])
print("by the gradient", (jax.vjp(f, x)[1](g)[0] * t).sum())
print("by the map", (g * (f(x + t) - f(x))).sum())
""",
    ),
}
