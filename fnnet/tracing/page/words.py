"""The end of a trace in words and probabilities: what the network answers, and how its loss comes about."""

import math
from typing import Any

import numpy as np

from fnnet.tracing.numbers import numbers
from fnnet.tracing.page.readings import Classes, Squares, reading_of

EXAMPLES, TOKENS = 8, 32  # of which the answers are listed
ALL, MOST = 20, 8  # so many classes are listed all; of more, so many of the most probable
LISTED = 4  # differences in a sentence


def loss_in_words(trace: Any, example: int = 0) -> str:
    """The loss of one example in a sentence or two, with its numbers; empty for a loss that is not recognised."""
    reading = reading_of(trace)
    if reading is None:
        return ""
    outputs, labels = (a if trace.batch is not None else a[None] for a in (trace.outputs.wide, trace.y.array))
    if (said := _not_a_number(trace, reading, outputs[example], labels[example], example)) is not None:
        return said
    if isinstance(reading, Squares):
        return _squares(reading, example)
    if reading.yes_or_no:
        return _yes_or_no(reading, example)
    if reading.places[example].size == 1:
        return _one_class(reading, labels[example], example)
    return _places(reading, trace, example)


def answers(trace: Any) -> list[dict[str, Any]]:
    """What the network answers, for the first 8 examples, and in sequences for the first 32 tokens of each.

    Each answer has "example" and "token" (None where there is none), "label", "prediction", and, where the loss is one
    over classes or over yes-or-no answers, "classes" and "probabilities", which belong together: of more than 20
    classes the 8 most probable ones and the label. For yes-or-no answers "classes" are the outputs' indices,
    "probabilities" those of a yes, and "label" and "prediction" lists, an entry an output. Elsewhere both are
    empty. A label or a prediction that is no class, or not finite, is None. Every number can be written as JSON.
    """
    outputs, labels, batched = trace.outputs.wide, trace.y.array, trace.batch is not None
    if not batched:
        outputs, labels = outputs[None], labels[None]
    reading = reading_of(trace)
    classes = reading if isinstance(reading, Classes) else None
    are_classes = labels.dtype.kind in "iu" and labels.shape == outputs.shape[:-1]
    if (classes is None and not are_classes) or outputs.ndim > 3 or not outputs.size:
        return []
    found = []
    for place in np.ndindex(*(min(n, most) for n, most in zip(outputs.shape[:-1], (EXAMPLES, TOKENS), strict=False))):
        label = labels[place]
        where = {"example": place[0] if batched else None, "token": place[1] if len(place) > 1 else None}
        if classes is None:
            answer = _of_classes(outputs[place], None, label)
        else:
            with np.errstate(over="ignore"):
                shares = np.exp(classes.logs[place])
            yes_or_no = classes.yes_or_no
            answer = _of_outputs(shares[..., 1], label) if yes_or_no else _of_classes(outputs[place], shares, label)
        found.append(where | answer)
    return found


def _of_classes(outputs: np.ndarray, shares: np.ndarray | None, label: Any) -> dict[str, Any]:
    """The answer of one place, one class of several."""
    right = _class_of(label, len(outputs))
    prediction = None if np.isnan(outputs).any() else int(outputs.argmax())
    shown: list[int] = []
    if shares is not None and np.isfinite(shares).all():
        shown = list(range(len(shares)))
        if len(shares) > ALL:
            most = np.argsort(-shares, kind="stable")[:MOST].tolist()
            shown = most + [right] * (right is not None and right not in most)
    probabilities = [float(shares[c]) for c in shown] if shares is not None else []
    return {"label": right, "prediction": prediction, "classes": shown, "probabilities": probabilities}


