"""Rules that are right in one dtype, or in the dtype that they were tried in."""

import jax
import jax.numpy as jnp

from collection.case import Case, Layer
from collection.circumstances import At, Structure
from collection.draws import normal, uniform
from collection.transformed import plain

total = Layer(
    "scaled sum", lambda x, s: s * x.sum(), lambda x, s: (s * x.sum(), (x, s)), lambda: (uniform(0, 1000), uniform(1))
)


energy = Layer(
    "logarithm of the energy",
    lambda x: jnp.log1p((x * x).mean()),
    lambda x: (jnp.log1p((x * x).mean()), (x,)),
    lambda: (normal(0, 64),),
)


def in_steps(x, s, g):
    """Adds up one by one in x's dtype."""
    summed = jax.lax.scan(lambda acc, term: (acc + term, None), jnp.zeros((), x.dtype), x)[0]
    return jnp.broadcast_to(g * s, x.shape), g * summed


def quantised(g):
    top = jnp.abs(g).max()
    return jnp.round(g / top * 127) / 127 * top


CASES: list[Case] = [
    total.right("its rule", lambda x, s, g: (jnp.broadcast_to(g * s, x.shape), g * x.sum())),
    energy.right("its rule", lambda x, g: (g * (2 / x.size * x) / (1 + (x * x).mean()),)),
    # Dtypes.
    plain.wrong(
        "f32 cotangent whatever the dtype",
        lambda x, g: ((g * jnp.cos(x)).astype(jnp.float32),),
        "for an f64 argument too",
        "RD",
        form="pair",
        exposed_by=Structure("float64"),
    ),
    plain.wrong(
        "residual in lower precision",
        lambda x, g: (g * jnp.cos(x),),
        "x saved in bf16",
        "RFD",
        forward=lambda x: (jnp.sin(x), (x.astype(jnp.bfloat16).astype(x.dtype),)),
    ),
    plain.wrong(
        "cotangent quantised",
        lambda x, g: (quantised(g) * jnp.cos(x),),
        "to eight bits",
        "RFL",
        waiver="gradients of eight bits, on hardware that has no others",
    ),
    total.wrong(
        "adds up in bf16",
        in_steps,
        "from 256 on a bf16 sum of numbers about 1 stands still",
        "D",
        exposed_by=At(total.args, "bfloat16"),
    ),
    energy.wrong(
        "sum of squares overflows in f16",
        lambda x, g: (2 * g * x / (x.size + (x * x).sum(dtype=x.dtype)),),
        "64 squares of 100 are more than 65504",
        "DE",
        exposed_by=At(lambda: (100 * normal(0, 64),), "float16"),
    ),
]
