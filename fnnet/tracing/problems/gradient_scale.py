"""Gradients that explode or vanish from layer to layer, or explode over time; updates too large or too small."""

from typing import Any

import numpy as np

from fnnet.layers.protocol import Layer
from fnnet.tracing.numbers import share
from fnnet.tracing.problems.problem import Found, Kind
from fnnet.tracing.records import Step

EXPLODED = 1e3  # times the gradient at the network's output
VANISHED = 1e-7
LARGE = 1.0  # an update as large as the weights; or ...
LARGISH, WORSE = 0.1, 10.0  # ... a tenth of them, if the loss on the same examples becomes ten times as large
FEWEST = 4  # times with a gradient, of which the growth is taken
LOST = 0.9  # of the entries that an update should move, not moved


def grown(trace: Any, step: Step, reference: float) -> Found:
    """A gradient that is far larger, or smaller, than at the network's output."""
    x = next((one for one in step.outgoing if one.of == "x"), None)
    if x is None or not reference:
        return None
    growth = x.numbers.rms / reference
    if growth > EXPLODED:
        behind = _behind(trace, step)
        weights = next((one.value.rms for one in step.parameters if one.of == "kernel"), 0.0)
        why = f"each layer multiplies it, by {_times(growth, behind)} on average over {_layers(behind)}"
        return Kind.EXPLODING, (
            f"{step.name}: exploding gradient: at its input {growth:.3g} times that at the network's output; {why}"
            f"{f' (kernel of rms {weights:.3g})' if weights else ''}: draw smaller weights."
        )
    if 0 < growth < VANISHED:
        behind = _behind(trace, step)
        return Kind.VANISHING, (
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


def exploding_recurrence(trace: Any, step: Step, reference: float) -> Found:
    """Within a layer over time, a gradient that grows going back.

    gain_t = rms of x_bar_t / sum over s >= t of the rms of y_bar_s; the growth is that of the line through log gain_t.
    """
    time = 0 if trace.batch is None else 1
    x_bar = None if step.comparison is None else step.comparison.autodiff(0)  # a wrong rule is another problem
    if x_bar is None or not isinstance(step.layer, Layer) or step.layer.by_row or not step.parameters:
        return None
    if x_bar.ndim != time + 2 or step.value.shape[: time + 1] != x_bar.shape[: time + 1]:
        return None
    backward = slice(None, None, 1 if getattr(step.layer, "reverse", False) else -1)  # from the last step to the first
    outgoing, incoming = (_of_each(array, time)[backward] for array in (x_bar, step.incoming.wide))
    came_in = np.cumsum(incoming)
    steps = np.flatnonzero((outgoing > 0) & (came_in > 0))
    if len(steps) < FEWEST:
        return None
    gains = np.log(outgoing[steps] / came_in[steps])
    rate = float(np.polyfit(steps, gains, 1)[0])
    span = int(steps[-1] - steps[0])
    if rate * span <= np.log(EXPLODED) or gains.max() <= 0:
        return None
    return Kind.EXPLODING_RECURRENCE, (
        f"{step.name}: exploding recurrence: going back over {span + 1} steps, the gradient of x grows "
        f"{np.exp(rate):.3g} times a step, {np.exp(rate * span):.3g} times in all: draw a smaller recurrent kernel, "
        "clip the gradient, or use shorter sequences."
    )


def _of_each(array: np.ndarray, axis: int) -> np.ndarray:
    """The rms at each index of an axis."""
    others = tuple(i for i in range(array.ndim) if i != axis)
    return np.sqrt(np.mean(np.square(array), axis=others))


def update(trace: Any, step: Step, reference: float) -> Found:
    """An update that is as large as the weights, or too small to change them."""
    for one in step.parameters:
        if one.update is None or not one.update.rms:
            continue
        moved = one.value.array + one.update.array.astype(one.value.array.dtype)
        should = one.update.wide != 0
        stayed = share((moved == one.value.array)[should])
        if stayed >= LOST and one.value.rms:
            return Kind.UPDATE_LOST, (
                f"{step.name}: the update of {one.of} is lost in {one.value.dtype}: it is {one.ratio:.2g} times the "
                f"weights, less than half a unit in their last place, and {100 * stayed:.0f} % of them do not move: "
                "keep the weights in float32, or raise the learning rate."
            )
        if one.of.endswith("bias") or not one.value.rms:  # they begin at 0
            continue
        worse = trace.loss_after is not None and not trace.loss_after <= WORSE * trace.loss
        if one.ratio > LARGE or (one.ratio > LARGISH and worse):
            after = f"; on these examples the loss goes from {trace.loss:.3g} to {trace.loss_after:.3g}"
            return Kind.UPDATE_TOO_LARGE, (
                f"{step.name}: learning rate too large: the update of {one.of} is {one.ratio:.2g} times the weights"
                f"{after}: about a thousandth is usual."
            )
    return None