def _of_outputs(shares: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """The answer of one place, a yes or no for each output."""
    known = bool(np.isfinite(shares).all())
    return {
        "label": [one if math.isfinite(one) else None for one in np.reshape(label, -1).astype(float).tolist()],
        "prediction": (shares >= 0.5).astype(int).tolist() if known else None,
        "classes": list(range(len(shares))) if known else [],
        "probabilities": shares.tolist() if known else [],
    }


def _class_of(label: Any, count: int) -> int | None:
    """The class that a label is, as a number or a one-hot row."""
    if np.ndim(label) == 0:
        return int(label) if 0 <= label < count else None
    row = np.asarray(label, float)
    return int(row.argmax()) if row.max() == 1 and np.count_nonzero(row) == 1 else None


# Sentences.


def _not_a_number(trace: Any, reading: Any, outputs: np.ndarray, label: np.ndarray, example: int) -> str | None:
    """Why there is no sum of finite numbers to tell; None where there is."""
    loss = float(np.atleast_1d(trace.steps[-1].value.wide)[example])
    so = f"so the loss is {'NaN' if math.isnan(loss) else 'infinite'}."
    kind = "target" if isinstance(reading, Squares) else "label"
    if np.isnan(outputs).any():
        return f"An output is NaN, {so}" if not math.isfinite(loss) else "An output is NaN."
    if label.dtype.kind in "iu" and np.isnan(reading.targets[example]).any():
        return f"A label is none of the classes 0 to {outputs.shape[-1] - 1}, {so}"
    if math.isfinite(loss):
        return None
    if np.isinf(outputs).any():
        return f"An output is infinite, {so}"
    given = numbers(kind, label).wide
    if not np.isfinite(given).all():
        return f"A {kind} is {'NaN' if np.isnan(given).any() else 'infinite'}, {so}"
    if isinstance(reading, Classes) and math.isnan(loss):
        return f"An output is no probability, {so}"
    return None


def _one_class(reading: Classes, label: np.ndarray, example: int) -> str:
    """One class of several is right."""
    logs, targets = (a[example].reshape(-1, a.shape[-1])[0] for a in (reading.logs, reading.targets))
    loss, right = f"{reading.losses[example]:.4g}", _class_of(np.squeeze(label), len(logs))
    smoothing, has_weights = reading.options.get("label_smoothing"), reading.options.get("class_weights") is not None
    if reading.options.get("ignore_index") is not None and not targets.any():
        return f"The label {np.squeeze(label)} is ignored, so the loss is 0."
    if right is None or (smoothing and has_weights):
        given = _labels_give(reading)
        return f"{given} each of {len(logs)} classes a weight t; the loss is the sum of -t log p, {loss}."
    probability = _probability(logs[right])
    said = f"The network gives class {right}, the right one, a probability of {probability}"
    if smoothing:
        other = targets[(right + 1) % len(targets)]
        said += (
            f". With label smoothing {smoothing:g} its target t is {targets[right]:.4g} and that of each other class "
            f"{other:.4g}; the loss is the sum of -t log p, {loss}."
        )
    elif has_weights:
        weight = f"{targets[right]:.4g}"
        said += f"; its class weight is {weight}, and the loss is {weight} times {_minus_log(probability)} = {loss}."
    else:
        said += f"; the loss is {_minus_log(probability)} = {loss}."
    if np.isnan(logs).any():  # of an output that is no probability
        return said
    most = int(logs.argmax())
    return said if most == right else f"{said} The most probable class is {most}, with {_probability(logs[most])}."


def _places(reading: Classes, trace: Any, example: int) -> str:
    """One class at each of several places, such as the next token."""
    targets, losses = reading.targets[example], reading.places[example]
    counts = targets.any(-1)
    count, total = int(counts.sum()), counts.size
    if not count:
        return f"All {total} labels are ignored, so the loss is 0."
    loss, joined = f"{reading.losses[example]:.4g}", "mean" if reading.mean else "sum"
    answer, places = _names(trace)
    over = f"{count} {places}" if count == total else f"{count} of {total} {places} (the other labels are ignored)"
    if _options(reading) or set(np.unique(targets)) != {0.0, 1.0}:
        given = _labels_give(reading)
        return f"{given} each class a weight t; the loss is the {joined} over {over} of the sum of -t log p, {loss}."
    probability = _probability(-float(losses.sum()) / count)
    said = f"The network gives {answer} a probability of {probability} in the geometric mean over {over}; the loss is"
    if not reading.mean:
        return f"{said} the sum of -log p, {count} times {_minus_log(probability)} = {loss}."
    if count == total:
        return f"{said} the mean of -log p, {_minus_log(probability)} = {loss}."
    return f"{said} the sum of -log p divided by {total}, {loss}."


def _names(trace: Any) -> tuple[str, str]:
    """What the answer at a place is, and what the places are: tokens if the input has as many integers."""
    x, y = trace.x.array, trace.y.array
    if x.dtype.kind not in "iu" or x.shape != y.shape:
        return "the right class", "places"
    is_next = np.array_equal(x[..., 1:], y[..., :-1])
    return "the next token" if is_next else "the right class", "tokens"


def _yes_or_no(reading: Classes, example: int) -> str:
    """Outputs that are each a yes or a no."""
    logs, targets = (a[example].reshape(-1, 2) for a in (reading.logs, reading.targets))
    loss, joined = f"{reading.losses[example]:.4g}", "mean" if reading.mean else "sum"
    weights = reading.options.get("positive_weights") is not None
    if (np.count_nonzero(targets, axis=-1) != 1).any():
        over = "" if len(logs) == 1 else f", as a {joined} over {len(logs)} outputs"
        times = "w * " * weights
        return f"A target y is neither 0 nor 1; the loss is -{times}y log p - (1 - y) log(1 - p){over}, {loss}."
    right = targets.argmax(-1)
    if len(logs) == 1:
        probability, weight = _probability(logs[0, right[0]]), targets[0, right[0]]
        said = f"The network gives the answer {('no', 'yes')[right[0]]}, the right one, a probability of {probability}"
        times = f"{weight:.4g} times " if weight != 1 else ""
        return f"{said}; the loss is {times}{_minus_log(probability)} = {loss}."
    answered = f"{int((logs.argmax(-1) == right).sum())} of {len(logs)} yes-or-no answers are right"
    counted = ", where a yes counts by positive_weights" * weights
    return f"{answered}; the loss is the {joined} of -log p of the right answers{counted}, {loss}."


def _squares(reading: Squares, example: int) -> str:
    """Outputs beside their targets."""
    outputs, targets = reading.outputs[example].ravel(), reading.targets[example].ravel()
    apart, loss = outputs - targets, f"{reading.losses[example]:.4g}"
    half = "half " * reading.half
    if len(apart) == 1:
        product = f"{'0.5 * ' * reading.half}({apart[0]:.4g})^2"
        return (
            f"The output is {outputs[0]:.4g} and its target {targets[0]:.4g}; the loss is {half}the square of the "
            f"difference, {product} = {loss}."
        )
    if len(apart) <= LISTED:
        *most, last = (f"{one:.4g}" for one in apart)
        size = f"{', '.join(most)} and {last}"
    else:
        size = f"{math.sqrt(np.mean(apart**2)):.4g} (rms)"
    joined = "mean" if reading.mean else "sum"
    return f"The outputs differ from their targets by {size}; the loss is {half}the {joined} of the squares, {loss}."


def _labels_give(reading: Classes) -> str:
    return f"The labels, {_options(reading)}, give" if _options(reading) else "The labels give"


def _options(reading: Classes) -> str:
    """Smoothing and weights in words."""
    smoothing, weights = reading.options.get("label_smoothing"), reading.options.get("class_weights")
    parts = [f"smoothed by {smoothing:g}"] if smoothing else []
    parts += ["times the class weights"] if weights is not None else []
    return " and ".join(parts)


def _probability(log: float) -> str:
    """A probability, given as its logarithm, in so many digits that its logarithm can be computed from them."""
    if math.isnan(log) or abs(log) > 700:
        return "0" if log == -math.inf else f"exp({log:.4g})"
    rest = -math.expm1(log)
    if rest < 0:  # an output that is more than 1
        return f"{math.exp(log):.4g}"
    if rest < 1e-4:
        return f"1 - {rest:.4g}" if rest > 0 else "1"
    return f"{math.exp(log):.{4 - math.ceil(math.log10(rest))}g}"


def _minus_log(probability: str) -> str:
    return f"-log({probability})" if " " in probability else f"-log {probability}"
