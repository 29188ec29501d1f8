"""The contestants: each a module that alone imports its library, and builds the networks of `nets` with it."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from benchmarks.agreement import Reference
from benchmarks.nets import Net
from benchmarks.tasks import Task


class Unsupported(Exception):
    """The contestant's library has no such thing."""


class Program(abc.ABC):
    """Something to be timed, compiled already.

    Attributes:
        units: How many steps or calls one pass has.
    """

    units = 1

    def reset(self) -> None:  # noqa: B027
        """Back to the initial state, if a pass changes it; not timed."""

    @abc.abstractmethod
    def run(self, passes: int) -> None:
        """So many passes, and wait for the last step."""

    @abc.abstractmethod
    def answers(self) -> dict[str, Any]:
        """One pass: NumPy arrays in which all contestants have to agree."""

    def facts(self) -> dict[str, float]:
        """What can be told without a clock: bytes, seconds of compilation."""
        return {}


class Library(abc.ABC):
    """What a contestant's module makes of its library."""

    @abc.abstractmethod
    def versions(self) -> dict[str, str]:
        """Of the libraries."""

    @abc.abstractmethod
    def shapes(self, net: Net) -> dict[str, tuple[int, ...]]:
        """The names and shapes of a network's parameters."""

    @abc.abstractmethod
    def program(self, task: Task) -> Program:
        """A task, compiled. Raises Unsupported."""

    def reference(self, task: Task, courses: int) -> Reference:
        """What the task computes in double precision, and so many times in single. Raises Unsupported."""
        raise Unsupported("no reference")

    @abc.abstractmethod
    def first_step(self, net: Net, xs: Any, ys: Any) -> float:
        """Draw parameters, compile, take one step: its loss."""

    @abc.abstractmethod
    def train(self, net: Net, arrays: Mapping[str, Any], data: Any, recipe: Any, seed: int, report: Any) -> None:
        """Train by `recipe`; report(accuracy) after each epoch, until that returns True."""

    @abc.abstractmethod
    def clear(self) -> None:
        """Forget what is cached."""


@dataclass(frozen=True)
class Contestant:
    """Where a contestant's module is, and what it needs."""

    module: str  # in this package; its function `library(**options)` gives the `Library`
    needs: tuple[str, ...]  # what has to be installed
    layout: str  # whose names and order of axes its parameters have: "fnnet", "flax" or "torch"
    scans: bool  # whether it has `lax.scan`
    options: dict[str, Any] = field(default_factory=dict)


CONTESTANTS = {
    "fnnet": Contestant("hand_written", ("fnnet",), "fnnet", True),
    "autodiff": Contestant("plain_lax", ("jax", "optax"), "fnnet", True, {"pooling": "reduce_window"}),
    "autodiff-reshape": Contestant("plain_lax", ("jax", "optax"), "fnnet", True, {"pooling": "reshape"}),
    "flax": Contestant("flax_nnx", ("flax",), "flax", True),
    "equinox": Contestant("equinox_modules", ("equinox",), "torch", True),
    "torch": Contestant("pytorch", ("torch",), "torch", False, {"channels_last": False}),
    "torch-channels-last": Contestant("pytorch", ("torch",), "torch", False, {"channels_last": True}),
}
AUTODIFF = ("autodiff", "autodiff-reshape")
TORCH = ("torch", "torch-channels-last")
ALONE = " alone"  # behind a contestant's name in the records: no other contestant's process was alive


def load(name: str) -> Library:
    """Imports the contestant's library."""
    contestant = CONTESTANTS[name]
    module = import_module(f"benchmarks.contestants.{contestant.module}")
    library: Library = module.library(**contestant.options)
    return library
