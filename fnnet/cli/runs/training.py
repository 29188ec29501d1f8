"""A training that fills a run directory, and one that goes on in it."""

import contextlib
import importlib.util
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fnnet.cli import presets, signals
from fnnet.cli.augmenting import amounts, augment_of
from fnnet.cli.own_networks import is_own, short
from fnnet.cli.runs.checkpoints import checkpoints_of
from fnnet.cli.runs.directory import (
    TRACE,
    Config,
    created,
    load,
    must_be_directory,
    network,
    parameters,
    read_config,
    remove_untrained,
    warn,
    write_config,
)
from fnnet.cli.runs.drawing import draw
from fnnet.cli.runs.last_optimizer import decayed_parameters
from fnnet.cli.runs.tracing import moments_of, title_of, traced
from fnnet.cli.runs.wording import advice, described, next_commands, other_epochs
from fnnet.cli.subjects import TEXT, Examples, place_of, subject_of
from fnnet.core.one_line import in_one_line
from fnnet.training import lock, processes
from fnnet.training.arguments import as_network
from fnnet.training.device_mesh import placement_on
from fnnet.training.fitting import NonFiniteLossError, fit
from fnnet.training.training_warnings import SILENCE, TrainingWarning

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
        config: The settings of `directory.FORM` and perhaps of `directory.LATER`, without those that are read from the
            data. "batch_size" may be None: what is usual for the data, less for few examples. "augment" has the names
            of `augmenting.changes`.
        directory: Must not exist. None: runs/<data>-<net>-<time>.
        seconds, devices, shard_parameters: --save-every, --devices and --shard-parameters of the command line.

    Raises:
        ValueError, OSError, ImportError, NonFiniteLossError, Stopped: With messages that the command line prints. Where
            nothing was trained no directory is left.
    """
    began = time.perf_counter()
    _needs_libraries()
    _ask_for_devices(devices)
    subject = subject_of(config)
    subject.refuse_unused(config["data"], config)
    dataset = subject.load(config["data"], config)
    xs, where = dataset.train[0], place_of(config["data"])
    config = config | {"data": where, "classes": list(dataset.classes), "shape": list(xs.shape[1:])}
    config["data_sha256"] = dataset.sha256()
    config["reading"] = subject.reading(where, dataset)
    if config["batch_size"] is None:
        few = 1 << max(0, (len(xs) // 8).bit_length() - 1)  # a power of 2, eight steps an epoch or more
        config["batch_size"] = min(presets.recipe(config["data"], config["net"]).batch_size, few)
    if config.get("augment"):
        config["augment"] = amounts(config["augment"], config["shape"])
        if "flip" in config["augment"] and config["reading"] == "digit":
            raise ValueError(
                "train: --augment flip would mirror the digits, and a mirrored digit is none; leave out flip"
            )
    _check(config, len(xs))
    shared = _shared(config, devices, shard_parameters)
    with processes.lost_ones_named("train"):
        new = created(directory, dataset.name, short(config["net"])) if processes.is_first() else ""
        run = Path(processes.agreed_text(str(new)))
        with _held(run):
            if processes.is_first():
                write_config(run, config)
            try:
                return _trained(run, config, dataset, seconds, began, shared)
            except BaseException:
                if processes.is_first():
                    remove_untrained(run)
                raise


def resume(
    run: Path,
    *,
    epochs: int | None = None,
    seconds: float = 30.0,
    devices: int | None = None,
    shard_parameters: bool = False,
) -> Path:
    """Go on with the training of a run directory from its newest whole checkpoint, or from its beginning.

    The result has the bits of a training that was never interrupted, on the same machine and versions, and with the
    same devices. With another number of epochs it has those of a training of so many from the start where the learning
    rate is constant; another schedule is, from here on, that of so many epochs. Arguments and errors are otherwise
    those of `train`.
    """
    began = time.perf_counter()
    _needs_libraries()
    _ask_for_devices(devices)
    must_be_directory(run)
    with processes.lost_ones_named("train"), _held(run):
        config = read_config(run)
        if epochs is not None and epochs != config["epochs"]:
            say(other_epochs(config, epochs))
            config = config | {"epochs": epochs}
        dataset = subject_of(config).load(config["data"], config)
        if dataset.sha256() != config["data_sha256"]:
            raise ValueError(f"resume: the data in {config['data']} are not those that {run} was trained on")
        return _trained(run, config, dataset, seconds, began, _shared(config, devices, shard_parameters))


def say(text: str) -> None:
    """Print a line, once for all processes."""
    if processes.is_first():
        print(text, flush=True)


def _trained(
    run: Path, config: Config, dataset: Examples, seconds: float, began: float, shared: dict[str, Any]
) -> Path:
    """Train in a locked directory, from its newest whole checkpoint if it has one, and draw the results."""
    net, loss = network(config)
    size = sum(leaf.size for leaf in jax.tree.leaves(parameters(net, config)))
    (xs, _), held_out, epochs = dataset.train, len(dataset.test[0]), config["epochs"]
    subject = subject_of(config)
    what = f"{len(xs)} {subject.examples} to train on, {held_out} held out"
    say(f"{dataset.name}: {what}; {short(config['net'])}: {size} parameters")
    say(described(config))
    if shared:
        say(f"on {shared['mesh'].size} devices of {jax.process_count()} processes")
    with signals.StopRequest() as request, _warnings_in_one_line():
        try:
            params, history = fit(
                net,
                loss,
                presets.optimizer(config, _steps(config, len(xs)), decayed_parameters(net, config)),
                dataset.train,
                key=jax.random.key(config["seed"]),
                epochs=epochs,
                batch_size=config["batch_size"],
                accumulate=config["accumulate"],
                validation=dataset.test,  # for the history: without patience nothing is chosen by it
                augment=augment_of(config),
                patience=config.get("patience"),
                checkpoints=checkpoints_of(run, config, seconds, request),
                allow_nonfinite=config["allow_nonfinite"],
                progress=processes.is_first(),
                **shared,
            )
        except NonFiniteLossError as error:
            raise NonFiniteLossError(f"{error}; {advice(config, xs)}", error.state, error.history) from None
    params = processes.on_host(params)
    last = history[-1]
    if config.get("patience") is not None:
        last = min(history, key=lambda record: record["validation_loss"])
        if len(history) < epochs:
            since = f"no lower held-out loss since epoch {last['epoch']} (--patience {config['patience']})"
            say(f"ended after epoch {len(history)} of {epochs}: {since}")
        say(f"epoch {last['epoch']} of {len(history)} had the lowest held-out loss, and its network is kept")
    if processes.is_first():
        draw(run, net, params, history, dataset, config)
        if config.get("trace_every") is not None and jax.process_count() == 1:
            trained = load(run)
            trace, _ = traced(trained)
            trace.save(run / TRACE, title=title_of(trained, run.name, None), moments=moments_of(run, trained, trace))
            say(f"trace: {run / TRACE}")
    answer = subject.answer(last["validation_loss"], last["validation_accuracy"])
    say(f"held out: {answer} of {held_out} {subject.examples}; {time.perf_counter() - began:.1f} s in all")
    if config["label_smoothing"]:
        smoothed, least = f"labels smoothed by {config['label_smoothing']:g}", subject.least_loss(config)
        say(f"the losses are of {smoothed}: none is below {least:.3f} (--label-smoothing 0 trains without)")
    say(f"run: {run}")
    say(f"next: {next_commands(run, config)}")
    return run


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Show the warnings of `fit` without a place in this package and advice for Python."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_line(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, TrainingWarning):
                warn(str(message).removesuffix(SILENCE))
            else:
                show(message, category, *where)

        warnings.showwarning = show_line  # type: ignore[assignment]
        yield


def _check(config: Config, examples: int) -> None:
    """Raises ValueError for settings that do not fit the data, before there is a directory."""
    subject, batch_size = subject_of(config), config["batch_size"]
    if batch_size > examples:
        raise ValueError(f"train: batch size {batch_size} must be at most the number of {subject.examples}, {examples}")
    if batch_size % config["accumulate"]:
        raise ValueError(f"train: accumulate {config['accumulate']} must divide batch size {batch_size}")
    if (warmup := config.get("warmup", 0)) >= (steps := _steps(config, examples)):
        raise ValueError(f"train: --warmup {warmup} must be less than the number of steps, {steps}")
    net, _ = network(config)
    try:
        as_network("train", net)
    except TypeError as error:
        raise ValueError(str(error)) from None
    x = jax.ShapeDtypeStruct(tuple(config["shape"]), np.int32 if subject is TEXT else np.float32)
    try:
        output = jax.eval_shape(net.apply, parameters(net, config), x)
    except Exception as error:  # perhaps of the user's code
        hint = "" if is_own(config["net"]) else "; --net mlp takes any shape"
        raise ValueError(f"network {config['net']} of an example {x.shape} raises {in_one_line(error)}{hint}") from None
    wanted = (*x.shape, len(config["classes"])) if subject is TEXT else (len(config["classes"]),)
    if getattr(output, "shape", None) != wanted:
        given = getattr(output, "shape", type(output).__name__)
        raise ValueError(f"network {config['net']} must give {wanted} numbers, one for each class, not {given}")


def _steps(config: Config, examples: int) -> int:
    steps: int = config["epochs"] * (examples // config["batch_size"])
    return steps


def _ask_for_devices(number: int | None) -> None:
    """Before JAX looks for devices: where there are only processors, they stand for so many."""
    if number is None or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    os.environ.setdefault("PJRT_NPROC", str(max(8, 3 * number)))  # a device that waits keeps its thread
    with contextlib.suppress(RuntimeError):  # JAX has looked for devices before
        jax.config.update("jax_num_cpu_devices", number)


def _needs_libraries() -> None:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ImportError(f'train: {", ".join(missing)} must be installed: pip install "fnnet[train]"')


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
