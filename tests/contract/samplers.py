"""Random configurations of dense layers, activations, softmax and losses."""

from collections.abc import Callable, Sequence

import numpy as np

from contract.cases import Draw
from contract.window_samplers import LEADING

# Few, since each shape is a program.
SHAPES = ((), (1,), (5,), (4, 3), (2, 1, 3), (0, 3))
ROWS = ((5,), (3, 2), (2, 2, 5), (0, 3), (4, 1))
LABELS = ((None, None), ("int32", None), ("int32", -1), ("uint8", 255))  # dtype, None for rows; ignore_index


def normal(static: dict | None = None, **shapes: Sequence[int]) -> Draw:
    """Normal arrays of these shapes."""
    return Draw(static or {}, lambda rng: {name: rng.normal(size=shape) for name, shape in shapes.items()})


def dense(rng: np.random.Generator) -> Draw:
    lead = LEADING[rng.integers(len(LEADING))]
    inputs, outputs = int(rng.choice([1, 2, 5])), int(rng.choice([1, 3]))
    biased = bool(rng.integers(2))
    shapes = {"x": (*lead, inputs), "kernel": (inputs, outputs)} | ({"bias": (outputs,)} if biased else {})
    features = {f"{min(len(lead), 2)} leading axes", "bias" if biased else "no bias"}
    features |= {"empty leading axis"} if 0 in lead else set()
    features |= {"size-1 axis"} if 1 in (inputs, outputs, *lead) else set()
    return Draw({}, normal(None, **shapes).arrays, frozenset(features))


def elementwise(**choices: Sequence) -> Callable[[np.random.Generator], Draw]:
    """Sampler of an activation, each static keyword one of its choices."""

    def sample(rng: np.random.Generator) -> Draw:
        shape = SHAPES[rng.integers(len(SHAPES))]
        static = {name: values[int(rng.integers(len(values)))] for name, values in choices.items()}
        values, features = _logits(rng, shape)
        return Draw(static, lambda rng: {"z": values(rng)}, features)

    return sample


def along_axes(rng: np.random.Generator) -> Draw:
    """Sampler of softmax."""
    shape = SHAPES[rng.integers(1, len(SHAPES))]
    axis = int(rng.integers(-len(shape), len(shape)))
    if shape[axis] == 0:  # a softmax over nothing
        axis = -1
    values, features = _logits(rng, shape)
    features |= {"axis from the front"} if axis >= 0 else set()
    features |= {"inner axis"} if axis % len(shape) != len(shape) - 1 else set()
    if len(shape) > 1 and 0 not in shape and rng.random() < 0.3:
        both = (axis, (axis + 1) % len(shape) - len(shape))
        return Draw({"axis": both}, lambda rng: {"z": values(rng)}, features | {"two axes"})
    return Draw({"axis": axis}, lambda rng: {"z": values(rng)}, features)


def over_classes(
    prediction: str, positive: str | None = None, *, smoothing: bool = False, weighing: bool = False
) -> Callable[[np.random.Generator], Draw]:
    """Sampler of a loss over classes.

    Args:
        prediction: Name of the first argument.
        positive: None for logits, "probabilities" or "log-probabilities".
        smoothing: Whether the loss takes label_smoothing.
        weighing: Whether it takes class_weights and ignore_index.
    """

    def sample(rng: np.random.Generator) -> Draw:
        *lead, classes = ROWS[rng.integers(len(ROWS))]
        dtype, ignored = LABELS[rng.integers(len(LABELS) if weighing else 2)]
        smoothed, weights = smoothing and bool(rng.integers(2)), weighing and bool(rng.integers(2))
        static = ({"label_smoothing": 0.1} if smoothed else {}) | ({} if ignored is None else {"ignore_index": ignored})
        logits, features = _logits(rng, (*lead, classes), most=30.0)

        def arrays(rng: np.random.Generator) -> dict:
            drawn = {prediction: logits(rng)}
            if positive is not None:
                drawn[prediction] = _distribution(drawn[prediction] / 10)
            if positive == "log-probabilities":
                drawn[prediction] = np.log(drawn[prediction])
            if dtype is None:
                drawn["labels"] = _distribution(rng.normal(size=(*lead, classes)))
            else:
                drawn["labels"] = rng.integers(0, classes, lead).astype(dtype)
            if ignored is not None:
                drawn["labels"] = np.where(rng.random(lead) < 0.3, np.array(ignored, dtype), drawn["labels"])
            return drawn | ({"class_weights": rng.uniform(0.1, 2, classes)} if weights else {})

        holds = {"rows": dtype is None, "integers": dtype is not None, "smoothing": smoothed, "class weights": weights}
        holds |= {"ignore_index": ignored is not None, "one class": classes == 1}
        return Draw(static, arrays, features | {name for name, yes in holds.items() if yes})

    return sample


def pairs(
    prediction: str, target: str, kind: str = "numbers", weights: str | None = None
) -> Callable[[np.random.Generator], Draw]:
    """Sampler of a loss that compares two rows, perhaps with weights of that name.

    `kind` is "numbers", "logits" or "probabilities".
    """

    def sample(rng: np.random.Generator) -> Draw:
        *lead, entries = ROWS[rng.integers(len(ROWS))]
        shared = bool(lead) and bool(rng.integers(2))
        logits, features = _logits(rng, (*lead, entries), most=30.0)
        hard = bool(rng.integers(2))
        weighing = weights is not None and bool(rng.integers(2))
        weights_shape = [(), (entries,), (*lead, entries)][rng.integers(3)] if weighing else ()

        def arrays(rng: np.random.Generator) -> dict:
            given = {weights: rng.uniform(0.1, 5, weights_shape)} if weighing else {}
            return rows(rng) | given

        def rows(rng: np.random.Generator) -> dict:
            shape = (entries,) if shared else (*lead, entries)
            drawn = rng.uniform(0.01, 0.99, (*lead, entries)) if kind == "probabilities" else logits(rng)
            if kind == "numbers":
                return {prediction: drawn, target: rng.normal(size=shape)}
            return {prediction: drawn, target: rng.integers(0, 2, shape).astype(float) if hard else rng.random(shape)}

        holds = {"one target for all": shared, "weights": weighing, "one weight": weighing and not weights_shape}
        return Draw({}, arrays, features | {name for name, yes in holds.items() if yes})

    return sample


def _logits(rng, shape, most: float = 50.0):
    """Values of one of several sizes, many of them exactly 0 or equal to each other."""
    size, tied = float(rng.choice([1e-3, 1.0, 5.0, most])), bool(rng.random() < 0.4)

    def values(rng: np.random.Generator) -> np.ndarray:
        return rng.integers(-2, 3, shape).astype(float) if tied else rng.normal(size=shape) * size

    features = {"ties"} if tied else {f"size {size:g}"}
    return values, frozenset(features | ({"size-1 axis"} if 1 in shape else set()))


def _distribution(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(-1, keepdims=True, initial=-np.inf))
    return e / e.sum(-1, keepdims=True)
