"""The first problem of a trace: going backwards from the loss, the first layer with a bad gradient.

First, labels that are no class, tokens that no table has, and gradients that are not finite. Then what the batch gives
away: later tokens that are seen, padding that counts, a batch of one. Then at each layer, in this order: a recurrence
whose gradient explodes, so that roundings make it unlike autodiff's; a rule that disagrees with autodiff; a gradient
that vanishes (zero weights, dead ReLU, saturation, one-hot attention, underflow); a gradient that has grown or shrunk
too much since the loss; an update that is too large or too small for its weights. Last, labels that are one off the
network's answers. Healthy networks have none of these: tests/tracing/test_trace_problems.py.
"""

from typing import Any

from fnnet.checking.kinds import Looks
from fnnet.tracing.numbers import share
from fnnet.tracing.problems.examples import batch_of_one, leak, padding, tokens
from fnnet.tracing.problems.gradient_scale import exploding_recurrence, grown, update
from fnnet.tracing.problems.not_finite import labels_outside, not_finite
from fnnet.tracing.problems.problem import Found, Kind, Problem
from fnnet.tracing.problems.vanishing_gradients import (
    FEW,
    dead,
    one_hot,
    saturated,
    underflow,
    zero,
    zero_weights,
)
from fnnet.tracing.records import Step

SHIFTED = 0.8  # of the answers, one off


def first_problem(trace: Any) -> Problem | None:
    """The first problem, going backwards; None if there is none."""
    steps = [step for step in trace.steps if not step.is_nested]
    for find in (labels_outside, tokens, not_finite, leak, padding, batch_of_one, _at_each_layer, _labels_shifted):
        found = find(trace, steps)
        if found is not None:
            return found
    return None


def _at_each_layer(trace: Any, steps: list[Step]) -> Problem | None:
    reference = steps[-1].outgoing[0].numbers.rms
    for step in reversed(steps):
        for find in (
            exploding_recurrence,
            _wrong,
            zero_weights,
            dead,
            saturated,
            one_hot,
            underflow,
            zero,
            grown,
            update,
        ):
            sentence = find(trace, step, reference)
            if sentence:
                return Problem(step.name, sentence[0], sentence[1])
    return None


def _wrong(trace: Any, step: Step, reference: float) -> Found:
    for one in step.outgoing:
        beside = one.agreement
        if beside is None or beside.looks is None:
            continue
        at = ", ".join(map(str, beside.at))
        looks = beside.looks.text + (": the backward forgot it" if beside.looks.kind == Looks.ZERO else "")
        return Kind.WRONG_RULE, (
            f"{step.name}: the hand-written gradient of {one.of} disagrees with {beside.against}: it {looks} "
            f"({beside.wrong} of {one.numbers.array.size} entries; at [{at}] {beside.ours:.6g} where "
            f"autodiff gives {beside.theirs:.6g})."
        )
    for one in step.outgoing:
        slope, beside = one.slope, one.agreement
        is_cut = beside is not None and not beside.wrong and not one.numbers.rms  # by stop_gradient, say: see `zero`
        if slope is not None and slope.is_wrong and not is_cut:
            return Kind.WRONG_RULE, (
                f"{step.name}: the gradient of {one.of} disagrees with finite differences of the layer's forward: "
                f"along a random direction {slope.rule:.6g} where they give {slope.difference.value:.6g}."
            )
    return None


def _labels_shifted(trace: Any, steps: list[Step]) -> Problem | None:
    """A network that has learnt, with labels that are one off its answers."""
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
            return Problem(
                steps[-1].name,
                Kind.LABELS,
                f"loss: labels off by one: {100 * share(answers + by == labels):.0f} % of the labels are {off} than "
                "the network's answer, which it has learnt to give.",
            )
    return None
