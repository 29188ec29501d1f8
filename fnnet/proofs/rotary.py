"""The proof of `fnnet.rotary`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.proofs.draws import LEADING, each, gaussian, held
from fnnet.proofs.proof import Configuration, Proof
from fnnet.proofs.refused import FLAGS, NOT_FLOATING, NOT_NUMBERS, ones
from fnnet.rules.rotary import rotary


def plain_rotary(x: Any, positions: Any, *, base: float = 10000.0, interleaved: bool = False) -> Any:
    """By a matrix of two rows for each pair."""
    half = x.shape[-1] // 2
    t = positions[..., None, None].astype(x.dtype) * (base ** (-np.arange(half) / half)).astype(x.dtype)
    turns = jnp.stack([jnp.cos(t), -jnp.sin(t), jnp.sin(t), jnp.cos(t)], axis=-1).reshape(*t.shape, 2, 2)
    if interleaved:
        return jnp.einsum("...iab,...ib->...ia", turns, x.reshape(*x.shape[:-1], half, 2)).reshape(x.shape)
    return jnp.einsum("...iab,...bi->...ai", turns, x.reshape(*x.shape[:-1], 2, half)).reshape(x.shape)


def rows(*shape: int) -> Callable[[np.random.Generator], Any]:
    """Positions."""
    return lambda rng: rng.integers(-5, 50, shape).astype(np.int32)


def sample(rng: np.random.Generator) -> Configuration:
    """Positions of one row, of all examples or of each, and widths up to 6."""
    lead = LEADING[rng.integers(len(LEADING))]
    length, heads, half = (int(n) for n in rng.integers(1, (6, 4, 4)))
    shape = [(), (length,), (*lead, length)][rng.integers(3)]
    interleaved, based = bool(rng.integers(2)), bool(rng.integers(2))
    static = {"interleaved": interleaved} | ({"base": 100.0} if based else {})
    holds = {"interleaved": interleaved, "base": based, "one position": not shape, "no examples": 0 in lead}
    holds |= {"each example's": len(shape) > 1, "one pair": half == 1}
    arrays = each(x=gaussian(*lead, length, heads, 2 * half), positions=rows(*shape))
    return Configuration(arrays, static, features=held(holds))


ROTARY = Proof(
    rotary,
    plain_rotary,
    examples=[
        Configuration(each(x=gaussian(2, 5, 2, 4), positions=rows(2, 5))),
        Configuration(each(x=gaussian(2, 3, 1, 6), positions=rows(3)), {"interleaved": True}, "interleaved"),
    ],
    sample=sample,
    covers=frozenset({"interleaved", "base", "one position", "each example's", "one pair", "no examples"}),
    tiny=Configuration(each(x=gaussian(2, 1, 4), positions=rows(2))),
    forms=[Configuration(each(x=gaussian(5, 2, 4), positions=rows(5)))],
    refused={
        "x": (*NOT_FLOATING, *ones((4,), (5, 4), (2, 5, 2, 3))),
        "positions": (np.ones(5, np.float32), np.ones(5, bool), np.ones(4, "int32"), np.ones((1, 2, 5), "int32"), 1.5),
        "base": (*NOT_NUMBERS, 0, -1.0, float("nan"), float("inf"), None),
        "interleaved": FLAGS,
    },
)
