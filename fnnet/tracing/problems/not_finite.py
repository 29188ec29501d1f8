"""Gradients and losses that are not finite, and where in the forward that began."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.checking.leaves import as_wide
from fnnet.tracing.problems.problem import Kind, Problem
from fnnet.tracing.records import Step


def labels_outside(trace: Any, steps: list[Step]) -> Problem | None:
    """Labels that are no class, which make the loss NaN."""
    labels, outputs = trace.y, trace.outputs
    if labels.array.dtype.kind not in "iu" or labels.shape != outputs.shape[:-1] or steps[-1].value.is_finite:
        return None
    classes = outputs.shape[-1]
    wrong = (labels.array < 0) | (labels.array >= classes)
    if not wrong.any():
        return None
    at = tuple(map(int, np.argwhere(wrong)[0]))
    one_off = labels.array.min() >= 1 and labels.array.max() == classes
    hint = f": the labels run from 1 to {classes}, one off; subtract 1" if one_off else ""
    sentence = (
        f"loss: {int(wrong.sum())} of {wrong.size} labels are no class, which makes the loss NaN: label"
        f"{list(at) or ''} is {int(labels.array[at])}, and {classes} outputs are the classes 0 to {classes - 1}{hint}."
    )
    return Problem(steps[-1].name, Kind.LABELS, sentence)


def not_finite(trace: Any, steps: list[Step]) -> Problem | None:
    """The first layer, backwards, with a gradient that is not finite; and the first array, forwards, that is not."""
    for step in reversed(steps):
        bad = next((one for one in step.outgoing if not one.numbers.is_finite), None)
        if bad is None and step.incoming.is_finite:
            continue
        what = _kinds(bad.numbers if bad is not None else step.incoming)
        cause = _origin(trace, steps) or _backward_origin(step)
        of = f"the gradient of {bad.of}" if bad is not None else "the incoming gradient"
        return Problem(step.name, Kind.NOT_FINITE, f"{step.name}: {of} has {what}: {cause}.")
    return None


def _origin(trace: Any, steps: list[Step]) -> str:
    """Where the forward first has an entry that is not finite, in words; empty if it is finite."""
    for numbers, name in ((trace.x, "the input x"), (trace.y, "the labels y")):
        if not numbers.is_finite:
            return f"{name} already has {_kinds(numbers)}{_at(numbers.array, trace.batch)}: the data are not clean"
    for step in steps:
        for parameter in step.parameters:
            if not parameter.value.is_finite:
                return f"{step.name}'s {parameter.of} has {_kinds(parameter.value)}: an earlier update broke it"
        if not step.value.is_finite:
            what, largest = _kinds(step.value), step.inputs.largest
            return f"in the forward, {step.name} is the first to give {what}, {_why_overflow(step, largest)}"
    return ""


def _why_overflow(step: Step, largest: float) -> str:
    limits = jnp.finfo(step.value.array.dtype) if step.value.array.dtype.kind == "f" else jnp.finfo(jnp.float32)
    exponent = float(np.log(float(limits.max)))
    code = " ".join((*(page.forward for page in step.pages), step.text))
    if "exp" in code and largest > exponent:
        return f"from inputs up to {largest:.4g}: an exponential overflows beyond {exponent:.4g}"
    if "log" in code and (step.inputs.wide <= 0).any():
        return f"from inputs down to {step.inputs.low:.4g}: a logarithm of 0 or less"
    if "/" in code and step.inputs.zeros:
        return f"from inputs of which {100 * step.inputs.zeros:.3g} % are 0: a division by 0"
    return f"from finite inputs up to {largest:.4g}: an overflow, or an operation outside its domain"


def _backward_origin(step: Step) -> str:
    if not step.incoming.is_finite:
        return "it comes in from the layer behind"
    return "its value and its incoming gradient are finite, so its backward makes it"


def _kinds(numbers: Any) -> str:
    parts = [(numbers.nans, "NaN"), (numbers.infinities, "infinite")]
    return " and ".join(f"{count} {what} of {numbers.array.size} entries" for count, what in parts if count)


def _at(array: np.ndarray, batch: int | None) -> str:
    bad = np.argwhere(~np.isfinite(as_wide(array)))[0]
    return f", first in example {bad[0]}" if batch is not None and bad.size else ""
