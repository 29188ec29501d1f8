"""What needs a fresh process for each sample: import and first step, and whole trainings on MNIST."""

import contextlib
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fnnet
from benchmarks.carry import carried
from benchmarks.clock import Sample, timed
from benchmarks.crew import Crew, Failed, command, environment
from benchmarks.nets import NETS
from benchmarks.rounds import Measured
from benchmarks.training_run import Recipe, save

Say = Callable[[str], Any]
FIRST = ("first step", "compiled before")
TRAINED = ("fnnet", "flax", "torch", "torch-channels-last")  # on MNIST, which takes each of them minutes


def first_steps(
    contestants: Sequence[str], settings: Sequence[str], net: str, batch: int, repeats: int, say: Say
) -> list[Measured]:
    """Seconds from the start of Python to the end of the first step, in turn; one round more warms the disk's cache.

    And once more with a directory in which JAX keeps what it compiled, which that first round fills.
    """
    measured = [Measured(name, setting, mode) for mode in FIRST for setting in settings for name in contestants]
    with tempfile.TemporaryDirectory() as place:
        kept = {"JAX_COMPILATION_CACHE_DIR": place, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        for turn in range(repeats + 1):
            for own in measured:
                if own.problem is not None:
                    continue
                arguments, extra = (own.contestant, net, str(batch)), kept if own.mode == FIRST[1] else {}
                try:
                    _, sample = _run("benchmarks.first_step", arguments, own.setting, extra)
                except Failed as failed:
                    own.problem = str(failed)
                    say(f"{own.contestant} failed: {own.problem}")
                    continue
                if turn:
                    own.samples.append(sample)
    return measured


def trainings(
    directory: Path, contestants: Sequence[str], settings: Sequence[str], seeds: Sequence[int], say: Say
) -> list[Measured]:
    """Seconds from the start of Python to the epoch after which 99 % of MNIST's test images are right."""
    data = fnnet.data.load(directory)
    measured = []
    with contextlib.closing(Crew(contestants, ["default"])) as crew:
        shapes = {worker.contestant: worker.ask("shapes", NETS["cnn"]) for worker in crew.workers}
    with tempfile.TemporaryDirectory() as place:
        images = Path(place, "images.npz")
        save(images, data.train, data.test)
        for seed in seeds:  # the contestants in turn, seed by seed
            for setting in settings:
                for name in contestants:
                    arrays = Path(place, f"{name}.npz")
                    np.savez(arrays, **carried(name, NETS["cnn"], shapes[name], seed))
                    own = Measured(name, setting, f"seed {seed}")
                    _train(own, (name, str(images), str(arrays), str(seed)), say)
                    measured.append(own)
    return measured


def _train(own: Measured, arguments: Sequence[str], say: Say) -> None:
    try:
        marks, sample = _run("benchmarks.training_run", arguments, own.setting)
    except Failed as failed:
        own.problem = str(failed)
        say(f"{own.contestant} failed: {own.problem}")
        return
    times, accuracies = zip(*marks, strict=True)
    between = [b - a for a, b in itertools.pairwise(times)] or [times[0]]
    own.samples.append(sample)
    own.facts = {"epochs": len(marks), "epoch_seconds": statistics.median(between), "accuracy": accuracies[-1]}
    if accuracies[-1] < Recipe().target:
        own.problem = f"{100 * accuracies[-1]:.2f} % right after {len(marks)} epochs"
    shown = " ".join(f"{100 * accuracy:.2f}" for accuracy in accuracies)
    say(f"{own.contestant}, {own.setting} memory, {own.mode}: {sample.wall:.1f} s; {shown} %")


def _run(
    module: str, arguments: Sequence[str], setting: str, extra: Mapping[str, str] | None = None
) -> tuple[list[tuple[float, float]], Sample]:
    """The marks that a module printed, each with its seconds since the start; the sample ends with the last one."""
    marks: list[tuple[float, float]] = []
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()

    def go() -> tuple[int, str]:
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                command(module, *arguments),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment(setting, alone=True) | dict(extra or {}),
            )
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("mark "):
                    marks.append((time.perf_counter() - began, float(line.split()[1])))
            status = process.wait()
            errors.seek(0)
            return status, errors.read()

    (status, errors), sample = timed(go, 1)
    if status or not marks:
        print(errors, file=sys.stderr)
        raise Failed((errors.strip().splitlines() or [f"status {status}"])[-1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    elsewhere = None if sample.elsewhere is None else max(sample.elsewhere + sample.cpu - cpu, 0.0)
    return marks, Sample(1, marks[-1][0], cpu, elsewhere, after.ru_minflt - before.ru_minflt)
