"""What a loss makes of a network's outputs, recognised by its numbers.

A loss may be any function. It is one of these if it gives each example of the trace the same loss, as a sum or a mean
over the places of an example: one place, or the tokens of a sequence. A rule's name decides where several fit.

    classes     l = - sum_c t_c log p_c         (1)   p: softmax of the outputs, or what the outputs themselves give
    yes or no   l = (1) for each output         (2)   c: no and yes;  p: sigmoid of the output, or the output itself
    squares     l = sum_i (a_i - y_i)^2         (3)   or half of it
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import jax.numpy as jnp
import numpy as np

from fnnet.core.partials import is_partial
from fnnet.tracing.numbers import numbers
from fnnet.training.last_layer_loss import LinearSoftmaxCrossEntropy

ROUNDINGS, LEAST = 8, 1e-5  # how far two equal losses may be apart: so many roundings of the dtype, at least LEAST


@dataclass(frozen=True, eq=False)
class Classes:
    """(1), or (2) with the classes no and yes; in double precision.

    Args:
        logs: log p, (examples, places..., classes).
        targets: t, of the same shape; NaN for a label that is no class.
        yes_or_no: Whether it is (2).
        options: "label_smoothing", "class_weights", "ignore_index", "positive_weights", where the loss was given them.
        mean: Whether the loss is the mean over the places, not their sum.
    """

    logs: np.ndarray
    targets: np.ndarray
    yes_or_no: bool
    options: Mapping[str, Any]
    mean: bool = False

    @property
    def places(self) -> np.ndarray:
        """The loss of each place, (examples, places...)."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.where(self.targets == 0, 0.0, -self.targets * self.logs).sum(-1)

    @property
    def losses(self) -> np.ndarray:
        """The loss of each example."""
        return _joined(self.places, self.mean)


@dataclass(frozen=True, eq=False)
class Squares:
    """(3), in double precision.

    Args:
        outputs: a, (examples, ...).
        targets: y, of the same shape.
        half: Whether the loss is half of it.
        mean: Whether it is the mean over the entries, not their sum.
    """

    outputs: np.ndarray
    targets: np.ndarray
    half: bool
    mean: bool = False

    @property
    def losses(self) -> np.ndarray:
        """The loss of each example."""
        return _joined((self.outputs - self.targets) ** 2, self.mean) * (0.5 if self.half else 1.0)


Reading = Classes | Squares

_FOUND: WeakKeyDictionary[Any, Reading | None] = WeakKeyDictionary()  # a page asks once for each example


def reading_of(trace: Any) -> Reading | None:
    """How the trace's loss reads the outputs; None if it is none of these, or if several fit."""
    if trace not in _FOUND:
        _FOUND[trace] = _found(trace)
    return _FOUND[trace]


def _found(trace: Any) -> Reading | None:
    step = trace.steps[-1]
    outputs, labels, losses = trace.outputs.wide, trace.y.array, np.atleast_1d(step.value.wide)
    if trace.batch is None:
        outputs, labels = outputs[None], labels[None]
    rules = {page.rule for page in step.pages}
    rounding = max(ROUNDINGS * float(jnp.finfo(step.value.array.dtype).eps), LEAST)
    allowed = rounding * (np.abs(losses) + trace.outputs.largest)
    fitting: dict[str, Reading] = {}
    candidates = _candidates(outputs, labels, _options(step.layer))
    for name, make in sorted(candidates, key=lambda candidate: candidate[0] not in rules):
        with np.errstate(all="ignore"):
            reading = make()
            both = [one for one in (reading, replace(reading, mean=True)) if _are_equal(one.losses, losses, allowed)]
        if both and name in rules:
            return both[0]
        if both:
            fitting.setdefault(name, both[0])
    return next(iter(fitting.values())) if len(fitting) == 1 else None


def _candidates(outputs: np.ndarray, labels: np.ndarray, options: Mapping) -> list[tuple[str, Callable[[], Reading]]]:
    """What the loss might be, as a sum over the places: the name of its rule, and what computes it when it is tried."""
    count = outputs.shape[-1] if outputs.ndim > 1 else 0
    if count == 1 and labels.shape == outputs.shape[:-1]:
        labels = labels[..., None]
    are_classes = labels.dtype.kind in "iu" and labels.shape == outputs.shape[:-1]
    if not count or not (are_classes or labels.shape == outputs.shape):
        return []
    y = labels if are_classes else numbers("y", labels).wide

    def of_classes(logs: np.ndarray) -> Classes:
        rows = _one_hot(labels, count) if are_classes else y
        return Classes(logs, _weighted(rows, labels, options), False, options)

    def of_answers(no: np.ndarray, yes: np.ndarray) -> Classes:
        weights = np.asarray(options.get("positive_weights", 1.0), float)
        return Classes(np.stack([no, yes], -1), np.stack([1 - y, y * weights], -1), True, options)

    found: list[tuple[str, Callable[[], Reading]]] = []
    if count > 1:
        found += [
            ("softmax_cross_entropy", lambda: of_classes(_log_softmax(outputs))),
            ("cross_entropy", lambda: of_classes(np.log(outputs))),
            ("negative_log_likelihood", lambda: of_classes(outputs)),
        ]
    if not are_classes:
        found += [
            (
                "sigmoid_binary_cross_entropy",
                lambda: of_answers(-np.logaddexp(0, outputs), -np.logaddexp(0, -outputs)),
            ),
            ("binary_cross_entropy", lambda: of_answers(np.log1p(-outputs), np.log(outputs))),
            ("squared_error", lambda: Squares(outputs, y, half=True)),
            ("squared_error", lambda: Squares(outputs, y, half=False)),
        ]
    return found


def _options(loss: Any) -> dict[str, Any]:
    """The options that a loss was given with `functools.partial`, or as a field."""
    if isinstance(loss, LinearSoftmaxCrossEntropy):
        return loss.options
    return _options(loss.func) | dict(loss.keywords) if is_partial(loss) else {}


def _one_hot(labels: np.ndarray, count: int) -> np.ndarray:
    rows = (labels[..., None] == np.arange(count)).astype(float)
    return np.where(((labels < 0) | (labels >= count))[..., None], np.nan, rows)


def _weighted(rows: np.ndarray, labels: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    """t: the labels' probabilities, smoothed, times the class weights; 0 where ignored."""
    e, weights = options.get("label_smoothing") or 0.0, options.get("class_weights")
    smoothed = (1 - e) * rows + e / rows.shape[-1]
    smoothed = smoothed if weights is None else smoothed * np.asarray(weights, float)
    ignored = options.get("ignore_index")
    return smoothed if ignored is None else np.where((labels == ignored)[..., None], 0.0, smoothed)


def _log_softmax(outputs: np.ndarray) -> np.ndarray:
    shifted = outputs - outputs.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _joined(places: np.ndarray, mean: bool) -> np.ndarray:
    """One number an example."""
    rows = places.reshape(len(places), math.prod(places.shape[1:]))  # not -1, which an empty batch does not tell
    return rows.sum(1) / max(1, rows.shape[1]) if mean else rows.sum(1)


def _are_equal(found: np.ndarray, losses: np.ndarray, allowed: np.ndarray) -> bool:
    """Whether they are the same numbers, some of them finite."""
    if found.shape != losses.shape or not np.isfinite(losses).any():
        return False
    same = (np.abs(found - losses) <= allowed) | (found == losses) | (np.isnan(found) & np.isnan(losses))
    return bool(same.all())
