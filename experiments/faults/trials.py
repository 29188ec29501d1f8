"""What the trials of a fault share: processes that are killed, and a look at what is left."""

import functools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fnnet.training import checkpoint, resumption
from fnnet.training.resumption import Checkpoints, Moment
from fnnet.training.state import State, Tally

KEEP = 3


class Trials(NamedTuple):
    """One kind of fault: how often it was tried, and what went wrong."""

    fault: str
    tried: int
    failures: list[str]


def of_fault(name: str) -> Callable[[Callable[..., Iterator[str | None]]], Callable[..., Trials]]:
    """Turn a generator into a function that runs all its trials.

    The generator gives None for each trial after which nothing was lost, what is damaged was named, and the training
    could go on; else what went wrong.
    """

    def decorate(generator: Callable[..., Iterator[str | None]]) -> Callable[..., Trials]:
        @functools.wraps(generator)
        def run(*arguments: Any) -> Trials:
            found = list(generator(*arguments))
            return Trials(name, len(found), [failure for failure in found if failure is not None])

        return run

    return decorate


def moment(step: int, size: int) -> Moment:
    """A training's state after so many steps, with `size` parameters; NumPy alone, so that JAX starts nothing."""
    values = np.random.default_rng(step).normal(size=size).astype(np.float32)
    arrays: list[Any] = [np.arange(2, dtype=np.uint32), np.int32(0), np.int32(step)]  # in place of JAX's
    sums: list[Any] = [np.int32(step), *map(np.float32, (1.5, 0.5, 7, 8, 0))]
    state = State({"kernel": values}, {"mu": 2 * values}, *arrays)
    return Moment(state, Tally(*sums), [{"epoch": 1, "loss": 0.25}])


def holds(saved: resumption.Saved, step: int, size: int) -> bool:
    """Whether a checkpoint that was read has the bits of `moment(step, size)`."""
    wanted = moment(step, size).state
    return (
        int(saved.trees["step"]) == step
        and np.array_equal(saved.trees["params"]["kernel"], wanted.params["kernel"])
        and np.array_equal(saved.trees["optimizer"]["mu"], wanted.opt_state["mu"])
    )


def whole(directory: Path) -> dict[str, Any]:
    """The whole checkpoints in a directory by name, newest first, with their checksums."""
    return apart(lambda: _whole(directory))


def _whole(directory: Path) -> dict[str, Any]:
    found = {}
    for path in resumption.found_in(directory):
        try:
            checkpoint.load(path)
        except ValueError:
            continue
        found[path.name] = checkpoint._read_manifest(path / checkpoint.MANIFEST)["sha256"]
    return found


def lost(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """What was lost between two looks; an older one may go when `KEEP` newer ones are there."""
    if changed := [name for name in before.keys() & after.keys() if before[name] != after[name]]:
        return f"changed: {changed}"
    gone = [name for name in before if name not in after]
    if gone and len(after) < KEEP:
        return f"gone: {gone}, left: {list(after)}"
    if before and after and place(newest(after)) < place(newest(before)):
        return f"the newest is {newest(after)}, and was {newest(before)}"
    return None


def newest(found: dict[str, Any]) -> str:
    """The first of them."""
    return next(iter(found))


def place(name: str) -> tuple[int, int]:
    """Epoch and step in a checkpoint's name."""
    _, epoch, _, step = name.split("-")
    return int(epoch), int(step)


def goes_on(directory: Path, size: int) -> str | None:
    """What stops the next training in this directory, if anything: it reads, and writes, and nothing is left behind."""
    said: list[str] = []
    with Checkpoints(directory, keep=KEEP, report=said.append) as saves:
        saved = resumption.newest(directory, lambda path, error: said.append(str(error)))
        step = 0 if saved is None else int(saved.trees["step"])
        if saved is not None and not holds(saved, step, size):
            return f"{saved.directory} has other bits"
        saves.save(moment(step + 1, size))
        names = {path.name for path in directory.iterdir()}
    if said:
        return f"damage where nothing was damaged: {said}"
    if strange := names - {path.name for path in resumption.found_in(directory)}:
        return f"left behind: {strange}"
    return None if newest(whole(directory)) == f"epoch-0-step-{step + 1}" else "the next one is not whole"


def forked(work: Callable[[Callable[[], Any]], Any]) -> tuple[int, int]:
    """Start `work(tell)` in another process; its number, and a pipe that gets a byte whenever it calls `tell`."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    status = 1
    try:
        os.close(reading)
        work(lambda: os.write(writing, b"."))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def apart(look: Callable[[], Any]) -> Any:
    """What `look` gives, in JSON's terms, in a process of its own: to read a key starts JAX, and then forks hang."""
    reading, writing = os.pipe()
    process, told_by = forked(lambda tell: os.write(writing, json.dumps(look()).encode()))
    os.close(writing)
    with os.fdopen(reading) as answer:
        found = json.load(answer)
    ended(process, told_by)
    return found


def told(reading: int, times: int) -> bool:
    """Wait until the other process has told so often; False if it ended before."""
    return all(os.read(reading, 1) for _ in range(times))


def ended(process: int, reading: int) -> int:
    """Wait for its end: the exit status, or minus the signal."""
    os.close(reading)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def seen(process: int, directory: Path) -> dict[str, Any]:
    """The whole checkpoints in a directory in which that process works; it is held up meanwhile."""
    os.kill(process, signal.SIGSTOP)
    os.waitpid(process, os.WUNTRACED)
    found = whole(directory)
    os.kill(process, signal.SIGCONT)
    return found


def killed(process: int, reading: int) -> int:
    """`kill -9`, and wait."""
    os.kill(process, signal.SIGKILL)
    return ended(process, reading)
