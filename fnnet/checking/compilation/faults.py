"""Which known faults of XLA are live on this machine: each probe runs in a process of its own, because it may crash."""

import functools
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from fnnet.checking.programs import mode
from fnnet.checking.workers import environment
from fnnet.core.compiler import FAULTS, Fault, safe_options

RIGHT, WRONG, CRASH = "right", "wrong", "crash"
PATIENCE = 120  # seconds; a fault may be a loop without an end
TOLERANCE = 1e-3


class Outcome(NamedTuple):
    """What a probe found: "right", "wrong" or "crash".

    Attributes:
        usual: With XLA's usual options, including those of XLA_FLAGS.
        safe: With `fnnet.safe_options`.
    """

    usual: str
    safe: str

    @property
    def is_live(self) -> bool:
        """Whether the fault shows with the usual options."""
        return self.usual != RIGHT


@functools.cache
def outcome(fault: Fault) -> Outcome:
    """The fault's probe, with and without `fnnet.safe_options`."""
    return Outcome(*_probed([fault])[0])


def outcomes() -> list[tuple[Fault, Outcome]]:
    """All known faults; the probes run side by side."""
    return [(fault, Outcome(*pair)) for fault, pair in zip(FAULTS, _probed(FAULTS), strict=True)]


def live(primitives: Iterable[str]) -> list[Fault]:
    """The live faults that may be in a program of these operations."""
    names = set(primitives)
    return [fault for fault in FAULTS if fault.primitives <= names and outcome(fault).is_live]


@functools.cache
def crashes(shape: tuple[int, ...], axis: int) -> bool:
    """Whether XLA with its usual options ends a process that sums a product of this shape over this axis."""
    return _printed(f"faults.summed({tuple(shape)!r}, {axis})") == CRASH


def _probed(faults: Iterable[Fault]) -> list[tuple[str, str]]:
    runs = [(FAULTS.index(fault), safe) for fault in faults for safe in (False, True)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = list(pool.map(lambda run: _in_a_process(*run), runs))
    return list(zip(found[::2], found[1::2], strict=True))


def _in_a_process(number: int, safe: bool) -> str:
    return _printed(f"faults.probe({number}, {safe})")


def _printed(call: str) -> str:
    """The last word that a process prints when it runs this call; CRASH if the process fails or does not end."""
    command = [sys.executable, "-c", f"from fnnet.checking.compilation import faults; {call}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment())
    except subprocess.TimeoutExpired:
        return CRASH
    words = done.stdout.split()
    return words[-1] if done.returncode == 0 and words else CRASH


def probe(number: int, safe: bool) -> None:
    """Print whether the fault of this number is right or wrong here; run in a process of its own."""
    with mode(False):
        found, right = FAULTS[number].probe(safe_options() if safe else None)
    error = np.abs(found - right).max() / np.abs(right).max()
    print(RIGHT if error < TOLERANCE else WRONG)


def summed(shape: tuple[int, ...], axis: int) -> None:
    """Print that a sum of a product of arrays of this shape ends; run in a process of its own."""
    a, b = (np.random.default_rng(seed).normal(size=shape).astype(np.float32) for seed in range(2))
    with mode(False):
        jax.block_until_ready(jax.jit(lambda a, b: (a * b).sum(axis))(a, b))
    print(RIGHT)
