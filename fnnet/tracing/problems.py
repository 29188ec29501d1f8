"""The first problem of a trace: going backwards from the loss, the first layer whose gradient is not as it should be.

At each layer, in this order: a gradient that is not finite, and where that began; a rule that disagrees with autodiff;
a gradient that dies (zero weights, dead ReLU, saturation, underflow); one that has grown, or shrunk, out of all
proportion since the loss; an update that is too large or too small for its weights. Last, labels that the network
answers one off. The limits below leave healthy networks alone: tests/test_trace_problems.py.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.checking.programs import as_wide
from fnnet.layers import Conv, Dense
from fnnet.tracing.numbers import share
from fnnet.tracing.records import Outgoing, Step

EXPLODED = 1e3  # times the gradient at the network's output
VANISHED = 1e-7
DEAD = 0.95  # of a layer's units, at no example of the batch positive
FEW = 8  # examples: with fewer a unit that is never positive says nothing
SATURATED = 0.1  # the share of the incoming gradient that passes: the slope, as a root mean square
BLOCKED = 0.8  # of the gradient's squares come in at outputs that are within 1 % of the ends
FAINT = 100.0  # times the smallest normal number: where the rest of a gradient is larger, what underflows is no loss
LARGE = 1.0  # an update as large as the weights; or ...
LARGISH, WORSE = 0.1, 10.0  # ... a tenth of them, where the loss on the same examples becomes ten times as large
LOST = 0.9  # of the entries that an update should move, not moved
SHIFTED = 0.8  # of the answers, one off
RECTIFIERS = ("relu", "leaky_relu")
SQUASHING = ("sigmoid", "tanh")


@dataclass(frozen=True)
class Trouble:
    """What is wrong, and where.

    Args:
        layer: The layer's name, or "loss".
        kind: "not finite", "wrong rule", "dead ReLU", "saturation", "zero weights", "underflow", "zero gradient",
            "exploding", "vanishing", "update too large", "update lost", "labels".
        sentence: It, for a reader.
    """

    layer: str
    kind: str
    sentence: str

    def __str__(self) -> str:
        """The sentence."""
        return self.sentence


def first_trouble(trace: Any) -> Trouble | None:
    """The first problem, going backwards; None where all is well."""
    steps = [step for step in trace.steps if not step.is_nested]
    for find in (_labels_outside, _not_finite, _at_each_layer, _labels_shifted):
        found = find(trace, steps)
        if found is not None:
            return found
    return None


def _at_each_layer(trace: Any, steps: list[Step]) -> Trouble | None:
    reference = steps[-1].outgoing[0].numbers.rms
    for step in reversed(steps):
        for find in (_wrong, _zero_weights, _dead, _saturated, _underflow, _zero, _grown, _update):
            sentence = find(trace, step, reference)
            if sentence:
                return Trouble(step.name, sentence[0], sentence[1])
    return None


Found = tuple[str, str] | None


# Not finite.


def _labels_outside(trace: Any, steps: list[Step]) -> Trouble | None:
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
    return Trouble(steps[-1].name, "labels", sentence)


def _not_finite(trace: Any, steps: list[Step]) -> Trouble | None:
    """The first layer, backwards, with a gradient that is not finite; and the first place, forwards, that is not."""
    for step in reversed(steps):
        bad = next((one for one in step.outgoing if not one.numbers.is_finite), None)
        if bad is None and step.incoming.is_finite:
            continue
        what = _kinds(bad.numbers if bad is not None else step.incoming)
        cause = _origin(trace, steps) or _backward_origin(step)
        of = f"the gradient of {bad.of}" if bad is not None else "the incoming gradient"
        return Trouble(step.name, "not finite", f"{step.name}: {of} has {what}: {cause}.")
    return None


def _origin(trace: Any, steps: list[Step]) -> str:
    """Where the forward first holds what is not finite, in words; empty if it is finite."""
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


# A rule.


def _wrong(trace: Any, step: Step, reference: float) -> Found:
    for one in step.outgoing:
        beside = one.agreement
        if beside is None or not beside.wrong:
            continue
        at = ", ".join(map(str, beside.at))
        forgotten = ": the backward forgot it" if beside.looks == "is zero" else ""
        return "wrong rule", (
            f"{step.name}: the hand-written gradient of {one.of} disagrees with {beside.against}: it {beside.looks}"
            f"{forgotten} ({beside.wrong} of {one.numbers.array.size} entries; at [{at}] {beside.ours:.6g} where "
            f"autodiff gives {beside.theirs:.6g})."
        )
    for one in step.outgoing:
        slope = one.slope
        if slope is not None and slope.wrong:
            return "wrong rule", (
                f"{step.name}: the gradient of {one.of} disagrees with finite differences of the layer's forward: "
                f"along a random direction {slope.ours:.6g} where they give {slope.theirs:.6g}."
            )
    return None


# A gradient that dies.


def _zero_weights(trace: Any, step: Step, reference: float) -> Found:
    kernel = next((one for one in step.parameters if one.of == "kernel"), None)
    if kernel is None or "/" in step.name:  # inside a residual block a zero kernel is a way to start
        return None
    if kernel.value.zeros == 1:
        return "zero weights", (
            f"{step.name}: every weight of its kernel is 0, so that the gradient of its input is 0 and no layer before "
            "it learns: draw the kernel at random."
        )
    array = kernel.value.array
    if isinstance(step.layer, Dense | Conv) and array.shape[-1] > 1 and (array == array[..., :1]).all():
        return "zero weights", (
            f"{step.name}: all {array.shape[-1]} features have the same weights, get the same gradient and stay the "
            "same: draw the kernel at random."
        )
    return None


def _dead(trace: Any, step: Step, reference: float) -> Found:
    if not _is(step, RECTIFIERS) or not step.incoming.rms or _leaks(step):
        return None
    positive = step.inputs.wide > 0
    never = positive.any() == 0
    if trace.batch is not None and trace.batch >= FEW:
        units = positive.reshape(-1, positive.shape[-1]).any(0)
        dead = share(~units)
        # A few units on a narrow layer may be dead by chance; nearly all of them are not.
        if dead >= DEAD and units.size > 1:
            never = True
    if not never:
        return None
    dead = share(~positive.reshape(-1, positive.shape[-1]).any(0)) if positive.ndim else 1.0
    return "dead ReLU", (
        f"{step.name}: dead ReLU: {100 * dead:.0f} % of its units are at or below 0 for every example (inputs from "
        f"{step.inputs.low:.3g} to {step.inputs.high:.3g}), so that nearly no gradient passes: the bias before it is "
        "too low, or a step was too large."
    )


def _leaks(step: Step) -> bool:
    """Whether something passes on the other side: leaky ReLU with a slope."""
    return _is(step, ("leaky_relu",)) and bool(step.outgoing and step.outgoing[0].numbers.rms)


def _saturated(trace: Any, step: Step, reference: float) -> Found:
    if not _is(step, SQUASHING) or not step.outgoing or not step.incoming.rms:
        return None
    out = step.outgoing[0].numbers.rms / step.incoming.rms
    y = step.value.wide
    low, high = (0.0, 1.0) if _is(step, ("sigmoid",)) else (-1.0, 1.0)
    at_ends = (y - low < 0.01 * (high - low)) | (high - y < 0.01 * (high - low))
    squares = np.square(step.incoming.wide / step.incoming.rms)
    # Where the network is right its outputs may well be at the ends: there no gradient comes in.
    if out > SATURATED or squares[at_ends].sum() < BLOCKED * squares.sum():
        return None
    ends = share(at_ends)
    name = "sigmoid" if _is(step, ("sigmoid",)) else "tanh"
    return "saturation", (
        f"{step.name}: saturated {name}: {100 * ends:.0f} % of its outputs are within 1 % of {low:.0f} or {high:.0f} "
        f"(inputs from {step.inputs.low:.3g} to {step.inputs.high:.3g}), where the slope is nearly 0: "
        f"{100 * out:.2g} % of the gradient passes."
    )


def _underflow(trace: Any, step: Step, reference: float) -> Found:
    for one in step.outgoing:
        lost = one.agreement.lost if one.agreement is not None else 0
        if (
            lost
            and one.numbers.largest < FAINT * _tiny(one)
            and lost >= 0.5 * max(1, one.numbers.array.size - _true_zeros(one, lost))
        ):
            return "underflow", (
                f"{step.name}: the gradient of {one.of} underflows in {one.numbers.dtype}: {lost} of "
                f"{one.numbers.array.size} entries are 0 that are smaller than the smallest number of the dtype, and "
                "not 0: scale the loss up, or keep this in float32."
            )
    return None


def _tiny(one: Outgoing) -> float:
    return float(jnp.finfo(one.numbers.array.dtype).smallest_normal)


def _true_zeros(one: Outgoing, lost: int) -> int:
    return int((one.numbers.wide == 0).sum()) - lost


def _zero(trace: Any, step: Step, reference: float) -> Found:
    if not step.outgoing or (step.incoming.rms and any(one.numbers.rms for one in step.outgoing)):
        return None
    if not step.incoming.rms:
        if step.name != trace.steps[-1].name and reference:
            return (
                "zero gradient",
                f"{step.name}: the gradient that comes in is 0 everywhere: nothing behind it needs it.",
            )
        return None
    if step is trace.steps[-1] and not np.any(step.value.wide):
        return None  # a loss of exactly 0 has nothing left to teach
    inert = step.outgoing[0]
    return "zero gradient", (
        f"{step.name}: a gradient of rms {step.incoming.rms:.3g} comes in and none goes out: the gradient of "
        f"{inert.of} is 0 everywhere."
    )


# Growth.


def _grown(trace: Any, step: Step, reference: float) -> Found:
    x = next((one for one in step.outgoing if one.of == "x"), None)
    if x is None or not reference:
        return None
    growth = x.numbers.rms / reference
    if growth > EXPLODED:
        behind = _behind(trace, step)
        weights = next((one.value.rms for one in step.parameters if one.of == "kernel"), 0.0)
        why = f"each layer multiplies it, by {_times(growth, behind)} on average over {_layers(behind)}"
        return "exploding", (
            f"{step.name}: exploding gradient: at its input {growth:.3g} times that at the network's output; {why}"
            f"{f' (kernel of rms {weights:.3g})' if weights else ''}: draw smaller weights."
        )
    if 0 < growth < VANISHED:
        behind = _behind(trace, step)
        return "vanishing", (
            f"{step.name}: vanishing gradient: at its input {growth:.3g} times that at the network's output; each "
            f"layer multiplies it by {_times(growth, behind)} on average over {_layers(behind)}."
        )
    return None


def _behind(trace: Any, step: Step) -> int:
    names = [one.name for one in trace.steps if not one.is_nested]
    return len(names) - 1 - names.index(step.name)


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _times(growth: float, layers: int) -> str:
    return f"{growth ** (1 / max(1, layers)):.3g}"


# Updates.


def _update(trace: Any, step: Step, reference: float) -> Found:
    for one in step.parameters:
        if one.update is None or not one.update.rms:
            continue
        moved = one.value.array + one.update.array.astype(one.value.array.dtype)
        should = one.update.wide != 0
        stayed = share((moved == one.value.array)[should])
        if stayed >= LOST and one.value.rms:
            return "update lost", (
                f"{step.name}: the update of {one.of} is lost in {one.value.dtype}: it is {one.ratio:.2g} times the "
                f"weights, less than half a unit in their last place, and {100 * stayed:.0f} % of them do not move: "
                "keep the weights in float32, or raise the learning rate."
            )
        if one.of == "bias" or not one.value.rms:
            continue
        worse = trace.loss_after is not None and not trace.loss_after <= WORSE * trace.loss
        if one.ratio > LARGE or (one.ratio > LARGISH and worse):
            after = f"; on these examples the loss goes from {trace.loss:.3g} to {trace.loss_after:.3g}"
            return "update too large", (
                f"{step.name}: learning rate too large: the update of {one.of} is {one.ratio:.2g} times the weights"
                f"{after}: about a thousandth is usual."
            )
    return None


# Labels.


def _labels_shifted(trace: Any, steps: list[Step]) -> Trouble | None:
    """A network that has learnt, and answers one off."""
    labels, outputs = trace.y.array, trace.outputs.wide
    if trace.batch is None or labels.dtype.kind not in "iu" or labels.shape != outputs.shape[:-1] or len(labels) < FEW:
        return None
    answers = outputs.argmax(-1)
    for by in (1, -1):
        if (
            share(answers + by == labels) >= SHIFTED
            and share(answers == labels) < 1 - SHIFTED
            and len(set(answers.tolist())) > 2
        ):
            off = "1 more" if by == 1 else "1 less"
            return Trouble(
                steps[-1].name,
                "labels",
                f"loss: labels off by one: {100 * share(answers + by == labels):.0f} % of the labels are {off} than "
                "the network's answer, which it has learnt to give.",
            )
    return None


def _is(step: Step, rules: tuple[str, ...]) -> bool:
    """Whether the layer is one of these, by its rule's name or its own."""
    return step.kind in rules or any(page.rule in rules for page in step.pages)
