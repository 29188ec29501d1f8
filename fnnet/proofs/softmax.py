"""The proofs of `fnnet.softmax` and `fnnet.log_softmax`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from fnnet.proofs.draws import SHAPES, SIZES, held, logits, normal
from fnnet.proofs.proof import Configuration, Proof
from fnnet.proofs.refused import NOT_FLOATING
from fnnet.rules import softmax


def plain_softmax(z: Any, axis: int | Sequence[int] = -1) -> Any:
    """By jax.nn."""
    return jax.nn.softmax(z, axis)


def plain_log_softmax(z: Any, axis: int | Sequence[int] = -1) -> Any:
    """By jax.nn."""
    return jax.nn.log_softmax(z, axis)


def sample(rng: np.random.Generator) -> Configuration:
    """Along any axis, or two."""
    shape = SHAPES[rng.integers(1, len(SHAPES))]
    axis = int(rng.integers(-len(shape), len(shape)))
    if shape[axis] == 0:  # a softmax over nothing
        axis = -1
    values, features = logits(rng, shape)
    features |= held({"axis from the front": axis >= 0, "inner axis": axis % len(shape) != len(shape) - 1})
    static: dict[str, Any] = {"axis": axis}
    if len(shape) > 1 and 0 not in shape and rng.random() < 0.3:
        static, features = {"axis": (axis, (axis + 1) % len(shape) - len(shape))}, features | {"two axes"}
    return Configuration(lambda rng: {"z": values(rng)}, static, features=features)


def along(function: Callable, reference: Callable, *examples: Configuration) -> Proof:
    """The proof of a function along an axis."""
    covers = SIZES | {"inner axis", "axis from the front", "two axes"}
    tiny = normal({"axis": 0}, z=(3, 2))
    bad = {"z": NOT_FLOATING, "axis": (2, -3, (1, -1), (), 1.0, "x", None)}
    return Proof(function, reference, examples, sample=sample, covers=covers, tiny=tiny, refused=bad, cancels=True)


SOFTMAX = along(softmax.softmax, plain_softmax, normal(z=(3, 4)), normal({"axis": 0}, "axis 0", z=(3, 4)))
LOG_SOFTMAX = along(softmax.log_softmax, plain_log_softmax, normal(z=(3, 4)))
