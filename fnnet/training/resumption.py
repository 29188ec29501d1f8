"""Checkpoints of a training run: it resumes with the bits that it would have without the interruption.

    epoch-3-step-132/     a checkpoint (fnnet/training/checkpoint.py); the trees in it are
        params, optimizer, key, epoch, step     the training state
        tally                                   sums of the current epoch
        best                                    the best epoch's parameters, where `fit` has patience
    and its configuration is the caller's, with the history and the rest of a `Moment` under "training".

The last few are kept, and the newest whole one is found. Nothing whole is removed before a newer one is on the disk.
"""

import contextlib
import json
import math
import os
import re
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np

from fnnet.training import checkpoint, lock
from fnnet.training.state import State, Tally, nothing_yet

NAME = re.compile(r"epoch-(\d{1,15})-step-(\d{1,15})")
LEFT_OVER = re.compile(r"\.epoch-.*\.[0-9a-f]{32}")  # of a process that was killed while it wrote or removed one
TRAINING = "training"


class Moment(NamedTuple):
    """Where a training run stands between two calls of its compiled loop: with data and settings, all that follows."""

    state: State
    tally: Tally  # of the epoch under way
    history: list[dict]
    best: tuple[float, Any] | None = None  # the lowest validation loss, and its parameters
    since_best: int = 0
    seconds: float = 0.0  # of the epoch under way
    ended: bool = False


class Saved(NamedTuple):
    """A checkpoint of a run, as it was read."""

    directory: Path
    trees: dict[str, Any]
    config: dict[str, Any]
    training: dict[str, Any]


class Checkpoints:
    """The checkpoints of a training run in a directory of its own: `fnnet.fit(..., checkpoints=...)` goes on from them.

    One is written every `seconds`, in the middle of an epoch too, and at the end. It is whole or not there, whatever
    happens meanwhile, and is compared with its checksums when it is read.

    Args:
        directory: Made if need be, with the directories above it. One training at a time can use it.
        config: Anything that JSON holds, such as the settings of the training: a run with others is refused here.
        keep: How many checkpoints stay; older ones are removed.
        seconds: How long to wait from one to the next; 0 writes one at each of the pauses, about two a second.
        report: Is called with a line of text where a checkpoint is damaged or cannot be written; the training goes on.
            Usually a warning.

    Raises:
        ValueError: `keep` is below 1, `seconds` is below 0, or `config` is not JSON or has a key "training".
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        config: Mapping[str, Any] | None = None,
        keep: int = 3,
        seconds: int | float = 30.0,
        report: Callable[[str], Any] | None = None,
    ):
        """See the class."""
        if keep < 1 or not seconds >= 0:
            raise ValueError(f"Checkpoints: keep (={keep}) must be 1 or more, seconds (={seconds}) 0 or more")
        self.directory, self.keep, self.seconds = Path(directory), keep, seconds
        try:
            text = json.dumps(dict(config or {}), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Checkpoints: config (={config!r}) must be JSON: {error}") from None
        self.config: dict[str, Any] = json.loads(text)  # as it comes back: lists for tuples
        if TRAINING in self.config:
            raise ValueError(f"Checkpoints: config must not have a key {TRAINING!r}")
        self.report = warnings.warn if report is None else report
        self._saved_at = time.monotonic()
        self._entered = 0
        self._held = contextlib.ExitStack()

    def __enter__(self) -> "Checkpoints":
        """Lock the directory, and remove what a killed process left half-written in it."""
        if not self._entered:
            self._lock()
            for path in self.directory.iterdir():
                if LEFT_OVER.fullmatch(path.name):
                    shutil.rmtree(path, ignore_errors=True)
        self._entered += 1
        return self

    def _lock(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(lock.held(self.directory))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unlock it."""
        self._entered -= 1
        if not self._entered:
            self._held.close()

    def __call__(self, moment: Moment) -> None:
        """Write a checkpoint if one is due. `fit` calls this between two calls of its compiled loop."""
        if moment.ended:
            self.save(moment)
        elif self.due():
            try:
                self.save(moment)
            except OSError as error:
                self.report(f"no checkpoint was written: {error}; the training goes on")

    def due(self) -> bool:
        """Whether the last one was long enough ago."""
        return time.monotonic() - self._saved_at >= self.seconds

    def _restart_clock(self) -> None:
        self._saved_at = time.monotonic()

    def save(self, moment: Moment) -> Path:
        """Write a checkpoint, and remove the oldest ones; OSError where it cannot be written."""
        self._restart_clock()
        directory = self.directory / f"epoch-{int(moment.state.epoch)}-step-{int(moment.state.step)}"
        if not directory.exists():  # else it holds the same bits
            checkpoint.save(directory, trees_of(moment), config=self.config | {TRAINING: record_of(moment)})
        for old in found_in(self.directory)[self.keep :]:
            hidden = old.with_name(f".{old.name}.{uuid.uuid4().hex}")  # half removed, it must not look like damaged
            old.rename(hidden)
            shutil.rmtree(hidden, ignore_errors=True)
        return directory

    def resume(self, state: State) -> Moment | None:
        """The moment of the newest whole checkpoint, in the structure of `state`; None if there is none.

        Damaged ones are reported, and renamed: another with such a name may be written soon.

        Raises:
            ValueError: It is of another configuration, network, optimiser or key; the message lists the differences.
        """

        def set_aside(path: Path, error: ValueError) -> None:
            aside = path.with_name(f"damaged-{path.name}-{uuid.uuid4().hex[:8]}")
            path.rename(aside)
            self.report(f"{error}; it is {aside.name} now and left out")

        saved = newest(self.directory, set_aside)
        if saved is None:
            return None
        self.refuse_another(saved)
        return moment_of(saved, state)

    def refuse_another(self, saved: Saved) -> None:
        """Raises ValueError where the configuration is another."""
        if saved.config != self.config:
            names = sorted(name for name in saved.config.keys() | self.config.keys() if self._differs(saved, name))
            raise ValueError(f"resume: {saved.directory} was trained with another {', '.join(names)}")

    def _differs(self, saved: Saved, name: str) -> bool:
        missing = object()
        return bool(saved.config.get(name, missing) != self.config.get(name, missing))


