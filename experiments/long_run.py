"""A thousand epochs of the digits with a small network: memory, compilations, files and the log must not grow.

`python experiments/long_run.py --epochs 1000` prints a table, ten rows over the training. Memory is the process's
resident set after each tenth; the first ones are what the training needs, and the rest should add nothing to it.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
from records import table

from fnnet.cli import presets, runs
from fnnet.cli.runs.journal import Journal
from fnnet.layers.dense import Dense
from fnnet.layers.flatten import Flatten
from fnnet.layers.sequential import Sequential
from fnnet.rules.activations import relu


class Look(NamedTuple):
    """What there is after some epochs."""

    epoch: int
    resident: int  # bytes
    compilations: int
    files: int
    log_lines: int


def tiny(classes: int, shape: tuple[int, ...]) -> Sequential:
    """One hidden layer of sixteen."""
    return Sequential(Flatten(), Dense(16), relu, Dense(classes))


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def looks(directory: Path, epochs: int, number: int) -> list[Look]:
    """Train in a directory, and look `number` times."""
    presets.NETS["tiny"] = tiny
    found: list[Look] = []
    compiled = [0]

    def count(event: str, duration_secs: float, **_: Any) -> None:
        compiled[0] += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(count)
    write = Journal.note

    def note(journal: Journal, history: list[dict[str, Any]]) -> None:
        write(journal, history)
        if history and len(history) % max(1, epochs // number) == 0:
            files = sum(1 for _ in directory.rglob("*"))
            found.append(Look(len(history), resident(), compiled[0], files, log.getvalue().count("\n")))

    config = {"data": "digits", "net": "tiny", "epochs": epochs, "batch_size": 64, "optimizer": "adam", "accumulate": 1}
    config |= {"learning_rate": 1e-3, "label_smoothing": 0.0, "seed": 0, "allow_nonfinite": False}
    log = io.StringIO()
    with contextlib.redirect_stdout(log), mock.patch.object(Journal, "note", note):
        runs.train(config, directory, seconds=0.5)
    return found


def main(epochs: int) -> int:
    """Print the table; 1 where something grew."""
    with tempfile.TemporaryDirectory(prefix="fnnet-long-") as directory:
        found = looks(Path(directory) / "run", epochs, 10)
    rows = [(look.epoch, f"{look.resident / 1e6:.1f}", *look[2:]) for look in found]
    print(table(("epoch", "memory, MB", "compilations", "files", "lines printed"), rows))
    return 1 if grew(found) else 0


def grew(found: list[Look]) -> list[str]:
    """What is larger at the end than after the first two looks, beyond 5 % of memory; or a log beyond 30 lines."""
    early, last = found[1], found[-1]
    faults = []
    if last.resident > 1.05 * early.resident:
        faults.append(f"memory: {early.resident} to {last.resident}")
    if last.compilations > early.compilations:
        faults.append(f"compilations: {early.compilations} to {last.compilations}")
    if last.files > early.files + 2:  # a checkpoint more or less
        faults.append(f"files: {early.files} to {last.files}")
    if last.log_lines > 30:
        faults.append(f"lines printed: {last.log_lines}")
    return faults


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=1000)
    sys.exit(main(parser.parse_args().epochs))
