"""Gradients that vanish in a layer: zero weights, dead ReLU, saturation, one-hot attention, underflow, or zeros."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.tracing.numbers import share
from fnnet.tracing.problems.problem import Found, Kind
from fnnet.tracing.records import Outgoing, Step

DEAD = 0.95  # of a layer's units, at no example of the batch positive
SURELY_DEAD = 16  # inputs of a ReLU; fewer may all be negative by chance, 4 in one network of 16
FEW = 8  # examples: with fewer, a unit may be negative in all by chance
SATURATED = 0.1  # the share of the incoming gradient that passes: the slope, as a root mean square
BLOCKED = 0.8  # of the gradient's squares come in at outputs that are within 1 % of the ends
ONE_HOT = 0.99  # the largest weight of a row of attention; or, where it is not known whether the network is right, ...
SURELY_ONE_HOT = 0.9999
NEARLY_ALL = 0.9  # of the rows; and so many right answers make a network right, which may attend to one row alone
FAINT = 100.0  # times the smallest normal number: if the rest of a gradient is larger, what underflows does not matter
RECTIFIERS = ("relu", "leaky_relu")
SQUASHING = ("sigmoid", "tanh")


def zero_weights(trace: Any, step: Step, reference: float) -> Found:
    """A kernel of zeros, which passes no gradient on, or one with equal features, which stay equal."""
    kernel = next((one for one in step.parameters if one.of == "kernel"), None)
    if kernel is None or "/" in step.name:  # inside a residual block a zero kernel is a way to start
        return None
    if kernel.value.zeros == 1:
        return Kind.ZERO_WEIGHTS, (
            f"{step.name}: every weight of its kernel is 0, so that the gradient of its input is 0 and no layer before "
            "it learns: draw the kernel at random."
        )
    array = kernel.value.array
    if array.ndim > 1 and array.shape[-1] > 1 and (array == array[..., :1]).all():
        return Kind.ZERO_WEIGHTS, (
            f"{step.name}: all {array.shape[-1]} features have the same weights, get the same gradient and stay the "
            "same: draw the kernel at random."
        )
    return None


def dead(trace: Any, step: Step, reference: float) -> Found:
    """A ReLU whose units are at or below 0 for every example."""
    if not _is(step, RECTIFIERS) or not step.incoming.rms or _leaks(step):
        return None
    positive = step.inputs.wide > 0
    units = positive.reshape(-1, positive.shape[-1]).any(0) if positive.ndim else positive.reshape(1)
    dead = share(~units)
    many = trace.batch is not None and trace.batch >= FEW
    # A few units of a narrow layer may be dead by chance, at one example all of them; nearly all of many are not.
    if dead < (DEAD if many and units.size > 1 else 1) or _is_off_by_chance(step):
        return None
    if not trace.x.wide.any():
        return Kind.DEAD_RELU, (
            f"{step.name}: dead ReLU: {100 * dead:.0f} % of its units are at or below 0, and the input of the network "
            "is all zeros, so that nearly no gradient passes: look at the data."
        )
    return Kind.DEAD_RELU, (
        f"{step.name}: dead ReLU: {100 * dead:.0f} % of its units are at or below 0 for every example (inputs from "
        f"{step.inputs.low:.3g} to {step.inputs.high:.3g}), so that nearly no gradient passes: the bias before it is "
        "too low, or a step was too large."
    )


def _is_off_by_chance(step: Step) -> bool:
    """Whether it is a ReLU of so few inputs that all of them may be negative in a healthy network."""
    few = _is(step, RECTIFIERS) and step.inputs.array.size < SURELY_DEAD
    return few and not (step.inputs.wide > 0).any() and not _leaks(step)


def _leaks(step: Step) -> bool:
    """Whether some gradient passes for negative inputs: leaky ReLU with a slope."""
    return _is(step, ("leaky_relu",)) and bool(step.outgoing and step.outgoing[0].numbers.rms)


def saturated(trace: Any, step: Step, reference: float) -> Found:
    """A sigmoid or tanh at its ends, where most of the gradient comes in."""
    if not _is(step, SQUASHING) or not step.outgoing or not step.incoming.rms:
        return None
    out = step.outgoing[0].numbers.rms / step.incoming.rms
    y = step.value.wide
    low, high = (0.0, 1.0) if _is(step, ("sigmoid",)) else (-1.0, 1.0)
    at_ends = (y - low < 0.01 * (high - low)) | (high - y < 0.01 * (high - low))
    squares = np.square(step.incoming.wide / step.incoming.rms)
    # If the network is right, its outputs may be at the ends, and no gradient comes in there.
    if out > SATURATED or squares[at_ends].sum() < BLOCKED * squares.sum():
        return None
    ends = share(at_ends)
    name = "sigmoid" if _is(step, ("sigmoid",)) else "tanh"
    return Kind.SATURATION, (
        f"{step.name}: saturated {name}: {100 * ends:.0f} % of its outputs are within 1 % of {low:.0f} or {high:.0f} "
        f"(inputs from {step.inputs.low:.3g} to {step.inputs.high:.3g}), where the slope is nearly 0: "
        f"{100 * out:.2g} % of the gradient passes."
    )


def one_hot(trace: Any, step: Step, reference: float) -> Found:
    """Attention whose rows look at one other row alone: its softmax passes nearly no gradient to queries and keys."""
    weights = next((one.wide for one in step.insides if one.name == "weights"), None)
    if weights is None or weights.shape[-1] < 3 or not step.incoming.rms:
        return None
    largest = weights.max(-1)[..., 1:]  # under a causal mask the first row sees itself alone
    labels, answers = trace.y.array, trace.outputs.wide.argmax(-1)
    are_classes = labels.dtype.kind in "iu" and labels.shape == answers.shape
    limit = ONE_HOT if are_classes else SURELY_ONE_HOT
    if share(largest > limit) < NEARLY_ALL or (are_classes and share(labels == answers) >= NEARLY_ALL):
        return None
    return Kind.SATURATED_ATTENTION, (
        f"{step.name}: saturated softmax: in {100 * share(largest > limit):.0f} % of its rows one weight is above "
        f"{limit:g}, so that queries and keys get nearly no gradient: draw smaller kernels of queries and keys, or put "
        "LayerNorm before it."
    )


def underflow(trace: Any, step: Step, reference: float) -> Found:
    """Entries that are 0 because the dtype has no number so small, while the others are hardly larger."""
    for one in step.outgoing:
        lost = one.agreement.lost if one.agreement is not None else 0
        if (
            lost
            and one.numbers.largest < FAINT * _tiny(one)
            and lost >= 0.5 * max(1, one.numbers.array.size - _true_zeros(one, lost))
        ):
            return Kind.UNDERFLOW, (
                f"{step.name}: the gradient of {one.of} underflows in {one.numbers.dtype}: {lost} of "
                f"{one.numbers.array.size} entries are 0 that are smaller than the smallest number of the dtype, and "
                "not 0: scale the loss up, or keep this in float32."
            )
    return None


def _tiny(one: Outgoing) -> float:
    return float(jnp.finfo(one.numbers.array.dtype).smallest_normal)


def _true_zeros(one: Outgoing, lost: int) -> int:
    return int((one.numbers.wide == 0).sum()) - lost


def zero(trace: Any, step: Step, reference: float) -> Found:
    """Nothing goes out, or nothing comes in."""
    if not step.outgoing or (step.incoming.rms and any(one.numbers.rms for one in step.outgoing)):
        return None
    if any(_is_off_by_chance(one) for one in trace.steps[trace.steps.index(step) :]):
        return None
    if not step.incoming.rms:
        if step.name != trace.steps[-1].name and reference:
            return (
                Kind.ZERO_GRADIENT,
                f"{step.name}: the gradient that comes in is 0 everywhere: nothing behind it needs it.",
            )
        return None
    if step is trace.steps[-1] and not np.any(step.value.wide):
        return None  # a loss of exactly 0 has no gradient
    inert = step.outgoing[0]
    return Kind.ZERO_GRADIENT, (
        f"{step.name}: a gradient of rms {step.incoming.rms:.3g} comes in and none goes out: the gradient of "
        f"{inert.of} is 0 everywhere."
    )


def _is(step: Step, rules: tuple[str, ...]) -> bool:
    """Whether the layer is one of these, by its rule's name or its own."""
    return step.kind in rules or any(page.rule in rules for page in step.pages)
