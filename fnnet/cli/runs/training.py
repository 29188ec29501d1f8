"""A training that fills a run directory, and one that goes on in it."""

import contextlib
import functools
import hashlib
import importlib.util
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fnnet.cli import presets, signals
from fnnet.cli.runs import pictures
from fnnet.cli.runs.checkpoints import checkpoints_of
from fnnet.cli.runs.directory import (
    Config,
    created,
    must_be_directory,
    network,
    parameters,
    probabilities,
    read_config,
    write_config,
)
from fnnet.cli.subjects import IMAGES, Examples, subject_of
from fnnet.data.text import TOPICS
from fnnet.layers.sequential import Sequential
from fnnet.training import lock, processes
from fnnet.training.device_mesh import placement_on
from fnnet.training.fitting import fit

NEEDED = ("matplotlib", "PIL", "safetensors", "tqdm")


def train(
    config: Config,
    directory: Path | None,
    *,
    seconds: float = 30.0,
    devices: int | None = None,
    shard_parameters: bool = False,
) -> Path:
    """Train as `config` says and fill a new run directory with the results; returns it.

    Args:
        config: The settings of `directory.FORM`, without those that are read from the data.
        directory: Must not exist. None: runs/<data>-<net>-<time>.
        seconds, devices, shard_parameters: --save-every, --devices and --shard-parameters of the command line.

    Raises:
        ValueError, OSError, ImportError, NonFiniteLossError, Stopped: With messages that the command line prints.
    """
    began = time.perf_counter()
    _needs_libraries()
    subject = subject_of(config["net"])
    dataset = subject.load(config["data"], allow_nonfinite=config["allow_nonfinite"])
    xs = dataset.train[0]
    where = config["data"] if config["data"] in ("digits", TOPICS) else str(Path(config["data"]).resolve())
    config = config | {"data": where, "classes": list(dataset.classes), "shape": list(xs.shape[1:])}
    config["data_sha256"] = _digest(dataset)
    if config["batch_size"] > len(xs):
        raise ValueError(
            f"train: batch size {config['batch_size']} must be at most the number of {subject.examples}, {len(xs)}"
        )
    if config["batch_size"] % config["accumulate"]:
        raise ValueError(f"train: accumulate {config['accumulate']} must divide batch size {config['batch_size']}")
    network(config)  # raises for layers that do not fit the images, before there is a directory
    shared = _shared(config, devices, shard_parameters)
    with processes.lost_ones_named("train"):
        new = created(directory, dataset.name, config["net"]) if processes.is_first() else ""
        run = Path(processes.agreed_text(str(new)))
        with _held(run):
            if processes.is_first():
                write_config(run, config)
            return _trained(run, config, dataset, seconds, began, shared)


def resume(run: Path, *, seconds: float = 30.0, devices: int | None = None, shard_parameters: bool = False) -> Path:
    """Go on with the training of a run directory from its newest whole checkpoint, or from its beginning.

    The result has the bits of a training that was never interrupted, on the same machine and versions, and with the
    same devices. Arguments and errors are those of `train`.
    """
    began = time.perf_counter()
    _needs_libraries()
    must_be_directory(run)
    with processes.lost_ones_named("train"), _held(run):
        config = read_config(run)
        dataset = subject_of(config["net"]).load(config["data"], allow_nonfinite=config["allow_nonfinite"])
        if _digest(dataset) != config["data_sha256"]:
            raise ValueError(f"resume: the data in {config['data']} are not those that {run} was trained on")
        return _trained(run, config, dataset, seconds, began, _shared(config, devices, shard_parameters))


