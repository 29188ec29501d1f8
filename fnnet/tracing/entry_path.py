"""One entry followed from its layer to the loss: what a change of it changes, layer by layer.

    y_dot = (dy / dx) x_dot                       (1)   a layer; where its entry is followed, x_dot is 1 there, else 0
    y_dot = sum of the parts' y_dot               (2)   a container, which adds up its layers' outputs
    de_loss = sum_o y_dot_o y_bar_o               (3)   o over a layer's output

(3) is the entry's gradient at every layer that all ways to the loss pass through, and a part of it at a layer on one of
several ways. The derivatives are those of the layers without their hand-written backward, in double precision.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fnnet.checking.errors import RaisedError
from fnnet.layers.residual import Residual
from fnnet.tracing.explanation import entry_name, entry_of
from fnnet.tracing.records import Step

NAMES = ("layer", "reaches", "largest change", "times y_bar")


@dataclass(frozen=True)
class Stage:
    """A layer on the way.

    Args:
        layer: Its name.
        of: What its output is called: "y"; "loss" for the loss.
        reached: How many entries of its output the entry changes.
        size: How many entries its output has.
        at: The entry of the output that changes most.
        largest: Its change, per unit of the followed entry.
        effect: The sum over the output of change times incoming cotangent.
        is_whole: Whether every way to the loss passes through it, so that `effect` is the gradient's entry.
    """

    layer: str
    of: str
    reached: int
    size: int
    at: tuple[int, ...]
    largest: float
    effect: float
    is_whole: bool


@dataclass(frozen=True)
class EntryPath:
    """An entry's way to the loss.

    Args:
        layer: The layer's name.
        of: Whose entry: "x", "kernel", ..., or "y".
        index: The entry.
        value: The entry itself.
        gradient: The entry of the gradient, as the hand-written backward gives it.
        stages: Its layer, and those behind it that it reaches; the loss is the last.
    """

    layer: str
    of: str
    index: tuple[int, ...]
    value: float
    gradient: float
    stages: tuple[Stage, ...]

    def __str__(self) -> str:
        """A table with a line for each layer on the way."""
        rows = [NAMES, *map(_cells, self.stages)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(NAMES))]
        lines = [
            f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in rows
        ]
        begin = f"{self.layer}: {entry_name(self.of, self.index)} = {self.value:.7g}, followed to the loss"
        end = f"{entry_name(f'{self.of}_bar', self.index)} = {self.gradient:.7g}"
        if not all(stage.is_whole for stage in self.stages):
            end += "; a number in brackets is the part of it that goes this way"
        return "\n".join([begin, lines[0], "-" * max(map(len, lines)), *lines[1:], end])


def _cells(stage: Stage) -> tuple[str, ...]:
    effect = f"{stage.effect:.7g}"
    largest = f"{stage.largest:+.5g} at {entry_name(stage.of, stage.at)}" if stage.reached else ""
    return (
        stage.layer,
        f"{stage.reached} of {stage.size}",
        largest,
        effect if stage.is_whole else f"({effect})",
    )


def followed(trace: Any, name: str, of: str, index: tuple[int, ...]) -> EntryPath:
    """The way of the entry `index` of `of`; ValueError where there is none, or where it cannot be followed."""
    step = trace[name]
    if not trace.graph:
        if isinstance(trace.net, Residual):
            raise ValueError(
                "follow: an entry is not followed through a network that is a Residual itself; trace Sequential(net) "
                'with the parameters {"residual_0": params}'
            )
        raise ValueError(
            "follow: it is not known how the network puts its layers together, since a container does something else "
            "with their outputs than add them up"
        )
    if step.is_nested:
        inside = [one.name for one in trace.steps if one.name.startswith(f"{name}/")]
        raise ValueError(f"follow: {name} is made of layers; follow an entry of {', '.join(inside)}")
    start = trace.steps.index(step)
    one, bar = (step.value, step.incoming) if of == "y" else (step.cotangent(of).value, step.cotangent(of).numbers)
    entry = entry_of("follow", of, one.shape, index)
    dot = np.zeros(one.shape)
    dot[entry] = 1
    changes = {start: dot if of == "y" else _pushed(step, step.comparison.names.index(of), dot)}
    used: dict[int, int] = {}  # the last step that reads each step's output
    for number, behind in enumerate(trace.steps[start + 1 :], start + 1):
        sources = [source for source in (behind.parts if behind.is_nested else (behind.source,)) if source in changes]
        if not sources:
            continue
        used |= dict.fromkeys(sources, number)
        coming = np.sum([changes[source] for source in sources], axis=0)
        changes[number] = coming if behind.is_nested else _pushed(behind, 0, coming)
    last = 0  # so far the last step that reads the output of one that is passed
    stages = []
    for number, change in changes.items():
        stages.append(_stage(trace.steps[number], change, last <= number))
        last = max(last, used.get(number, 0))
    shown = step.value.name if of == "y" else of
    return EntryPath(name, shown, entry, float(one.wide[entry]), float(bar.wide[entry]), tuple(stages))


def _pushed(step: Step, leaf: int, dot: np.ndarray) -> np.ndarray:
    compared = step.comparison
    if compared is None or compared.problem:
        raise ValueError(f"follow: {step.name} has no derivative of its own to follow an entry through")
    if not dot.any():
        return np.zeros(step.value.shape)
    try:
        return compared.pushed(leaf, dot)
    except RaisedError as error:
        raise ValueError(f"follow: an entry cannot be followed through {step.name}, which raises {error}") from None


def _stage(step: Step, change: np.ndarray, is_whole: bool) -> Stage:
    at = np.unravel_index(int(np.abs(change).argmax()), change.shape) if change.size else ()
    with np.errstate(invalid="ignore", over="ignore"):
        effect = float(np.where(change == 0, 0.0, change * step.incoming.wide).sum())
    return Stage(
        layer=step.name,
        of=step.value.name,
        reached=int(np.count_nonzero(change)),
        size=change.size,
        at=tuple(map(int, at)),
        largest=float(change[at]) if change.size else 0.0,
        effect=effect,
        is_whole=is_whole,
    )
