"""The proof of `fnnet.attention`."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.proofs.draws import LEADING, each, gaussian, gaussians, held, normal
from fnnet.proofs.proof import Arrays, Configuration, Proof
from fnnet.proofs.refused import FLAGS, NOT_FLOATING, NOT_NUMBERS, ones
from fnnet.rules.attention import attention

KINDS = ("whole", "of a head", "of rows and keys", "of keys", "of rows")  # of what broadcasts against the scores


def plain_attention(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    mask: Any = None,
    bias: Any = None,
    scale: float | None = None,
    key_lengths: Any = None,
    soft_cap: float | None = None,
) -> Any:
    """By jax.nn.softmax of all scores; `jax.nn.dot_product_attention` would take it in float32."""
    shared, keys = q.shape[-2] // k.shape[-2], k.shape[-3]
    k, v = (jnp.repeat(array, shared, axis=-2) for array in (k, v))
    scores = jnp.einsum("...qhd,...khd->...hqk", q, k) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    scores = scores if soft_cap is None else soft_cap * jnp.tanh(scores / soft_cap)
    scores = scores if bias is None else scores + bias
    seen = jnp.ones(scores.shape[-2:], bool)
    seen = jnp.tril(seen) if causal else seen
    seen = seen if mask is None else seen & mask
    if key_lengths is not None:
        seen = seen & (jnp.arange(keys, dtype=jnp.int32) < jnp.asarray(key_lengths)[..., None, None, None])
    seen = seen & (scores != -jnp.inf)
    some = seen.any(-1, keepdims=True)
    p = jax.nn.softmax(jnp.where(seen, scores, jnp.where(some, -jnp.inf, 0)))
    return jnp.einsum("...hqk,...khd->...qhd", jnp.where(some, p, 0), v)


def sample(rng: np.random.Generator) -> Configuration:
    """A few rows, or so many that they are several blocks on a CPU."""
    lead, blocks = LEADING[rng.integers(len(LEADING))], rng.random() < 0.3
    length, keys = (int(n) for n in (rng.integers(65, 140, 2) if blocks else rng.integers(1, 7, 2)))
    key_heads, shared, width = (int(n) for n in rng.integers(1, (4, 3, 5)))
    scores = *lead, key_heads * shared, length, keys
    causal, scaled = bool(rng.integers(2)), bool(rng.random() < 0.3)
    kinds = {name: str(rng.choice(KINDS)) for name in ("bias", "mask") if rng.random() < 0.5}
    shapes = {name: _shape(kind, scores) for name, kind in kinds.items()}
    has_lengths, empty = bool(rng.random() < 0.4), bool(rng.integers(2))
    value_width, has_cap = int(rng.choice([width, 1, width + 2])), bool(rng.random() < 0.3)

    def arrays(rng: np.random.Generator) -> Arrays:
        queries, others = (*lead, length, key_heads * shared, width), (*lead, keys, key_heads)
        drawn = gaussians({"q": queries, "k": (*others, width), "v": (*others, value_width)})(rng)
        if "mask" in shapes:
            drawn["mask"] = rng.random(shapes["mask"]) < 0.6
            if empty and shapes["mask"][-2] > 1:
                drawn["mask"][..., 0, :] = False
        if "bias" in shapes:
            drawn["bias"] = rng.normal(size=shapes["bias"])
        if has_lengths:
            drawn["key_lengths"] = rng.integers(0 if empty else 1, keys + 1, lead).astype(np.int32)
        return drawn

    holds = {"causal": causal, "scale": scaled, "key lengths": has_lengths, "fewer key heads": shared > 1}
    holds |= {"soft cap": has_cap, "values of another width": value_width != width}
    holds |= {"blocks": blocks, "tail": blocks and bool(length % 64), "blocks, causal": blocks and causal}
    holds |= {"rows that see nothing": empty and has_lengths, "no examples": 0 in lead}
    holds |= {f"{name} {kind}": True for name, kind in kinds.items()}
    static = {"causal": causal} | ({"scale": 0.7} if scaled else {}) | ({"soft_cap": 1.5} if has_cap else {})
    return Configuration(arrays, static, features=held(holds))


def _shape(kind: str, scores: tuple[int, ...]) -> tuple[int, ...]:
    *lead, heads, length, keys = scores
    return {
        "whole": scores,
        "of a head": (heads, length, keys),
        "of rows and keys": (length, keys),
        "of keys": (*lead, 1, 1, keys),
        "of rows": (1, length, 1),
    }[kind]


def some_keys(*lead: int, most: int) -> Any:
    """How many keys count, perhaps none."""
    return lambda rng: np.asarray(rng.integers(0, most + 1, lead), np.int32)


def seen(*shape: int) -> Any:
    """A mask that hides some keys, and from the first row all."""
    return lambda rng: (rng.random(shape) < 0.7) & (np.arange(shape[-2]) > 0)[:, None]


def of_each(length: int, keys: int, heads: int = 2, key_heads: int = 1, width: int = 3, lead: tuple = ()) -> dict:
    """Draws of q, k and v."""
    others = gaussian(*lead, keys, key_heads, width)
    return {"q": gaussian(*lead, length, heads, width), "k": others, "v": others}


ATTENTION = Proof(
    attention,
    plain_attention,
    examples=[
        normal(q=(2, 5, 2, 4), k=(2, 6, 1, 4), v=(2, 6, 1, 4), bias=(2, 5, 6)),
        normal({"causal": True, "scale": 0.5}, "causal", q=(2, 5, 3, 2), k=(2, 5, 3, 2), v=(2, 5, 3, 2)),
        Configuration(
            each(**of_each(4, 5, lead=(3,)), mask=seen(3, 1, 4, 5), key_lengths=some_keys(3, most=5)),
            title="mask, key lengths",
        ),
        normal({"soft_cap": 1.5}, "soft cap", q=(5, 2, 3), k=(4, 2, 3), v=(4, 2, 2), bias=(5, 4)),
    ],
    parameters=("bias",),
    sample=sample,
    covers=frozenset(
        {
            "causal",
            "scale",
            "key lengths",
            "fewer key heads",
            "soft cap",
            "blocks",
            "tail",
            "blocks, causal",
            "no examples",
        }
        | {
            "rows that see nothing",
            "values of another width",
            *(f"{name} {kind}" for name in ("bias", "mask") for kind in KINDS),
        }
    ),
    tiny=Configuration(each(**of_each(3, 3, width=2), bias=gaussian(3, 3), mask=seen(3, 3)), {"causal": True}, "tiny"),
    forms=[  # on a CPU, fnnet/formulations/attention.py
        Configuration(each(**of_each(5, 6), bias=gaussian(2, 5, 6)), title="at once"),
        Configuration(each(**of_each(70, 66, 4, 2), bias=gaussian(70, 66)), {"causal": True}, "blocks"),
        Configuration(
            each(**of_each(68, 66), mask=seen(1, 68, 66), key_lengths=some_keys(most=66)), title="blocks, masked"
        ),
    ],
    refused={
        "q": (*NOT_FLOATING, *ones((2,), (2, 5, 4), (3, 5, 2, 4), (2, 5, 2, 3), (2, 5, 3, 4)[:2], (2, 5, 0, 4))),
        "k": (*NOT_FLOATING, *ones((), (2, 6, 1, 3), (1, 6, 1, 4), (2, 6, 3, 4), (2, 6, 0, 4), (6, 1, 4))),
        "v": (*NOT_FLOATING, *ones((), (2, 5, 1, 4), (2, 6, 2, 4), (2, 6, 1, 0))),
        "bias": (*NOT_FLOATING, *ones((5,), (3, 5, 6), (1, 2, 2, 5, 6))),
        "mask": (np.ones((5, 6), "int32"), np.ones((5, 6), np.float32), np.ones((4, 6), bool), "x"),
        "key_lengths": (np.ones(2, np.float32), np.ones(3, "int32"), np.ones((2, 1), "int32"), 2.5, "x"),
        "causal": FLAGS,
        "scale": (*NOT_NUMBERS, float("nan"), float("inf"), np.ones(2)),
        "soft_cap": (*NOT_NUMBERS, 0, -1.0, float("nan"), float("inf"), np.ones(2)),
    },
    is_heavy=True,
    cancels=True,
)
