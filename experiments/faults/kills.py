"""`kill -9` while a checkpoint is written: before each of its file operations, and at moments by the clock."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults.trials import KEEP, ended, forked, goes_on, killed, lost, moment, of_fault, seen, told, whole
from fnnet.training.resumption import Checkpoints

SIZE = 100_000  # parameters: a save lasts some milliseconds
OPERATIONS = ("open", "os.", "shutil.")  # of Python's audit events


def full(directory: Path, size: int) -> None:
    """As many checkpoints as are kept, so that the next save also removes one."""
    saves = Checkpoints(directory, keep=KEEP)
    for step in range(1, KEEP + 1):
        saves.directory.mkdir(parents=True, exist_ok=True)
        saves.save(moment(step, size))


@of_fault("kill -9 before each file operation of a save")
def at_every_operation(directory: Path, limit: int) -> Iterator[str | None]:
    """The process dies before its n-th file operation, for every n, or for about `limit` of them."""
    every = 1
    if limit:
        every = max(1, _operations(directory / "count") // limit)
    for number in itertools.count(0, every):
        run = directory / str(number)
        full(run, SIZE)
        before = whole(run)

        def work(tell: Callable[[], Any], run: Path = run, number: int = number) -> None:
            _die_before(number)
            Checkpoints(run, keep=KEEP).save(moment(KEEP + 1, SIZE))

        status = ended(*forked(work))
        if status != -signal.SIGKILL:
            break  # the save has fewer operations than that
        yield lost(before, whole(run)) or goes_on(run, SIZE)


def _operations(run: Path) -> int:
    """How many file operations a save has."""
    full(run, SIZE)

    def work(tell: Callable[[], Any]) -> None:
        sys.addaudithook(lambda event, _: tell() if event.startswith(OPERATIONS) else None)
        Checkpoints(run, keep=KEEP).save(moment(KEEP + 1, SIZE))
        os._exit(0)

    process, reading = forked(work)
    number = 0
    while told(reading, 1):
        number += 1
    ended(process, reading)
    return number


def _die_before(number: int) -> None:
    left = [number]

    def hook(event: str, _: Any) -> None:
        if event.startswith(OPERATIONS):
            left[0] -= 1
            if left[0] == -1:  # once: os.kill is an event, too
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


@of_fault("kill -9 at moments of a save by the clock")
def by_the_clock(directory: Path, times: int) -> Iterator[str | None]:
    """The process saves one after the other, and dies at `times` moments spread over the duration of a save."""
    full(directory / "timed", SIZE)
    began = time.perf_counter()
    Checkpoints(directory / "timed", keep=KEEP).save(moment(KEEP + 1, SIZE))
    duration = time.perf_counter() - began
    for number in range(times):
        run = directory / f"clock-{number}"
        full(run, SIZE)

        def work(tell: Callable[[], Any], run: Path = run) -> None:
            saves = Checkpoints(run, keep=KEEP)
            for step in itertools.count(KEEP + 1):
                state = moment(step, SIZE)
                tell()
                saves.save(state)

        process, reading = forked(work)
        told(reading, 2 + number % 3)
        before = seen(process, run)
        time.sleep(duration * number / times)
        killed(process, reading)
        yield lost(before, whole(run)) or goes_on(run, SIZE)
