"""What a layer says of how its arrays are drawn, as arguments of `sample`."""

import math
from typing import Any

from fnnet.layers.protocol import Layer
from fnnet.tracing.numbers import Numbers
from fnnet.tracing.records import Outgoing, Step

LETTERS = "ijkl"
INSIDES = {
    "query": "What a row looks for: the row times query_kernel, head by head.",
    "key": "What a row is found by: the row times key_kernel, head by head.",
    "value": "What a row gives to the rows that look at it: the row times value_kernel, head by head.",
    "weights": "How much a row takes of the value of each row: the softmax of query times key over the square root of "
    "the width of a head.",
    "mean": "The mean of the entries that are normalised together: it is subtracted from each of them.",
    "deviation": "The square root of the variance plus epsilon: the entries less their mean are divided by it.",
    "rms": "The square root of the mean square plus epsilon: the entries are divided by it.",
}


def way_of_value(layer: Any, one: Numbers, batched: bool) -> dict[str, Any]:
    """An input, an output, or the cotangent of one."""
    rank = len(one.shape) - batched
    meaning = ""
    if one.array.dtype.kind in "iu" and rank == 1:
        meaning = "tokens"
    elif one.array.dtype.kind in "iu" and len(one.shape) == 1:  # one integer an example, such as a class
        return {"batched": False, "meaning": "tokens"}
    elif isinstance(layer, Layer) and layer.over_time and rank == 2:
        meaning = "time"
    return {"batched": batched, "meaning": meaning}


def way_of_leaf(step: Step, one: Outgoing, batched: bool) -> dict[str, Any]:
    """The input or a parameter, its cotangent and its update."""
    if one.of in ("x", "outputs"):
        return way_of_value(step.layer, one.value, batched)
    read = step.layer.rows_read(one.of, step.inputs.array) if isinstance(step.layer, Layer) else None
    rows = None if read is None else [row for row in read.tolist() if 0 <= row < one.value.shape[0]]
    return {"is_kernel": True, "rows": rows}


def way_of_inside(layer: Any, one: Numbers, batched: bool) -> dict[str, Any]:
    """What the layer computes on the way to its output."""
    batched = batched and not layer.of_batch
    is_attention = one.name == "weights" and len(one.shape) == batched + 3
    return {"batched": batched, "meaning": "weights" if is_attention else ""}


def about_inside(layer: Any, one: Numbers) -> str:
    """What it is, in words, for those of this library's layers; "" for others."""
    return INSIDES.get(one.name, "") if type(layer).__module__.startswith("fnnet.") else ""


def which_entry(step: Step, batched: bool) -> str:
    """Which entry of x an entry of y is, if the layer only flattens x; "" for any other layer."""
    x, y = step.inputs, step.value
    sizes = x.shape[batched:]
    if len(y.shape) != batched + 1 or not 2 <= len(sizes) <= len(LETTERS) or step.parameters:
        return ""
    if x.array.tobytes() != y.array.tobytes():
        return ""
    letters = LETTERS[: len(sizes)]
    steps = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    place = " + ".join(letter if n == 1 else f"{n} {letter}" for n, letter in zip(steps, letters, strict=True))
    example = "n, " * batched
    return f"y[{example}{place}] = x[{example}{', '.join(letters)}]"
