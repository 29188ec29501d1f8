"""Labels as weights of the classes, t (..., classes): what the losses over classes compare a prediction with.

    integers        t_c = w_c ((1 - e) [c = label] + e / C)     (1)   w: class weights, e: label smoothing, C classes
    probabilities   t_c = w_c ((1 - e) y_c + e / C)             (2)
    ignored         t_c = 0                                     (3)
    out of range    t_c = NaN                                   (4)
    in a mean       weight = w_label, 0 if ignored, NaN if out of range; 1 for probabilities    (5)

Source: torch.nn.CrossEntropyLoss. Its mean (reduction.py) divides by (5), whatever the label smoothing.
The losses that are no losses over classes take a row of targets as it is: `as_rows`.
"""

import operator
from numbers import Real
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Integer, Num

from fnnet.core.arguments import accumulator, as_array, as_floats
from fnnet.core.indices import INT32, OutsideError, as_held, as_numbers
from fnnet.core.reduction import noted

Labels = Integer[ArrayLike, "*batch"] | Float[ArrayLike, "*batch classes"]
Targets = Num[ArrayLike, "... entries"] | Bool[ArrayLike, "... entries"]


class LabelError(OutsideError):
    """A label is no class."""


def weighted(weight: Array, value: Array) -> Array:
    """weight * value, where a weight of 0 silences what is infinite or NaN: 0 log 0 = 0.

    The selection is inside the product, so that its derivative by `weight` is `value` also where the weight is 0.
    """
    return weight * jnp.where((weight == 0) & ~jnp.isfinite(value), 0, value)


def as_rows(function: str, **pair: Any) -> list[Array]:
    """A prediction and a target, each (..., entries), in one floating dtype and with their leading axes broadcast.

    Targets may be integers or booleans. Raises ValueError or TypeError, in the name of `function`, for what cannot be.
    """
    (first, prediction), (second, target) = pair.items()
    (prediction,) = as_floats(function, **{first: prediction})
    target = as_array(function, second, target)
    if jnp.issubdtype(target.dtype, jnp.integer) or target.dtype == jnp.bool_:
        target = target.astype(prediction.dtype)
    prediction, target = as_floats(function, **{first: prediction, second: target})
    for name, array in ((first, prediction), (second, target)):
        if array.ndim < 1:
            raise ValueError(f"{function}: {name} of shape () must have a last axis, over which the loss is summed")
    shapes = f"{first} of shape {prediction.shape} and {second} of shape {target.shape}"
    if prediction.shape[-1] != target.shape[-1]:
        column = f"; write {second}[..., None]" if target.shape == prediction.shape[:-1] else ""
        raise ValueError(f"{function}: {shapes} must have equal last axes{column}")
    try:
        examples = jnp.broadcast_shapes(prediction.shape[:-1], target.shape[:-1])
    except ValueError:
        raise ValueError(f"{function}: {shapes} must have leading axes that broadcast") from None
    return [_shared(array, (*examples, array.shape[-1])) for array in (prediction, target)]


def _shared(array: Array, shape: tuple[int, ...]) -> Array:
    """The array, broadcast; its cotangent is a sum, which bf16 and f16 carry in f32."""
    if array.shape == shape:
        return array
    return jnp.broadcast_to(array.astype(accumulator(array.dtype)), shape).astype(array.dtype)


def as_weights_of(function: str, argument: str, weights: Any, rows: Array) -> Array:
    """The weights in the rows' dtype and shape. Raises ValueError or TypeError for what cannot be broadcast to it."""
    given = as_array(function, argument, weights)
    if jnp.issubdtype(given.dtype, jnp.complexfloating):
        raise TypeError(f"{function}: {argument} of dtype {given.dtype} must be real")
    try:
        return _shared(given.astype(rows.dtype), rows.shape)
    except ValueError:
        raise ValueError(
            f"{function}: {argument} of shape {given.shape} must broadcast to {rows.shape}, the entries of the loss"
        ) from None


def as_targets(
    function: str,
    argument: str,
    prediction: Any,
    labels: Any,
    *,
    label_smoothing: float = 0.0,
    class_weights: Any = None,
    ignore_index: int | None = None,
) -> tuple[Array, Array]:
    """The prediction and the weights t, (1) to (4), both (..., classes) and in one floating dtype.

    Raises ValueError or TypeError, in the name of `function`, for what cannot be; `argument` is the prediction's name.
    """
    ignored = as_ignored(function, ignore_index)
    prediction, given = _prediction_and_labels(function, argument, prediction, labels)
    count = prediction.shape[-1]
    if jnp.issubdtype(given.dtype, jnp.floating):
        if ignored is not None:
            raise ValueError(f"{function}: ignore_index (={ignored}) needs integer labels; these are {given.dtype}")
        prediction, rows = as_floats(function, **{argument: prediction, "labels": given})
        weights = as_class_weights(function, class_weights, rows)
        return prediction, _smoothed(rows, weights, as_smoothing(function, label_smoothing))  # (2)
    classes = as_classes(function, given, count, ignored)
    if class_weights is not None or ignored is not None:
        classes = noted(function, classes)
    rows = (classes[..., None] == jnp.arange(count, dtype=jnp.int32)).astype(prediction.dtype)
    weights = as_class_weights(function, class_weights, rows)
    targets = _smoothed(rows, weights, as_smoothing(function, label_smoothing))  # (1)
    targets = jnp.where(((classes < 0) | (classes >= count))[..., None], jnp.nan, targets)  # (4)
    return prediction, targets if ignored is None else jnp.where((classes == ignored)[..., None], 0, targets)  # (3)