def found_in(directory: Path) -> list[Path]:
    """The checkpoints in a directory by their names, newest first."""
    if not directory.is_dir():
        return []
    matches = [(NAME.fullmatch(path.name), path) for path in directory.iterdir()]
    places = [((int(match[1]), int(match[2])), path) for match, path in matches if match is not None]
    return [path for _, path in sorted(places, reverse=True)]


def newest(directory: Path, damaged: Callable[[Path, ValueError], Any]) -> Saved | None:
    """The newest whole checkpoint; `damaged` is called with each newer one that is not, and what is wrong with it."""
    for path in found_in(directory):
        try:
            return _read(path)
        except ValueError as error:
            damaged(path, error)
    return None


def _read(path: Path) -> Saved:
    trees, config = checkpoint.load(path)
    training = checked_training(path, config.pop(TRAINING, None))
    if training["best_loss"] is not None and "best" not in trees:
        raise ValueError(f"load: {path} has a best loss without the parameters")
    return Saved(path, trees, config, training)


def checked_training(path: Path, training: Any) -> dict[str, Any]:
    """What `record_of` made of a moment; raises ValueError where that is not what the checkpoint has."""
    try:
        history = [{name: _number(value) for name, value in record.items()} for record in training["history"]]
        numbers = {"since_best": int(training["since_best"]), "seconds": float(training["seconds"])}
        best_loss = training["best_loss"] if training["best_loss"] is None else float(training["best_loss"])
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"load: {path} is no checkpoint of a training run: {error!r}") from None
    return {"history": history, "best_loss": best_loss, **numbers}


def trees_of(moment: Moment) -> dict[str, Any]:
    """A moment's trees of arrays."""
    state = moment.state
    trees = {"params": state.params, "optimizer": state.opt_state, "key": state.key}
    trees |= {"epoch": state.epoch, "step": state.step, "tally": moment.tally._asdict()}
    return trees if moment.best is None else trees | {"best": moment.best[1]}


def record_of(moment: Moment) -> dict[str, Any]:
    """What a moment has besides arrays, in JSON's terms, which have no infinity."""
    history = [{name: _text(value) for name, value in record.items()} for record in moment.history]
    best_loss = None if moment.best is None else _text(moment.best[0])
    return {
        "history": history,
        "best_loss": best_loss,
        "since_best": moment.since_best,
        "seconds": round(moment.seconds, 3),
    }


def _text(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # of a metric
        return [_text(one) for one in value.tolist()] if value.ndim == 1 else [_text(one) for one in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return float(value) if math.isfinite(value) else str(float(value))


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return np.array([_number(one) for one in value])
    return float(value) if value in ("nan", "inf", "-inf") else value


def moment_of(saved: Saved, state: State) -> Moment:
    """The moment in a checkpoint, if all of it fits."""
    tally = nothing_yet()
    like = trees_of(Moment(state, tally, [], best=(0.0, state.params) if "best" in saved.trees else None))
    there = {name: {} for name in like if not jax.tree.leaves(like[name])} | saved.trees  # sgd has no arrays
    newer = {"right": tally.right, "counted": tally.counted, "empty": tally.empty}  # older checkpoints lack these
    there["tally"] = newer | there["tally"]
    trees = checkpoint.restore(there, like, name="")
    if not np.array_equal(jax.random.key_data(trees["key"]), jax.random.key_data(state.key)):
        raise ValueError(f"resume: {saved.directory} was trained with another key")
    return Moment(
        State(trees["params"], trees["optimizer"], state.key, trees["epoch"], trees["step"]),
        Tally(**trees["tally"]),
        saved.training["history"],
        (saved.training["best_loss"], trees["best"]) if "best" in trees else None,
        saved.training["since_best"],
        saved.training["seconds"],
    )
