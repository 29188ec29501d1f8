"""The proof of `fnnet.dense`."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.proofs.draws import LEADING, gaussians, held, normal
from fnnet.proofs.proof import Configuration, Proof
from fnnet.proofs.refused import NOT_FLOATING, ones
from fnnet.rules.dense import dense


def plain_dense(x: Any, kernel: Any, bias: Any = None) -> Any:
    """By einsum."""
    y = jnp.einsum("...i,io->...o", x, kernel)
    return y if bias is None else y + bias


def sample(rng: np.random.Generator) -> Configuration:
    """A few inputs and outputs, with and without a bias."""
    lead = LEADING[rng.integers(len(LEADING))]
    inputs, outputs = int(rng.choice([1, 2, 5])), int(rng.choice([1, 3]))
    biased = bool(rng.integers(2))
    shapes = {"x": (*lead, inputs), "kernel": (inputs, outputs)} | ({"bias": (outputs,)} if biased else {})
    features = {f"{min(len(lead), 2)} leading axes", "bias" if biased else "no bias"}
    features |= held({"empty leading axis": 0 in lead, "size-1 axis": 1 in (inputs, outputs, *lead)})
    return Configuration(gaussians(shapes), features=frozenset(features))


DENSE = Proof(
    dense,
    plain_dense,
    examples=[normal(x=(4, 3), kernel=(3, 2), bias=(2,))],
    parameters=("kernel", "bias"),
    sample=sample,
    covers=frozenset(
        {"0 leading axes", "1 leading axes", "2 leading axes", "empty leading axis", "size-1 axis", "bias", "no bias"}
    ),
    tiny=normal(x=(2, 3), kernel=(3, 2), bias=(2,)),
    forms=[normal(x=(16,), kernel=(16, 8), bias=(8,))],
    refused={
        "x": (*NOT_FLOATING, *ones((), (4,), (3, 4), (0,))),
        "kernel": (*NOT_FLOATING, *ones((), (3,), (2, 2), (3, 2, 1), (0, 2), (2, 3))),
        "bias": (*NOT_FLOATING, *ones((), (1,), (3,), (2, 1), (1, 2))),
    },
)
