"""What changed between two traces of one network: two moments of its training, or two settings of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fnnet.checking.leaves import rms
from fnnet.tracing.numbers import Numbers
from fnnet.tracing.records import Outgoing


@dataclass(frozen=True)
class Moved:
    """One array of a layer, then and now.

    Args:
        layer: The layer's name.
        of: "y" for the layer's output; else whose cotangent: "x", "kernel", ...
        value: The rms of the output or parameter, then and now; NaN if an entry is.
        moved: How far the array itself has moved: rms of the difference over rms then; NaN if an entry is not finite.
        gradient: The rms of its cotangent, then and now; NaN if an entry is.
        cosine: Of the angle between the cotangents then and now; NaN if one is 0, or not finite.
    """

    layer: str
    of: str
    value: tuple[float, float]
    moved: float
    gradient: tuple[float, float]
    cosine: float


@dataclass(frozen=True)
class Change:
    """What changed, layer by layer.

    Args:
        loss: Then and now.
        rows: A row for each layer's output and each parameter, in the network's order.
        problems: The first problem then and now, as sentences; empty if there is none.
    """

    loss: tuple[float, float]
    rows: tuple[Moved, ...]
    problems: tuple[str, str]

    def __str__(self) -> str:
        """A table, then the problems."""
        cells: list[tuple[str, ...]] = [
            ("layer", "array", "rms then", "now", "moved", "gradient then", "now", "cosine")
        ]
        for row in self.rows:
            numbers = (*row.value, row.moved, *row.gradient)
            cells.append((row.layer, row.of, *(f"{number:.3g}" for number in numbers), f"{row.cosine:.2f}"))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                f"{cell:<{w}}" if i < 2 else f"{cell:>{w}}"
                for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in cells
        ]
        lines = [f"loss {self.loss[0]:.4g}, now {self.loss[1]:.4g}", lines[0], "-" * len(lines[0]), *lines[1:]]
        for when, problem in zip(("then", "now"), self.problems, strict=True):
            lines.append(f"first problem {when}: {problem}" if problem else f"no problem {when}")
        return "\n".join(lines)


def change(then: Any, now: Any) -> Change:
    """From one trace to another; ValueError if the layers or their parameters are not the same."""
    check_same_network("diff", then, now)
    rows = []
    for old, new in zip(then.steps, now.steps, strict=True):
        rows.append(_moved(old.name, "y", old.value, new.value, old.incoming, new.incoming))
        for before, after in zip(old.parameters, new.parameters, strict=True):
            rows.append(_of_parameter(old.name, before, after))
    problems = [str(trace.first_problem() or "") for trace in (then, now)]
    return Change((then.loss, now.loss), tuple(rows), (problems[0], problems[1]))


def check_same_network(function: str, then: Any, now: Any) -> None:
    """Raises ValueError if the layers or their parameters are not the same."""
    names = [
        [(step.name, [one.value.shape for one in step.parameters]) for step in trace.steps] for trace in (then, now)
    ]
    if names[0] != names[1]:
        differ = next(((a, b) for a, b in zip(*names, strict=False) if a != b), ("the number of layers",) * 2)
        raise ValueError(f"{function}: the traces must be of one network; {differ[0]} is {differ[1]} in the other")


def _of_parameter(layer: str, before: Outgoing, after: Outgoing) -> Moved:
    return _moved(layer, before.of, before.value, after.value, before.numbers, after.numbers)


def _moved(layer: str, of: str, old: Numbers, new: Numbers, old_bar: Numbers, new_bar: Numbers) -> Moved:
    moved = cosine = float("nan")
    if old.shape == new.shape:
        with np.errstate(invalid="ignore", over="ignore"):
            apart = new.wide - old.wide
            if old.is_finite and new.is_finite:
                moved = rms(apart) / old.rms if old.rms else float("inf") if new.rms else 0.0
            length = np.linalg.norm(old_bar.wide) * np.linalg.norm(new_bar.wide)
            cosine = float(np.vdot(old_bar.wide, new_bar.wide) / length) if length else float("nan")
    return Moved(layer, of, (old.whole_rms, new.whole_rms), moved, (old_bar.whole_rms, new_bar.whole_rms), cosine)
