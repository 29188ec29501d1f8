"""Random arrays and shapes that the samplers of several rules share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fnnet.proofs.proof import Arrays, Configuration

# Few, since each shape is a program.
LEADING = ((), (), (2,), (3,), (1,), (2,), (3,), (2, 3), (1, 2, 2), (3, 1), (0,), (2, 0))
SHAPES = ((), (1,), (5,), (4, 3), (2, 1, 3), (0, 3))
ROWS = ((5,), (3, 2), (2, 2, 5), (0, 3), (4, 1))
# Features: of `logits` of these shapes and rows, and of `pairs`.
ALONG = frozenset({"1 axes", "2 axes", "3 axes", "no entries", "ties", "size-1 axis"})
SIZES = ALONG | {"size 0.001", "size 1", "size 5", "size 50"}
PAIRED = ALONG | {"one target for all"}


def each(**draws: Callable[[np.random.Generator], Any]) -> Callable[[np.random.Generator], Arrays]:
    """Arrays by name, each drawn by its own function."""
    return lambda rng: {name: draw(rng) for name, draw in draws.items()}


def gaussian(*shape: int) -> Callable[[np.random.Generator], Any]:
    """Normal numbers."""
    return lambda rng: rng.normal(size=shape)


def normal(static: Mapping[str, Any] | None = None, title: str = "", **shapes: Sequence[int]) -> Configuration:
    """Normal arrays of these shapes."""
    return Configuration(gaussians(shapes), static or {}, title)


def gaussians(shapes: Mapping[str, Sequence[int]]) -> Callable[[np.random.Generator], Arrays]:
    """Normal arrays of these shapes, without static values."""
    return each(**{name: gaussian(*shape) for name, shape in shapes.items()})


def logits(
    rng: np.random.Generator, shape: Sequence[int], most: float = 50.0
) -> tuple[Callable[[np.random.Generator], np.ndarray], frozenset[str]]:
    """Values of one of several sizes, many of them exactly 0 or equal to each other; and the features."""
    size, tied = float(rng.choice([1e-3, 1.0, 5.0, most])), bool(rng.random() < 0.4)

    def values(rng: np.random.Generator) -> np.ndarray:
        return np.asarray(rng.integers(-2, 3, shape) * 1.0 if tied else rng.normal(size=shape) * size)

    features = {"ties" if tied else f"size {size:g}", "no entries" if 0 in shape else f"{len(shape)} axes"}
    return values, frozenset(features | ({"size-1 axis"} if 1 in shape else set()))


def distribution(logits: np.ndarray) -> np.ndarray:
    """Their softmax."""
    e = np.exp(logits - logits.max(-1, keepdims=True, initial=-np.inf))
    return e / e.sum(-1, keepdims=True)


def probabilities(rows: int, classes: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Rows of probabilities, none of them near 0."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        drawn = rng.uniform(0.1, 1, (rows, classes))
        return drawn / drawn.sum(-1, keepdims=True)

    return draw


def pairs(
    prediction: str, target: str, kind: str = "numbers", weights: str | None = None
) -> Callable[[np.random.Generator], Configuration]:
    """Sampler of a loss that compares two rows, perhaps with weights of that name.

    `kind` is "numbers", "logits" or "probabilities".
    """

    def sample(rng: np.random.Generator) -> Configuration:
        *lead, entries = ROWS[rng.integers(len(ROWS))]
        shared = bool(lead) and bool(rng.integers(2))
        values, features = logits(rng, (*lead, entries), most=30.0)
        hard = bool(rng.integers(2))
        weighing = weights is not None and bool(rng.integers(2))
        weights_shape = [(), (entries,), (*lead, entries)][rng.integers(3)] if weighing else ()

        def arrays(rng: np.random.Generator) -> Arrays:
            given = {weights: rng.uniform(0.1, 5, weights_shape)} if weights and weighing else {}
            return rows(rng) | given

        def rows(rng: np.random.Generator) -> Arrays:
            shape = (entries,) if shared else (*lead, entries)
            drawn = rng.uniform(0.01, 0.99, (*lead, entries)) if kind == "probabilities" else values(rng)
            if kind == "numbers":
                return {prediction: drawn, target: rng.normal(size=shape)}
            return {prediction: drawn, target: rng.integers(0, 2, shape).astype(float) if hard else rng.random(shape)}

        holds = {"one target for all": shared, "weights": weighing, "one weight": weighing and not weights_shape}
        holds |= {"hard targets": hard and kind != "numbers"}
        return Configuration(arrays, features=features | held(holds))

    return sample


def fractions(*names: str) -> Configuration:
    """Numbers between 0.1 and 0.9, of shape (2, 3), for a Hessian."""
    return Configuration(each(**dict.fromkeys(names, lambda rng: rng.uniform(0.1, 0.9, (2, 3)))))


def held(holds: Mapping[str, Any]) -> frozenset[str]:
    """The names of what holds."""
    return frozenset(name for name, yes in holds.items() if yes)
