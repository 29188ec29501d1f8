"""The proofs of the activations, entry by entry."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.proofs.draws import SHAPES, SIZES, logits, normal
from fnnet.proofs.proof import Configuration, Proof
from fnnet.proofs.refused import FLAGS, NOT_FLOATING
from fnnet.rules import activations


def proof_of(
    function: Callable,
    reference: Callable,
    *examples: Configuration,
    cancels: bool = True,
    refused: Mapping[str, Sequence[Any]] | None = None,
    **choices: Sequence[Any],
) -> Proof:
    """The proof of an activation: at the defaults and at `examples`, and drawn with each keyword's choices."""

    def sample(rng: np.random.Generator) -> Configuration:
        shape = SHAPES[rng.integers(len(SHAPES))]
        static = {name: values[int(rng.integers(len(values)))] for name, values in choices.items()}
        values, features = logits(rng, shape)
        shown = features | {f"{name} {value}" for name, value in static.items()}
        return Configuration(lambda rng: {"z": values(rng)}, static, features=shown)

    tiny = normal({name: values[0] for name, values in choices.items()}, z=(3,))
    examples = (normal(z=(3, 4)), *examples)
    covers = SIZES.union({"0 axes"}, *({f"{name} {value}" for value in values} for name, values in choices.items()))
    bad = {"z": NOT_FLOATING, **(refused or {})}
    return Proof(function, reference, examples, sample=sample, covers=covers, tiny=tiny, refused=bad, cancels=cancels)


def zero_at_minus_infinity(function: Callable) -> Callable:
    """The limit there, in place of jax.nn's NaN."""

    def plain(z: Any, **static: Any) -> Any:
        lost = jnp.isneginf(z)
        return jnp.where(lost, 0.0, function(jnp.where(lost, 0.0, z), **static))

    return plain


def plain_leaky_relu(z: Any, slope: float = 0.01) -> Any:
    """Not jax.nn.leaky_relu, whose slope at 0 is 1."""
    return slope * z + (1 - slope) * jax.nn.relu(z)


def plain_elu(z: Any, alpha: float = 1.0) -> Any:
    """Not jax.nn.elu, whose derivative by autodiff, expm1(z) + 1, has no digits of exp(z) left below -40."""
    below = jnp.where(z > 0, 0.0, z)
    return jnp.where(z > 0, z, alpha * jnp.where(below > -1, jnp.expm1(below), jnp.exp(below) - 1))


RELU = proof_of(activations.relu, jax.nn.relu, cancels=False)  # slope 0 at 0
LEAKY_RELU = proof_of(
    activations.leaky_relu,
    plain_leaky_relu,
    normal({"slope": -0.5}, "negative slope", z=(3, 4)),
    cancels=False,
    refused={"slope": (np.ones(()),)},
    slope=(0.01, 0.3, 0.0, -0.5),
)
SIGMOID = proof_of(activations.sigmoid, jax.nn.sigmoid)
TANH = proof_of(activations.tanh, jnp.tanh)
SOFTPLUS = proof_of(activations.softplus, jax.nn.softplus)
SILU = proof_of(activations.silu, zero_at_minus_infinity(jax.nn.silu))
ELU = proof_of(
    activations.elu,
    plain_elu,
    normal({"alpha": 0.5}, "half as deep", z=(3, 4)),
    cancels=False,
    refused={"alpha": (np.ones(()),)},
    alpha=(1.0, 0.5, 1.7, 0.0, -0.5),
)
GELU = proof_of(
    activations.gelu,
    zero_at_minus_infinity(jax.nn.gelu),
    normal({"approximate": False}, "exact", z=(3, 4)),
    refused={"approximate": FLAGS},
    approximate=(True, False),
)