def weights_of(classes: Array, weights: Array | None, count: int, dtype: Any, *, ignored: int | None) -> Array:
    """(5) of integer labels, without a row for each: (...,)."""
    inside = (classes >= 0) & (classes < count)
    of_class = 1 if weights is None else weights[jnp.where(inside, classes, 0)]
    counts = jnp.where(inside, of_class, jnp.nan).astype(dtype)
    return counts if ignored is None else jnp.where(classes == ignored, 0, counts)


def weights_of_examples(
    function: str,
    argument: str,
    prediction: Any,
    labels: Any,
    *,
    class_weights: Any = None,
    ignore_index: int | None = None,
) -> Array:
    """What each example counts in a mean, (5), in the prediction's shape without the last axis."""
    given = as_held(function, "labels", labels)
    _, targets = as_targets(
        function, argument, prediction, given, class_weights=class_weights, ignore_index=ignore_index
    )
    if jnp.issubdtype(given.dtype, jnp.floating):
        return jnp.ones(targets.shape[:-1], targets.dtype)
    return targets.sum(-1)  # of one entry: w_label, 0 or NaN


def _prediction_and_labels(function: str, argument: str, prediction: Any, labels: Any) -> tuple[Array, Any]:
    """The prediction, floating, and labels whose shape and dtype go with it."""
    (prediction,) = as_floats(function, **{argument: prediction})
    if prediction.ndim < 1 or prediction.shape[-1] < 1:
        raise ValueError(f"{function}: {argument} of shape {prediction.shape} must have a last axis, one entry a class")
    given = as_held(function, "labels", labels)
    examples, kind = prediction.shape[:-1], given.dtype
    if jnp.issubdtype(kind, jnp.integer):
        if given.shape != examples:
            column = given.shape == (*examples, 1)
            hint = "labels[..., 0] has it" if column else "class probabilities must be floating"
            raise ValueError(
                f"{function}: labels of shape {given.shape} and dtype {kind} must have shape {examples}, one class an "
                f"example of {argument} {prediction.shape}; {hint}"
            )
    elif not jnp.issubdtype(kind, jnp.floating) or given.shape == examples:
        raise TypeError(
            f"{function}: labels of dtype {kind} and shape {given.shape} must be integers of shape {examples}, or "
            f"floating class probabilities of shape {prediction.shape}"
        )
    elif given.shape != prediction.shape:
        raise ValueError(
            f"{function}: labels of shape {given.shape} and dtype {kind} must have shape {prediction.shape}, one row "
            "of class probabilities an example"
        )
    return prediction, given


def as_ignored(function: str, ignore_index: Any) -> int | None:
    """The integer that marks labels that count nothing, or None."""
    if ignore_index is None:
        return None
    try:
        index = operator.index(ignore_index)
    except TypeError:
        raise TypeError(f"{function}: ignore_index (={ignore_index!r}) must be an integer or None") from None
    if abs(index) >= INT32.max:  # where the labels that do not fit into 32 bits end up
        raise ValueError(f"{function}: ignore_index (={index}) must be between {-INT32.max} and {INT32.max}")
    return index


def as_classes(function: str, given: Any, count: int, ignored: int | None) -> Array:
    """Integer labels in int32."""
    return as_numbers(function, "labels", given, count, kind="a class", ignored=ignored, error=LabelError)


def as_smoothing(function: str, label_smoothing: Any) -> float:
    """e, from 0 to 1."""
    if not isinstance(label_smoothing, Real) or not 0 <= label_smoothing <= 1:
        raise ValueError(f"{function}: label_smoothing (={label_smoothing!r}) must be a number from 0 to 1")
    return float(label_smoothing)


def _smoothed(rows: Array, weights: Array | None, e: float) -> Array:
    """Rows of probabilities, smoothed, times the class weights."""
    smoothed = (1 - e) * rows + e / rows.shape[-1]
    return smoothed if weights is None else weights * smoothed


def as_class_weights(function: str, class_weights: Any, like: Array) -> Array | None:
    """The class weights in the dtype of `like`, (..., classes), without a gradient; None if there are none."""
    shape = like.shape[-1:]
    if class_weights is None:
        return None
    weights = as_array(function, "class_weights", class_weights)
    if weights.shape != shape:
        raise ValueError(f"{function}: class_weights of shape {weights.shape} must have shape {shape}, one weight each")
    return lax.stop_gradient(weights.astype(like.dtype))
