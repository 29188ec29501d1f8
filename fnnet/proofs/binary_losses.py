"""The proofs of the losses of two classes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.proofs.draws import PAIRED, each, fractions, gaussian, pairs, probabilities
from fnnet.proofs.proof import Configuration, Proof
from fnnet.proofs.refused import NOT_FLOATING, ones
from fnnet.rules import binary_losses


def plain_sigmoid_binary_cross_entropy(logits: Any, targets: Any, *, positive_weights: Any = None) -> Any:
    """By jax.nn.log_sigmoid."""
    yes, no = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    if positive_weights is not None:
        yes = yes * jnp.asarray(positive_weights, yes.dtype)
    return -(_times(targets, yes) + _times(1 - targets, no)).sum(-1)


def plain_binary_cross_entropy(probabilities: Any, targets: Any) -> Any:
    """0 log 0 = 0, with gradient 0."""
    yes = jnp.log(jnp.where((targets == 0) & (probabilities == 0), 1.0, probabilities))
    no = jnp.log1p(-jnp.where((targets == 1) & (probabilities == 1), 0.0, probabilities))
    return -(targets * yes + (1 - targets) * no).sum(-1)


def _times(weight: Any, logarithm: Any) -> Any:
    """Their product, where 0 log 0 = 0; where the weight is not 0, nothing else than the product."""
    return jnp.where((weight == 0) & jnp.isneginf(logarithm), 0.0, weight * logarithm)


SIGMOID_BINARY_CROSS_ENTROPY = Proof(
    binary_losses.sigmoid_binary_cross_entropy,
    plain_sigmoid_binary_cross_entropy,
    examples=[
        Configuration(each(logits=gaussian(4, 3), targets=probabilities(4, 3))),
        Configuration(
            each(logits=gaussian(4, 4), targets=probabilities(4, 4)),
            {"positive_weights": np.array([0.5, 1.5, 1.0, 2.0])},
            "weighed",
        ),
    ],
    refused={"logits": NOT_FLOATING, "positive_weights": (1j, *ones((2,), (4, 3, 1)))},
    sample=pairs("logits", "targets", "logits", "positive_weights"),
    covers=PAIRED | {"hard targets", "size 30", "weights", "one weight"},
    tiny=fractions("logits", "targets", "positive_weights"),
    cancels=True,
)
BINARY_CROSS_ENTROPY = Proof(
    binary_losses.binary_cross_entropy,
    plain_binary_cross_entropy,
    examples=[Configuration(each(probabilities=probabilities(4, 3), targets=probabilities(4, 3)))],
    sample=pairs("probabilities", "targets", "probabilities"),
    covers=PAIRED | {"hard targets"},
    tiny=fractions("probabilities", "targets"),
)