def _trained(
    run: Path, config: Config, dataset: Examples, seconds: float, began: float, shared: dict[str, Any]
) -> Path:
    """Train in a locked directory, from its newest whole checkpoint if it has one, and draw the results."""
    net, loss = network(config)
    size = sum(leaf.size for leaf in jax.tree.leaves(parameters(net, config)))
    (xs, _), held_out, epochs = dataset.train, len(dataset.test[0]), config["epochs"]
    say = functools.partial(print, flush=True) if processes.is_first() else lambda *_: None
    subject = subject_of(config["net"])
    what = f"{len(xs)} {subject.examples} to train on, {held_out} held out"
    say(f"{dataset.name}: {what}; {config['net']}: {size} parameters")
    if shared:
        say(f"on {shared['mesh'].size} devices of {jax.process_count()} processes")
    with signals.StopRequest() as request:
        params, history = fit(
            net,
            loss,
            presets.optimizer(config["optimizer"], config["learning_rate"], epochs * (len(xs) // config["batch_size"])),
            dataset.train,
            key=jax.random.key(config["seed"]),
            epochs=epochs,
            batch_size=config["batch_size"],
            accumulate=config["accumulate"],
            validation=dataset.test,  # for the history: nothing is chosen by it
            checkpoints=checkpoints_of(run, config, seconds, request),
            allow_nonfinite=config["allow_nonfinite"],
            progress=processes.is_first(),
            **shared,
        )
    params = processes.on_host(params)
    if processes.is_first():
        _draw(run, net, params, history, dataset, config)
    answer = subject.answer(history[-1]["validation_loss"], history[-1]["validation_accuracy"])
    say(f"held out: {answer} of {held_out} {subject.examples}; {time.perf_counter() - began:.1f} s in all")
    say(f"run: {run}")
    return run


def _needs_libraries() -> None:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ImportError(f'train: {", ".join(missing)} must be installed: pip install "fnnet[train]"')


def _digest(dataset: Examples) -> str:
    """SHA-256 of all examples, by which a resumed training knows its data."""
    digest = hashlib.sha256()
    for array in (*dataset.train, *dataset.test):
        digest.update(str(array.shape).encode())
        for leaf in jax.tree.leaves(array):  # itself, or the text that windows are of
            digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def _held(run: Path) -> contextlib.AbstractContextManager:
    """The lock of the run directory; the first process holds it for all."""
    return lock.held(run) if processes.is_first() else contextlib.nullcontext()


def _shared(config: Config, devices: int | None, shard_parameters: bool) -> dict[str, Any]:
    """What `fit` is given of the devices; ValueError where they are too few or cannot share a mini-batch."""
    if devices is None and jax.process_count() == 1:
        if shard_parameters:
            raise ValueError("train: --shard-parameters needs --devices or --processes")
        return {}
    found = jax.devices()
    if devices is not None and devices > len(found):
        kind = found[0].platform
        more = f"; XLA_FLAGS=--xla_force_host_platform_device_count={devices} makes so many" if kind == "cpu" else ""
        raise ValueError(
            f"train: --devices {devices} must be at most the number of devices here, {len(found)} ({kind}){more}"
        )
    mesh = jax.sharding.Mesh(np.array(found[:devices]), ("data",))
    placement_on("train", mesh, shard_parameters).check("train", config["batch_size"], config["accumulate"])
    return {"mesh": mesh, "shard_parameters": shard_parameters}


def _draw(run: Path, net: Sequential, params: Any, history: list, dataset: Examples, config: Config) -> None:
    """All pictures of the run."""
    smoothing = f", labels smoothed by {config['label_smoothing']}" if config["label_smoothing"] else ""
    title = f"{config['net']} on {dataset.name}, {config['optimizer']}{smoothing}"
    subject = subject_of(config["net"])
    pictures.curves(run / "curves.png", history, title=title, of=subject.labelled)
    if subject is not IMAGES:
        return
    xs, ys = dataset.test
    chances = np.asarray(probabilities(net, params, xs))
    pictures.confusion(run / "confusion.png", ys, chances.argmax(-1), dataset.classes)
    pictures.surest_mistakes(run / "wrong.png", xs, ys, chances, dataset.classes)
    first = next(params[name]["kernel"] for name, layer in net.members.items() if layer.entries)
    pictures.kernels(run / "kernels.png", np.asarray(first), xs.shape[1:])
