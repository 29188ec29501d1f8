"""The proof of `fnnet.squared_error`."""

from typing import Any

import jax.numpy as jnp

from fnnet.proofs.draws import PAIRED, fractions, normal, pairs
from fnnet.proofs.proof import Proof
from fnnet.rules.squared_error import squared_error


def plain_squared_error(prediction: Any, target: Any) -> Any:
    """By its formula."""
    return jnp.square(prediction - target).sum(-1) / 2


SQUARED_ERROR = Proof(
    squared_error,
    plain_squared_error,
    examples=[normal(prediction=(4, 3), target=(4, 3))],
    sample=pairs("prediction", "target"),
    covers=PAIRED | {"size 30"},
    tiny=fractions("prediction", "target"),
)
