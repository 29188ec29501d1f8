"""A small training that is killed, or asked to stop, in the middle of epochs, and has to end with the same bits."""

import functools
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from faults.trials import apart, ended, forked, killed, lost, of_fault, seen, told, whole
from fnnet.training import checkpoint, resumption
from fnnet.training.resumption import Checkpoints, Moment

EPOCHS, PAUSES = 50, 13  # an epoch: 12 steps with a pause after each, and one at its end


class Telling(Checkpoints):
    """Checkpoints that tell of each pause."""

    def __init__(self, directory: Path, tell: Callable[[], Any]):
        """One at every pause."""
        super().__init__(directory, seconds=0)
        self.tell = tell

    def __call__(self, moment: Moment) -> None:
        """Save, and tell."""
        super().__call__(moment)
        self.tell()


def train(directory: Path, tell: Callable[[], Any], epochs: int) -> None:
    """Train a small network with dropout and Adam, one step a call."""
    import jax
    import optax

    import fnnet
    from fnnet.training import batches

    batches.SECONDS_A_CALL = 1e-9
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(100, 4)).astype(np.float32), (np.arange(100) % 3).astype(np.int32)
    net = fnnet.Sequential(fnnet.Dense(8), fnnet.relu, fnnet.Dropout(0.2), fnnet.Dense(3))
    rate = optax.cosine_decay_schedule(1e-2, 12 * epochs)
    options: dict[str, Any] = {"key": jax.random.key(0), "epochs": epochs, "batch_size": 8, "progress": False}
    checkpoints = Telling(directory, tell)
    fnnet.fit(net, fnnet.softmax_cross_entropy, optax.adam(rate), (xs, ys), checkpoints=checkpoints, **options)


def result(directory: Path) -> str:
    """The bits of a training's end: its last state, and its history without the times."""
    return str(apart(lambda: _result(directory)))


def _result(directory: Path) -> str:
    saved = resumption.newest(directory, lambda path, error: None)
    if saved is None:
        return "nothing"
    arrays = checkpoint._read_manifest(saved.directory / checkpoint.MANIFEST)["arrays"]
    history = [record | {"seconds": 0} for record in saved.training["history"]]
    return hashlib.sha256(json.dumps([saved.directory.name, arrays, history], sort_keys=True).encode()).hexdigest()


@of_fault("kill -9 in the middle of epochs")
def killed_in_epochs(directory: Path, times: int) -> Iterator[str | None]:
    """Killed `times` times at random moments, each time resumed; then compared with a training in one piece."""
    run, draw = directory / "epochs", random.Random(0)
    epochs = max(3, EPOCHS * times // 20)
    between = (epochs - 1) * PAUSES // times
    for _ in range(times):
        process, reading = forked(lambda tell: train(run, tell, epochs))
        going = told(reading, draw.randint(1, between))
        before = seen(process, run)
        time.sleep(draw.random() * 0.02)
        status = killed(process, reading)
        failure = None if going and status == -signal.SIGKILL else f"it ended by itself, with status {status}"
        yield failure or lost(before, whole(run))
    ended(*forked(lambda tell: train(run, lambda: None, epochs)))
    ended(*forked(lambda tell: train(directory / "in-one-piece", lambda: None, epochs)))
    if result(run) != result(directory / "in-one-piece"):
        yield "the end has other bits than a training that was never killed"


@of_fault("SIGTERM and SIGINT to `fnnet train`, then --resume")
def asked_to_stop(directory: Path, signals: tuple[int, ...]) -> Iterator[str | None]:
    """`fnnet train`, stopped by each signal in turn and resumed: the status that a shell expects, and the same bits."""
    run, one_piece = directory / "asked", directory / "asked-in-one-piece"
    settings = ["--net", "mlp", "--optimizer", "momentum", "--epochs", "400", "--save-every", "3600"]
    for number in signals:
        start = ["--resume", str(run)] if run.exists() else [*settings, "--output", str(run)]
        process, reading = forked(functools.partial(_command, ["train", *start]))
        epochs = _epochs(run)
        deadline = time.monotonic() + 120
        while _epochs(run) < epochs + 2 and time.monotonic() < deadline:  # in a training that has gone on
            time.sleep(0.02)
        before = seen(process, run / "checkpoints")
        os.kill(process, number)
        status = ended(process, reading)
        failure = None if status == 128 + number else f"status {status} after {signal.Signals(number).name}"
        after = whole(run / "checkpoints")
        failure = failure or (None if after.keys() - before.keys() else "nothing was saved")
        yield failure or lost(before, after)
    for start in (["--resume", str(run)], [*settings, "--output", str(one_piece)]):
        ended(*forked(functools.partial(_command, ["train", *start])))
    if result(run / "checkpoints") != result(one_piece / "checkpoints"):
        yield "the end has other bits than a training that was never stopped"


def _epochs(run: Path) -> int:
    history = run / "history.jsonl"
    return history.read_text().count("\n") if history.exists() else 0


def _command(arguments: list[str], tell: Callable[[], Any]) -> None:
    from fnnet.cli.command import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs without
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    status = main(arguments)
    sys.stdout.flush()
    os._exit(status)
