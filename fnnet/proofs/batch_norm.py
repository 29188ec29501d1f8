"""The proofs of `fnnet.batch_norm` and `fnnet.group_norm`."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.proofs.draws import held, normal
from fnnet.proofs.layer_norm import NOT_EPSILON, drawn_x
from fnnet.proofs.proof import Arrays, Configuration, Proof
from fnnet.proofs.refused import COUNTS, NOT_FLOATING, NOT_INTEGERS, ones
from fnnet.rules.batch_norm import batch_norm, group_norm

SIZES = frozenset({"size 0.1", "size 1", "size 20", "ties", "far from 0"})
GIVEN = frozenset({"scale", "no scale", "bias", "no bias"})
# Of 4 places or more, and which axes are averaged over; as in fnnet/proofs/layer_norm.py, no fewer.
BATCHES: Sequence[tuple[tuple[int, ...], tuple[int, ...], str]] = (
    ((5, 3), (0,), "no image"),
    ((2, 3, 2), (0, 1), "merged axes"),
    ((2, 2, 3, 2), (0, 1, 2), "merged axes"),
    ((2, 3, 2, 3), (0, -2, -1), "channels inside"),
    ((3, 2, 4), (-2, -1), "channels first"),
    ((2, 4, 3), (1,), "two axes of channels"),
    ((0, 3), (0,), "no entries"),
)
IMAGES: Sequence[tuple[tuple[int, ...], str]] = (
    ((6,), "0 spatial axes"),
    ((4, 6), "1 spatial axes"),
    ((2, 3, 6), "2 spatial axes"),
    ((2, 1, 3, 6), "3 spatial axes"),
    ((0, 6), "no entries"),
)


def plain_batch_norm(
    x: Any, scale: Any = None, bias: Any = None, *, axes: int | Sequence[int], epsilon: float = 1e-5
) -> Any:
    """By the mean and the variance of jax.numpy, with the channels moved to the end."""
    named = [axis % x.ndim for axis in (axes if isinstance(axes, Sequence) else (axes,))]
    others = [axis for axis in range(x.ndim) if axis not in named]
    moved = jnp.moveaxis(x, named, range(len(named)))
    over = tuple(range(len(named)))
    mean, variance = (moved.mean(over), moved.var(over)) if x.size else (jnp.zeros([x.shape[a] for a in others]),) * 2
    y = (moved - mean) / jnp.sqrt(variance + epsilon)
    y = y if scale is None else y * scale
    y = y if bias is None else y + bias
    return jnp.moveaxis(y, range(len(named)), named), mean, variance


def plain_group_norm(
    x: Any, groups: int, scale: Any = None, bias: Any = None, *, batch_axes: int = 0, epsilon: float = 1e-5
) -> Any:
    """Group by group, by the mean and the variance of jax.numpy."""
    over = tuple(range(batch_axes, x.ndim))
    parts = jnp.split(x, groups, axis=-1)
    normed = [
        (part - part.mean(over, keepdims=True)) / jnp.sqrt(part.var(over, keepdims=True) + epsilon) for part in parts
    ]
    y = jnp.concatenate(normed, -1)
    y = y if scale is None else y * scale
    return y if bias is None else y + bias


def with_parameters(rng: np.random.Generator, shape: Sequence[int], sizes: Sequence[int]) -> tuple[Any, frozenset[str]]:
    """Arrays of x and perhaps a scale and a bias; and the features."""
    values, features = drawn_x(rng, shape)
    given = [name for name in ("scale", "bias") if rng.random() < 0.7]

    def arrays(rng: np.random.Generator) -> Arrays:
        return {"x": values(rng)} | {name: rng.normal(size=sizes) for name in given}

    return arrays, features | {name if name in given else f"no {name}" for name in ("scale", "bias")}


def sample_batch(rng: np.random.Generator) -> Configuration:
    """Batches of images or rows, with the channels anywhere."""
    shape, axes, title = BATCHES[int(rng.integers(len(BATCHES)))]
    named = [axis % len(shape) for axis in axes]
    arrays, features = with_parameters(rng, shape, [n for a, n in enumerate(shape) if a not in named])
    static = {"axes": axes if len(axes) > 1 else axes[0], "epsilon": float(rng.choice([1e-5, 1e-3, 0.5]))}
    return Configuration(arrays, static, features=features | {title})


def sample_group(rng: np.random.Generator) -> Configuration:
    """One example, or a batch of them."""
    image, title = IMAGES[int(rng.integers(len(IMAGES)))]
    lead = [(), (2,), (1, 2)][rng.integers(3)]
    groups = int(rng.choice([1, 2] if len(image) == 1 else [1, 2, 3, 6]))
    arrays, features = with_parameters(rng, (*lead, *image), (6,))
    static = {"groups": groups, "batch_axes": len(lead), "epsilon": float(rng.choice([1e-5, 1e-3, 0.5]))}
    holds = {"instance normalisation": groups == 6, "one group": groups == 1, f"{len(lead)} batch axes": True}
    return Configuration(arrays, static, features=features | held(holds) | {title})


PARAMETERS = "scale", "bias"
NOT_FOUR = (*NOT_FLOATING, *ones((), (1,), (3,), (3, 4)))
BATCH_NORM = Proof(
    batch_norm,
    plain_batch_norm,
    examples=[
        normal({"axes": -2}, x=(5, 4), scale=(4,), bias=(4,)),
        normal({"axes": (-4, -3, -2), "epsilon": 0.1}, "images, no bias", x=(2, 2, 3, 2), scale=(2,)),
        normal({"axes": (-3, -1)}, "channels inside", x=(3, 2, 2)),
    ],
    parameters=PARAMETERS,
    sample=sample_batch,
    covers=SIZES | GIVEN | {title for _, _, title in BATCHES},
    tiny=normal({"axes": -2}, x=(4, 2), scale=(2,), bias=(2,)),
    forms=[normal({"axes": (0, 1, 2)}, x=(3, 6, 5, 8), scale=(8,), bias=(8,))],
    refused={
        "x": (*NOT_FLOATING, *ones((), (3,), (4, 3))),
        "scale": NOT_FOUR,
        "bias": NOT_FOUR,
        "axes": (2, -3, (1, -1), (), 1.0, "x", None),
        "epsilon": NOT_EPSILON,
    },
    cancels=True,
)
GROUP_NORM = Proof(
    group_norm,
    plain_group_norm,
    examples=[
        normal({"groups": 2}, x=(3, 2, 4), scale=(4,), bias=(4,)),
        normal({"groups": 3, "batch_axes": 1, "epsilon": 0.1}, "batch, no bias", x=(2, 4, 6), scale=(6,)),
        normal({"groups": 4}, "instance normalisation", x=(4, 2, 4)),
    ],
    parameters=PARAMETERS,
    sample=sample_group,
    covers=SIZES
    | GIVEN
    | {title for _, title in IMAGES}
    | {"instance normalisation", "one group", "0 batch axes", "1 batch axes", "2 batch axes"},
    tiny=normal({"groups": 2}, x=(2, 2, 4), scale=(4,), bias=(4,)),
    forms=[normal({"groups": 2}, x=(6, 5, 8), scale=(8,), bias=(8,))],
    refused={
        "x": (*NOT_FLOATING, *ones((), (3,), (4, 3))),
        "scale": NOT_FOUR,
        "bias": NOT_FOUR,
        "groups": (*COUNTS, 3, 8),
        "batch_axes": (None, *NOT_INTEGERS, -1, 3, 4),
        "epsilon": NOT_EPSILON,
    },
    cancels=True,
)
