"""The proof of `fnnet.embedding`."""

from typing import Any

import jax
import numpy as np

from fnnet.proofs.draws import LEADING, each, gaussian, held
from fnnet.proofs.proof import Arrays, Configuration, Proof
from fnnet.proofs.refused import NOT_FLOATING, ones
from fnnet.rules.embedding import embedding


def plain_embedding(table: Any, indices: Any) -> Any:
    """The product of one-hot rows with the table."""
    return jax.nn.one_hot(indices, table.shape[0], dtype=table.dtype) @ table


def sample(rng: np.random.Generator) -> Configuration:
    """Few rows, so that indices are repeated; or one index alone."""
    lead = LEADING[rng.integers(len(LEADING))]
    vocabulary, features = int(rng.choice([1, 3, 7])), int(rng.choice([1, 4]))
    dtype = str(rng.choice(["int32", "uint8", "int64"]))

    def arrays(rng: np.random.Generator) -> Arrays:
        indices = np.asarray(rng.integers(0, vocabulary, lead)).astype(dtype)
        return {"table": rng.normal(size=(vocabulary, features)), "indices": indices}

    features_shown = {f"{min(len(lead), 2)} leading axes", dtype}
    features_shown |= held({"no index": 0 in lead, "one row": vocabulary == 1, "repeated": np.prod(lead) > vocabulary})
    return Configuration(arrays, features=frozenset(features_shown))


def of(rows: int, features: int, *shape: int) -> Configuration:
    """Indices of that shape."""
    draws = {"table": gaussian(rows, features), "indices": lambda rng: rng.integers(0, rows, shape).astype(np.int32)}
    return Configuration(each(**draws))


EMBEDDING = Proof(
    embedding,
    plain_embedding,
    examples=[of(5, 3, 4)],
    parameters=("table",),
    sample=sample,
    covers=frozenset(
        {"0 leading axes", "1 leading axes", "2 leading axes", "no index", "one row", "repeated"}
        | {"int32", "uint8", "int64"}
    ),
    tiny=of(3, 2, 4),
    forms=[of(16, 8, 6)],
    refused={
        "table": (*NOT_FLOATING, *ones((), (4,), (5, 3, 2), (0, 3))),
        "indices": (*ones((4,)), np.ones(4, bool), np.array([0, 5, 1, 1]), np.array([0, -1, 1, 1]), np.array([2**32])),
    },
)
