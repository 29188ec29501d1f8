"""What `evaluate` measures besides the loss: numbers that are read and not trained on.

    rank of a label     how many other classes the network prefers; of equal outputs the first is preferred    (1)
    accuracy, top k     the share of labels of rank 0, of rank below k                                         (2)
    confusion           C_ij: examples of class i that were taken for class j                                  (3)
    precision, recall   of class i: C_ii / sum_j C_ji, C_ii / sum_j C_ij                                       (4)
    f1                  of class i: 2 C_ii / (sum_j C_ji + sum_j C_ij)                                         (5)

(4) and (5) are means over the classes that occur as labels or answers, where a quotient 0/0 is 0, as scikit-learn's
average="macro". A metric is a sum over examples, so mini-batches and devices add up, and a quotient at the end.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core.arguments import described
from fnnet.core.suggestions import did_you_mean
from fnnet.layers.protocol import function_name
from fnnet.training.arguments import hashable, takes

NAMES = ("accuracy", "top_5", "precision", "recall", "f1", "confusion", "mean_absolute_error", "mean_squared_error")
RESERVED = ("loss", "epoch", "seconds")  # of the history
Metrics = str | Callable | Sequence[str | Callable] | Mapping[str, str | Callable]


class Metric(NamedTuple):
    """A metric by its name in the results.

    Attributes:
        name: The key in the results.
        sums: sums(outputs, ys, counts) of a mini-batch, where `counts` says of each example whether it counts: arrays
            that may be added up.
        value: What the sums over all examples amount to.
        is_own: Whether it is the caller's function, which gets ignored labels as they are; others get -1 for them.
    """

    name: str
    sums: Callable[[Any, Any, jax.Array], Any]
    value: Callable[[Any], Any]
    is_own: bool = False


def as_metrics(function: str, metrics: Metrics | None) -> tuple[Metric, ...]:
    """The metrics by name; equal ones are the same objects. Raises TypeError or ValueError for what is none."""
    if metrics is None:
        return ()
    if isinstance(metrics, Mapping):
        named = [(str(name), metric) for name, metric in metrics.items()]
        for _, metric in named:
            _name_of(function, metric)
    else:
        several = metrics if isinstance(metrics, Sequence) and not isinstance(metrics, str) else (metrics,)
        named = [(_name_of(function, metric), metric) for metric in several]
    names = [name for name, _ in named]
    for name in names:
        if names.count(name) > 1 or name in RESERVED:
            raise ValueError(f'{function}: metrics need names of their own; write {{"another name": ...}} for {name!r}')
    return tuple(_metric(name, _known(function, metric)) for name, metric in named)


def _name_of(function: str, metric: Any) -> str:
    if isinstance(metric, str):
        return metric
    if not callable(metric):
        raise TypeError(f"{function}: metrics must be names or functions of outputs and ys, not {described(metric)}")
    if not takes(metric, None, None):
        raise TypeError(f"{function}: metrics must take two arguments, metric(outputs, ys), not {described(metric)}")
    hashable(function, "metrics", metric)
    return function_name(metric)


def _known(function: str, metric: Any) -> Any:
    """A name as the metric's name and number; a function as it is."""
    if not isinstance(metric, str):
        return metric
    top = re.fullmatch(r"top[-_ ]?(\d+)", metric.lower())
    name = metric.lower().replace("-", "_")
    if top is not None and int(top[1]) < 1:
        raise ValueError(f"{function}: metric {metric!r} must have a number of 1 or more, as in top_5")
    if top is None and name not in NAMES:
        raise ValueError(f"{function}: there is no metric {metric!r}{did_you_mean(name, NAMES)}")
    return (name, 1) if top is None else ("top", int(top[1]))


@functools.lru_cache(maxsize=256)
def _metric(name: str, known: Any) -> Metric:
    """One object for each: compiled programs are kept by it."""
    if not isinstance(known, tuple):
        return Metric(name, functools.partial(_sum_of_function, name, known), _quotient, True)
    kind, number = known
    if kind in ("accuracy", "top"):
        return Metric(name, functools.partial(_sum_of_ranks, name, number), _quotient)
    if kind in ERRORS:
        return Metric(name, functools.partial(_sum_of_errors, name, ERRORS[kind]), _quotient)
    return Metric(name, functools.partial(_confusion, name), OF_CONFUSION[kind])


def labels_of(outputs: Any, ys: Any) -> jax.Array | None:
    """Class labels (...) in int32 for outputs (..., classes), of integers or rows of probabilities; None of others.

    A last axis of size 1 is no class but a number.
    """
    shape = getattr(outputs, "shape", None)
    if not shape or shape[-1] == 1:
        return None
    if jnp.issubdtype(ys.dtype, jnp.integer) and ys.shape == shape[:-1]:
        return ys.astype(jnp.int32)
    return ys.argmax(-1).astype(jnp.int32) if ys.shape == shape and jnp.issubdtype(ys.dtype, jnp.floating) else None


