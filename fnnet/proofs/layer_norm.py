"""The proofs of `fnnet.layer_norm` and `fnnet.rms_norm`."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.proofs.draws import held, normal
from fnnet.proofs.proof import Arrays, Configuration, Proof
from fnnet.proofs.refused import NOT_FLOATING, NOT_NUMBERS, ones
from fnnet.rules.layer_norm import layer_norm, rms_norm

# Axes of 4 entries or 1: of 2 or 3 entries, n is fixed or nearly so, and the gradient is what rounding leaves.
SHAPES = ((5,), (4, 5), (4, 1, 5), (0, 4), (1, 4, 5), (5, 1), (1, 4, 4, 4))
NOT_EPSILON = (None, True, -1e-5, float("nan"), float("inf"), *NOT_NUMBERS)


def plain_layer_norm(
    x: Any, scale: Any = None, bias: Any = None, *, axes: int | Sequence[int] = -1, epsilon: float = 1e-5
) -> Any:
    """By the mean and the variance of jax.numpy."""
    y = (x - jnp.mean(x, axes, keepdims=True)) / jnp.sqrt(jnp.var(x, axes, keepdims=True) + epsilon)
    y = y if scale is None else y * _spread(scale, axes, x)
    return y if bias is None else y + _spread(bias, axes, x)


def plain_rms_norm(x: Any, scale: Any = None, *, axes: int | Sequence[int] = -1, epsilon: float = 1e-5) -> Any:
    """By its formula."""
    y = x / jnp.sqrt(jnp.mean(x * x, axes, keepdims=True) + epsilon)
    return y if scale is None else y * _spread(scale, axes, x)


def _spread(parameter: Any, axes: int | Sequence[int], x: Any) -> Any:
    """With size 1 along the other axes of x."""
    named = {axis % x.ndim for axis in (axes if isinstance(axes, Sequence) else (axes,))}
    return parameter.reshape([size if axis in named else 1 for axis, size in enumerate(x.shape)])


def drawn_x(rng: np.random.Generator, shape: Sequence[int]) -> tuple[Callable, frozenset[str]]:
    """Rows of one of several sizes, perhaps far from 0, perhaps with many equal entries; and the features."""
    size, far, tied = float(rng.choice([0.1, 1.0, 20.0])), rng.random() < 0.3, rng.random() < 0.3

    def values(rng: np.random.Generator) -> np.ndarray:
        drawn = np.asarray(rng.integers(-1, 2, shape) * 1.0 if tied else rng.normal(size=shape) * size)
        return drawn + 2 * size * far

    return values, held({"ties": tied, "far from 0": far, f"size {size:g}": not tied, "no entries": 0 in shape})


def sampler(*names: str) -> Callable[[np.random.Generator], Configuration]:
    """Along one axis or two, with and without each of these parameters."""

    def sample(rng: np.random.Generator) -> Configuration:
        shape = SHAPES[rng.integers(len(SHAPES))]
        first = int(rng.integers(-len(shape), len(shape))) if rng.random() < 0.4 else -1
        axes = (first, (first + 1) % len(shape)) if len(shape) > 1 and rng.random() < 0.3 else (first,)
        if "bias" not in names and math.prod(shape[axis] for axis in axes) == 1:  # n is 1 but for rounding
            shape, first, axes = SHAPES[0], -1, (-1,)
        named = sorted(axis % len(shape) for axis in axes)
        sizes = [shape[axis] for axis in named]
        values, features = drawn_x(rng, shape)
        given = [name for name in names if rng.random() < 0.7]
        epsilon = float(rng.choice([1e-5, 1e-3, 0.5]))

        def arrays(rng: np.random.Generator) -> Arrays:
            return {"x": values(rng)} | {name: rng.normal(size=sizes) for name in given}

        holds = {name: name in given for name in names} | {f"no {name}": name not in given for name in names}
        holds |= {"two axes": len(axes) > 1, "inner axis": named[-1] != len(shape) - 1, "size-1 axis": 1 in sizes}
        static = {"axes": first if len(axes) == 1 else axes, "epsilon": epsilon}
        return Configuration(arrays, static, features=features | held(holds))

    return sample


def proof_of(function: Callable, reference: Callable, *names: str) -> Proof:
    """The proof of a norm along axes with these parameters."""

    def sized(*sizes: int) -> dict[str, Any]:
        return dict.fromkeys(names, sizes)

    sizes = {"size 0.1", "size 1", "size 20", "ties", "far from 0", "no entries"}
    bad: dict[str, Sequence[Any]] = {"x": (*NOT_FLOATING, *ones((), (3,)))}
    bad |= dict.fromkeys(names, (*NOT_FLOATING, *ones((), (1,), (3,), (3, 4))))
    bad |= {"axes": (2, -3, (1, -1), (), 1.0, "x", None), "epsilon": NOT_EPSILON}
    return Proof(
        function,
        reference,
        examples=[
            normal(x=(3, 4), **sized(4)),
            normal({"axes": (1, 2), "epsilon": 0.1}, "two axes", x=(2, 3, 2), **sized(3, 2)),
            normal({"axes": 0}, "axis 0, no parameters", x=(4, 2)),
        ],
        parameters=names,
        sample=sampler(*names),
        covers=frozenset(sizes | {"two axes", "inner axis", "size-1 axis", *names, *(f"no {name}" for name in names)}),
        tiny=normal(x=(2, 4), **sized(4)),
        forms=[normal(x=(8,), **sized(8))],
        refused=bad,
        cancels=True,
    )


LAYER_NORM = proof_of(layer_norm, plain_layer_norm, "scale", "bias")
RMS_NORM = proof_of(rms_norm, plain_rms_norm, "scale")
