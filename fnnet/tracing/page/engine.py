"""What a page needs to compute a small network itself, in fnnet/tracing/page/engine.js.

Of each layer this is its `engine`, kind and sizes; or, if it has none, its derivative, as a list of what is not 0:

    dy_output / d_entry = factor        entry and output as places in memory
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fnnet.checking.errors import RaisedError
from fnnet.checking.leaves import widened
from fnnet.core.partials import arguments_bound, innermost
from fnnet.core.primitives import is_inexact
from fnnet.layers.functions import as_layer
from fnnet.layers.protocol import Layer
from fnnet.rules.binary_losses import sigmoid_binary_cross_entropy
from fnnet.rules.class_losses import softmax_cross_entropy
from fnnet.rules.squared_error import squared_error
from fnnet.tracing.comparison import Comparison
from fnnet.tracing.records import Step

FACTORS = 200_000  # of all derivatives on a page
COLUMNS = 4_000_000  # entries of one derivative while it is computed, zeros too
LIVE_DTYPES = ("float32", "float64")  # others round so much that the page's numbers would be others
OPTIONS = {"label_smoothing", "class_weights", "ignore_index"}  # of softmax_cross_entropy
ROWS = (squared_error, sigmoid_binary_cross_entropy)  # losses with a target for each output

Keep = Callable[[np.ndarray], str]


class Derivative(NamedTuple):
    """What is not 0 of a layer's derivative by one of its leaves."""

    entry: np.ndarray
    output: np.ndarray
    factor: np.ndarray


class Engines:
    """How a page computes the steps of a trace.

    Args:
        trace: The trace.
        room: How many factors its derivatives may have; 0 if the page does not have all its arrays.
        keep: Puts an array on the page, and gives its key.

    Attributes:
        of_steps: For each step its `engine` and `jacobians`, as JSON has them; None where there are none.
        are_live: Whether the page can compute the whole network forward and backward.
    """

    def __init__(self, trace: Any, room: int, keep: Keep) -> None:
        """Computes the derivatives."""
        self.of_steps: list[dict[str, Any]] = []
        self.are_live = trace.graph and room > 0
        for step in trace.steps:
            engine = None if step.is_nested else _engine(trace, step, keep, room)
            found = None if step.is_nested or engine else _derivatives(step, trace.batch is not None, room)
            room -= sum(len(one.factor) for one in (found or {}).values())
            lists = None if found is None else _kept(found, step, keep)
            self.of_steps.append({"engine": engine, "jacobians": lists})
            self.are_live &= step.is_nested or (engine is not None and step.value.dtype in LIVE_DTYPES)


def _engine(trace: Any, step: Step, keep: Keep, room: int) -> Mapping[str, Any] | None:
    """What engine.js computes the step by; None if it cannot."""
    compared, is_batch = step.comparison, trace.batch is not None
    if compared is None or compared.programs.trains or not is_inexact(step.inputs.array):
        return None
    found: Mapping[str, Any] | None = None
    if step is trace.steps[-1]:
        found = _engine_of_loss(step.layer, step.inputs.array, trace.y.array)
    elif isinstance(step.layer, Layer) or not step.parameters:
        found = as_layer(step.layer).engine(step.inputs.shape[is_batch:])
    return _affine(step, is_batch, keep, room) if found is None and not step.parameters else found


def _engine_of_loss(loss: Any, outputs: np.ndarray, labels: np.ndarray) -> dict[str, Any] | None:
    """One of fnnet's losses of a row of outputs, with its options."""
    function, bound = innermost(loss), arguments_bound(loss)
    if outputs.ndim == 0:
        return None
    sizes = {"size": outputs.shape[-1]}
    if any(function is one for one in ROWS) and not bound and labels.shape == outputs.shape:
        return {"kind": function.__name__, **sizes}
    is_integer = not is_inexact(labels)
    shape = outputs.shape[:-1] if is_integer else outputs.shape
    if function is not softmax_cross_entropy or labels.shape != shape or bound.keys() - OPTIONS:
        return None
    weights, ignored = bound.get("class_weights"), bound.get("ignore_index")
    if is_integer and not ((labels >= 0) & (labels < outputs.shape[-1]) | (labels == ignored)).all():
        return None  # a label that is no class: the loss is NaN
    return {
        "kind": "softmax_cross_entropy",
        **sizes,
        "integers": is_integer,
        "smoothing": float(bound.get("label_smoothing", 0.0)),
        "weights": None if weights is None else np.asarray(weights, float).tolist(),
        "ignored": ignored,
    }