def preferred(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Of each class whether the network prefers it to the label, (1): of (..., classes). A NaN is preferred."""
    places, label = jnp.arange(outputs.shape[-1], dtype=jnp.int32), labels[..., None]
    own = jnp.take_along_axis(outputs, label.clip(0, outputs.shape[-1] - 1), -1)
    before, after = (places < label) & ~(outputs < own), (places > label) & ~(outputs <= own)
    return before | after


def counted(outputs: jax.Array, labels: jax.Array, counts: jax.Array) -> jax.Array:
    """Which labels count, (...): those of examples that count, if they are classes."""
    of_example = counts.reshape(-1, *(1,) * (labels.ndim - 1))
    return of_example & (labels >= 0) & (labels < outputs.shape[-1])


def ranked_below(k: int, outputs: jax.Array, labels: jax.Array, counts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many labels have a rank (1) below k, and how many count."""
    within = counted(outputs, labels, counts)
    return _number(within & (preferred(outputs, labels).sum(-1, dtype=jnp.int32) < k)), _number(within)


def _sum_of_ranks(name: str, k: int, outputs: Any, ys: Any, counts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(2) as two sums."""
    labels = _classes(name, outputs, ys)
    if k > (classes := outputs.shape[-1]):
        raise ValueError(f"evaluate: metric {name} needs at least {k} classes, and outputs have {classes}")
    return ranked_below(k, outputs, labels, counts)


def _confusion(name: str, outputs: Any, ys: Any, counts: jax.Array) -> jax.Array:
    """(3)."""
    labels, classes = _classes(name, outputs, ys), outputs.shape[-1]
    within = counted(outputs, labels, counts)
    answers = outputs.argmax(-1).astype(jnp.int32)
    places = jnp.where(within, labels, classes)  # beyond the last row: it is dropped
    return jnp.zeros((classes, classes), jnp.float32).at[places, answers].add(1.0, mode="drop")


def _sum_of_errors(name: str, error: Callable, outputs: Any, ys: Any, counts: jax.Array) -> tuple[Any, Any]:
    """Of each entry, and how many entries there are."""
    if getattr(outputs, "shape", None) != ys.shape:
        raise ValueError(
            f"evaluate: metric {name} needs ys of the outputs' shape {getattr(outputs, 'shape', ())}, not {ys.shape}"
        )
    of_example = counts.reshape(-1, *(1,) * (ys.ndim - 1))
    errors = error(outputs.astype(jnp.float32) - ys.astype(jnp.float32))
    return jnp.where(of_example, errors, 0).sum(), _number(of_example & jnp.ones(ys.shape, bool))


def _sum_of_function(name: str, function: Callable, outputs: Any, ys: Any, counts: jax.Array) -> tuple[Any, Any]:
    """Of a function's number, or array, for each example."""
    values = jnp.asarray(function(outputs, ys))
    if values.shape[:1] != counts.shape:
        raise ValueError(
            f"evaluate: metric {name} must give one number, or one array, for each of {len(counts)} examples; it gave "
            f"shape {values.shape}"
        )
    of_example = counts.reshape(-1, *(1,) * (values.ndim - 1))
    return jnp.where(of_example, values, 0).sum(0, dtype=jnp.float32), _number(counts)


def _classes(name: str, outputs: Any, ys: Any) -> jax.Array:
    labels = labels_of(outputs, ys)
    if labels is None:
        raise ValueError(
            f"evaluate: metric {name} needs outputs (..., classes), of 2 or more classes, and integer labels (...) or "
            f"rows of probabilities; they have shapes {getattr(outputs, 'shape', ())} and {ys.shape}"
        )
    return labels


def _number(which: jax.Array) -> jax.Array:
    return which.sum(dtype=jnp.float32)


def _quotient(sums: Any) -> Any:
    total, number = (np.asarray(one, np.float64) for one in sums)
    mean = total / number if number else np.full_like(total, np.nan)
    return float(mean) if mean.ndim == 0 else mean


def _macro(of_class: Callable) -> Callable[[Any], float]:
    def value(sums: Any) -> float:
        table = np.asarray(sums, np.float64)
        right, labelled, answered = np.diag(table), table.sum(1), table.sum(0)
        occurs = (labelled > 0) | (answered > 0)
        above, below = of_class(right, labelled, answered)
        return float((above / np.where(below > 0, below, 1))[occurs].mean()) if occurs.any() else float("nan")

    return value


ERRORS = {"mean_absolute_error": jnp.abs, "mean_squared_error": jnp.square}
OF_CONFUSION = {
    "confusion": lambda sums: np.asarray(sums).astype(int),
    "precision": _macro(lambda right, labelled, answered: (right, answered)),  # (4)
    "recall": _macro(lambda right, labelled, answered: (right, labelled)),  # (4)
    "f1": _macro(lambda right, labelled, answered: (2 * right, labelled + answered)),  # (5)
}
