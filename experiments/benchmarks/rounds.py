"""A cell: some programs, checked against each other and then timed in turn, round after round, one block each."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks.agreement import Reference, departure, disagreements
from benchmarks.clock import Sample
from benchmarks.crew import Failed, Worker
from benchmarks.tasks import Task

PAUSE = 0.01  # seconds between two blocks, in which the threads of the last one fall asleep
MOST_STEPS = 400  # in a block: unused parameters' moments in Adam become denormal after 800


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    repeats: int = 10  # rounds that count; one more comes before them
    block: float = 0.2  # seconds that a block lasts at least
    patience: float = 60.0  # seconds after which a program gets no further block
    limit: float = 300.0  # seconds in which a program must be compiled and have run once


class Entry(NamedTuple):
    """A program of a cell: who runs what, and in which mode ("loop", "scan", or what a part calls it)."""

    worker: Worker
    mode: str
    task: Callable[[], Task]  # made when it is needed: the arrays of all tasks together would be large


@dataclass
class Measured:
    """What came of an entry: samples, or the problem because of which there are none."""

    contestant: str
    setting: str
    mode: str
    samples: list[Sample] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    problem: str | None = None
    unsupported: bool = False


class _Runner:
    """An entry whose program is ready."""

    def __init__(self, worker: Worker, number: int, first: Sample, measured: Measured):
        """`first` is of one pass."""
        self.worker, self.number, self.first, self.measured = worker, number, first, measured
        self.most_passes = max(1, MOST_STEPS // first.units)
        self.pass_seconds, self.spent = first.wall, 0.0

    def block(self, effort: Effort) -> Sample:
        """As many passes as a block needs."""
        passes = min(max(math.ceil(effort.block / self.pass_seconds), 1), self.most_passes)
        sample: Sample = self.worker.ask("time", self.number, passes)
        self.pass_seconds = min(self.pass_seconds, sample.wall / passes)
        self.spent += sample.wall
        return sample


def measure(
    entries: Sequence[Entry],
    tolerance: float,
    effort: Effort,
    say: Callable[[str], Any],
    reference: Reference | None = None,
) -> list[Measured]:
    """Prepare all programs, refuse those that do not agree, time the others in turn.

    Args:
        entries: The programs; those of one cell, whose times will be compared.
        tolerance: Of `disagreements`, which decides without a reference.
        effort: How long.
        say: Gets a line for each program that is left out.
        reference: What they compute, for `departure`.
    """
    measured: list[Measured] = []
    ready: list[Entry] = []
    runners: list = []
    answers: dict = {}
    for entry in entries:
        result = Measured(entry.worker.contestant, entry.worker.setting, entry.mode)
        measured.append(result)
        try:
            number, prepared = entry.worker.ask("prepare", entry.task(), limit=effort.limit)
        except Failed as failed:
            result.problem, result.unsupported = str(failed), failed.unsupported
            if not failed.unsupported:
                say(f"{_name(result)} failed: {result.problem}")
            if entry.worker.process is None:  # it is gone, and what it had ready with it
                for other, runner in zip(ready, runners, strict=True):
                    if other.worker is entry.worker:
                        runner.number, _ = entry.worker.ask("prepare", other.task())
            continue
        ready.append(entry)
        result.facts = prepared.facts
        answers[len(runners)] = prepared.answers
        runners.append(_Runner(entry.worker, number, prepared.first, result))
    if reference is None:
        refused = disagreements(answers, tolerance)
    else:
        refused = {}
        for position, own in answers.items():
            share, line = departure(own, reference)
            runners[position].measured.facts["departure"] = share
            if share > 1:
                refused[position] = line
    for position, line in refused.items():
        runners[position].measured.problem = f"does not agree: {line}"
        say(f"{_name(runners[position].measured)} is not timed, since it does not agree: {line}")
    _alternate([runner for runner in runners if runner.measured.problem is None], effort, say)
    return measured


def _alternate(runners: list[_Runner], effort: Effort, say: Callable[[str], Any]) -> None:
    slow = [runner for runner in runners if runner.first.wall > effort.patience]
    for runner in slow:  # not run again: the pass that was checked has to do
        runner.measured.samples.append(runner.first)
    going = [runner for runner in runners if runner not in slow]
    for turn in range(effort.repeats + 1):
        for runner in going if turn % 2 else reversed(going):  # so that none always follows the same one
            time.sleep(PAUSE)
            try:
                sample = runner.block(effort)
            except Failed as failed:
                runner.measured.problem = str(failed)
                say(f"{_name(runner.measured)} failed: {runner.measured.problem}")
                continue
            if turn:  # the first round warms caches up, and the memory that is kept
                runner.measured.samples.append(sample)
        going = [
            runner
            for runner in going
            if runner.measured.problem is None and (runner.spent < effort.patience or not runner.measured.samples)
        ]


def _name(measured: Measured) -> str:
    return f"{measured.contestant}, {measured.setting} memory, {measured.mode}"