def _affine(step: Step, is_batch: bool, keep: Keep, room: int) -> dict[str, Any] | None:
    """A step y = J x + c, found by computing it at random inputs, and for a loss at other labels."""
    compared = step.comparison
    found = _derivatives(step, is_batch, room)
    if compared is None or not found:
        return None
    one, (x, *others) = next(iter(found.values())), widened(compared.leaves)
    other_labels = [(label == 0).astype(label.dtype) for label in others]
    drawn = np.random.default_rng(0).standard_normal(x.shape)
    cases = (x, others), (drawn / 100, others), (drawn, other_labels), (100 * drawn, others)
    try:
        values = [np.asarray(compared.programs.values(at, *labels), float).ravel() for at, labels in cases]
    except RaisedError:
        return None
    with np.errstate(invalid="ignore"):
        rests = [value - _product(one, at, value.size) for value, (at, _) in zip(values, cases, strict=True)]
        allowed = [1e-9 * (1 + np.abs(value).max(initial=0)) for value in values]
        constant = rests[0]
        is_affine = [(np.abs(rest - constant) <= most).all() for rest, most in zip(rests, allowed, strict=True)]
    if not all(is_affine):
        return None
    return {"kind": "affine", "lists": _kept(found, step, keep), "constant": keep(constant)}


def _product(one: Derivative, x: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(one.output, one.factor * np.asarray(x, float).ravel()[one.entry], size)


def _derivatives(step: Step, is_batch: bool, room: int) -> dict[str, Derivative] | None:
    """The derivative of a step by each leaf that has one; None if there are more factors than there is room for."""
    compared, found = step.comparison, {}
    if compared is None or compared.problem or not room:
        return None
    for index in compared.numbers:
        try:
            one = _derivative(compared, index, _is_by_example(step, index, is_batch))
        except RaisedError:  # a function that JAX cannot push forward
            return None
        room -= 0 if one is None else len(one.factor)
        if one is None or room < 0:
            return None
        found[compared.names[index]] = one
    return found


def _is_by_example(step: Step, index: int, is_batch: bool) -> bool:
    """Whether leaf `index` is the input of a layer of which each example's output reads its own input alone."""
    if step.comparison is None or not is_batch or index or not isinstance(step.layer, Layer):
        return False
    return not (step.comparison.programs.trains and step.layer.of_batch)


def _derivative(compared: Comparison, index: int, is_by_example: bool) -> Derivative | None:
    """The derivative by one leaf; None if it is too large. Of an input all examples are moved at once."""
    leaf, size = compared.leaves[index], compared.y_bar.size
    shape = leaf.shape[1:] if is_by_example else leaf.shape
    entries = math.prod(shape)
    if entries * max(size, leaf.size) > COLUMNS:
        return None
    dots = np.eye(entries).reshape(entries, *shape)
    columns = compared.columns(index, np.repeat(dots[:, None], len(leaf), 1) if is_by_example else dots)
    entry, output = np.nonzero(columns.reshape(entries, size))
    factor = columns.reshape(entries, size)[entry, output]
    if is_by_example:
        entry += entries * (output // (size // len(leaf)))
    return Derivative(entry.astype(np.int32), output.astype(np.int32), factor)


def _kept(found: dict[str, Derivative], step: Step, keep: Keep) -> dict[str, dict[str, str]]:
    """The keys of the derivatives on the page: single precision is enough for a trace that is not in double."""
    dtype = np.float64 if step.value.dtype == "float64" else np.float32
    rounded = {of: one._replace(factor=one.factor.astype(dtype)) for of, one in found.items()}
    return {of: {name: keep(array) for name, array in one._asdict().items()} for of, one in rounded.items()}
