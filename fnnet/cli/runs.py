"""Run directories: what a training writes, and what is read back from it.

config.json     what was asked for
history.jsonl   one line an epoch, written as it happens (fnnet/cli/journal.py)
checkpoints/    the last training states, to go on from and to evaluate (fnnet/training/resumption.py)
*.png           learning curves, confusion matrix, the surest wrong answers, the first layer's kernels
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fnnet import data
from fnnet.cli import pictures, presets, signals
from fnnet.cli.journal import Journal, write_whole
from fnnet.core.compiler import safe_options
from fnnet.data.image_files import read_image
from fnnet.layers.sequential import Sequential
from fnnet.rules.class_losses import softmax_cross_entropy
from fnnet.rules.softmax import softmax
from fnnet.training import checkpoint, lock, processes, resumption
from fnnet.training.fitting import evaluate, fit
from fnnet.training.orbax_checkpoints import OrbaxCheckpoints, holds_some, newest_saved
from fnnet.training.placement import placement_on
from fnnet.training.resumption import Checkpoints, Moment
from fnnet.training.steps import State

CONFIG, HISTORY, CHECKPOINTS = "config.json", "history.jsonl", "checkpoints"
FORM: dict[str, Callable[[Any], bool]] = {  # of what `train` writes into config.json
    **dict.fromkeys(("data", "data_sha256"), lambda value: isinstance(value, str)),
    **dict.fromkeys(("epochs", "batch_size", "accumulate"), lambda value: type(value) is int and value > 0),
    **dict.fromkeys(("learning_rate", "label_smoothing"), lambda value: isinstance(value, float)),
    "seed": lambda value: type(value) is int and 0 <= value < 2**32,
    "allow_nonfinite": lambda value: isinstance(value, bool),
    "compute_dtype": lambda value: value is None or value in presets.COMPUTE_DTYPES,  # None: of an older run
    "net": lambda value: isinstance(value, str) and value in presets.NETS,
    "optimizer": lambda value: isinstance(value, str) and value in presets.OPTIMIZERS,
    "classes": lambda value: isinstance(value, list),
    "shape": lambda value: isinstance(value, list),
}
NEEDED = ("matplotlib", "PIL", "safetensors", "tqdm")


class Run(NamedTuple):
    """A trained network, as its run directory has it."""

    net: Sequential
    params: Any
    loss: Callable
    config: dict[str, Any]


def train(
    config: dict[str, Any],
    directory: Path | None,
    *,
    seconds: float = 30.0,
    devices: int | None = None,
    shard_parameters: bool = False,
) -> Path:
    """Train as `config` says and fill a new run directory with the results; returns it.

    Args:
        config: "data", "net", "epochs", "batch_size", "accumulate", "optimizer", "learning_rate", "label_smoothing",
            "compute_dtype", "seed", "allow_nonfinite".
        directory: Must not exist. None: runs/<data>-<net>-<time>.
        seconds: How long to wait from one checkpoint to the next.
        devices: How many share each mini-batch; None: one, or those of all processes if there are several.
        shard_parameters: Whether they share the parameters, too.

    Raises:
        ValueError: The data are not as they should be, or fewer than a mini-batch; there are fewer devices, or a
            mini-batch cannot be shared evenly.
        OSError: The data cannot be read, or the directory cannot be made.
        ImportError: What writes the results is not installed.
        NonFiniteLossError: From `fit`; the history so far is kept.
        Stopped: A signal ended it, after a checkpoint; its message says how to go on.
    """
    began = time.perf_counter()
    _needs_libraries()
    dataset = data.load(config["data"], allow_nonfinite=config["allow_nonfinite"])
    xs = dataset.train[0]
    where = config["data"] if config["data"] == "digits" else str(Path(config["data"]).resolve())
    config = config | {"data": where, "classes": list(dataset.classes), "shape": list(xs.shape[1:])}
    config["data_sha256"] = _digest(dataset)
    if config["batch_size"] > len(xs):
        raise ValueError(f"train: batch size {config['batch_size']} must be at most the number of images, {len(xs)}")
    if config["batch_size"] % config["accumulate"]:
        raise ValueError(f"train: accumulate {config['accumulate']} must divide batch size {config['batch_size']}")
    _rebuilt(config)
    shared = _shared(config, devices, shard_parameters)
    with processes.lost_ones_named("train"):
        run = Path(processes.agreed_text(str(_new_directory(directory, dataset.name, config["net"]))))
        with _held(run):
            if processes.is_first():
                write_whole(run / CONFIG, json.dumps(config, indent=1) + "\n")
            return _trained(run, config, dataset, seconds, began, shared)


def resume(run: Path, *, seconds: float = 30.0, devices: int | None = None, shard_parameters: bool = False) -> Path:
    """Go on with the training of a run directory from its newest whole checkpoint, or from its beginning.

    The result has the bits of a training that was never interrupted, on the same machine and versions.

    Args:
        run: The directory.
        seconds, devices, shard_parameters: As in `train`; other devices than before give other roundings.

    Raises:
        ValueError: It is no run directory, its data have changed, or another process trains in it.
        OSError, ImportError, NonFiniteLossError, Stopped: As in `train`.
    """
    began = time.perf_counter()
    _needs_libraries()
    if not run.is_dir():
        raise ValueError(f"run {run} is not a directory")
    with processes.lost_ones_named("train"), _held(run):
        config = _config_of(run)
        if strange := [name for name, is_right in FORM.items() if not is_right(config.get(name))]:
            raise ValueError(f"resume: {run / CONFIG} has no {', '.join(strange)}, or in another form")
        dataset = data.load(config["data"], allow_nonfinite=config["allow_nonfinite"])
        if _digest(dataset) != config["data_sha256"]:
            raise ValueError(f"resume: the data in {config['data']} are not those that {run} was trained on")
        return _trained(run, config, dataset, seconds, began, _shared(config, devices, shard_parameters))


class _Watched(Checkpoints):
    """Checkpoints that also keep the journal, and end the training when a signal has asked for it."""

    def __init__(self, run: Path, config: dict[str, Any], seconds: float, journal: Journal, wish: signals.Wish):
        super().__init__(run / CHECKPOINTS, config=config, seconds=seconds, report=_warn)
        self.run, self.journal, self.wish = run, journal, wish

    def resume(self, state: State) -> Moment | None:
        moment = super().resume(state)
        if processes.is_first():
            self.journal.note([] if moment is None else moment.history)
        if moment is not None and processes.is_first():
            done = int(moment.tally.steps)
            more = f" and {done} steps" if done else ""
            print(f"going on after epoch {int(moment.state.epoch)}{more}", flush=True)
        return moment

    def __call__(self, moment: Moment) -> None:
        if not int(moment.tally.steps) and processes.is_first():  # the end of an epoch
            self.journal.show(moment.history[-1])
            try:
                self.journal.note(moment.history)
            except OSError as error:
                if moment.ended:
                    raise
                _warn(f"{self.journal.file} cannot be written: {error}; the training goes on")
        number = processes.largest(self.wish.number or 0)
        if not number:
            super().__call__(moment)
        else:
            raise signals.Stopped(number, self._last_words(moment))

    def _last_words(self, moment: Moment) -> str:
        """Save, and say what became of it."""
        where = f"stopped in epoch {int(moment.state.epoch) + 1}, after step {int(moment.tally.steps)} of it"
        if moment.ended:
            where = "stopped after the last epoch, before the pictures"
        again = f"fnnet train --resume {self.run} goes on"
        try:
            saved = self.save(moment)
        except OSError as error:
            return f"{where}; this could not be saved: {error}; {again} from the checkpoint before"
        return f"{where}; {saved} has it; {again} from there"


class _WatchedByAll(_Watched, OrbaxCheckpoints):
    """Of a training in several processes."""


def _held(run: Path) -> contextlib.AbstractContextManager:
    """The run directory, which the first process holds for all."""
    return lock.held(run) if processes.is_first() else contextlib.nullcontext()


def _shared(config: dict[str, Any], devices: int | None, shard_parameters: bool) -> dict[str, Any]:
    """What `fit` is told of the devices; ValueError where they are too few or cannot share a mini-batch."""
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


def _checkpoints(run: Path) -> type[_Watched]:
    """Those of several processes, if they are several or were; ValueError where several find those of one."""
    by_all = holds_some(run / CHECKPOINTS)
    if jax.process_count() > 1 and not by_all and resumption.found_in(run / CHECKPOINTS):
        raise ValueError(f"resume: {run} was begun in one process, and must go on in one")
    return _WatchedByAll if by_all or jax.process_count() > 1 else _Watched


def _trained(
    run: Path, config: dict[str, Any], dataset: data.Dataset, seconds: float, began: float, shared: dict[str, Any]
) -> Path:
    """Train in a locked directory, from its newest whole checkpoint if it has one, and draw the results."""
    net, loss = _rebuilt(config)
    size = sum(leaf.size for leaf in jax.tree.leaves(_parameters_of(net, config)))
    (xs, _), held_out, epochs = dataset.train, len(dataset.test[0]), config["epochs"]
    say = functools.partial(print, flush=True) if processes.is_first() else lambda *_: None
    say(f"{dataset.name}: {len(xs)} images to train on, {held_out} held out; {config['net']}: {size} parameters")
    if shared:
        say(f"on {shared['mesh'].size} devices of {jax.process_count()} processes")
    with signals.Wish() as wish:
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
            checkpoints=_checkpoints(run)(run, config, seconds, Journal(run / HISTORY, epochs), wish),
            allow_nonfinite=config["allow_nonfinite"],
            progress=processes.is_first(),
            **shared,
        )
    params = processes.on_host(params)
    if processes.is_first():
        _draw(run, net, params, history, dataset, config)
    accuracy = history[-1]["validation_accuracy"]
    of = f"{round(accuracy * held_out)} of {held_out}"
    say(f"held out: {100 * accuracy:.2f} % right, {of}; {time.perf_counter() - began:.1f} s in all")
    say(f"run: {run}")
    return run


def load(directory: Path) -> Run:
    """The network of a run directory, as its newest whole checkpoint has it; ValueError where there is none."""
    if not directory.is_dir():
        raise ValueError(f"run {directory} is not a directory")
    older = directory / "checkpoint"  # of fnnet's first version: the parameters at the end
    faults: list[str] = []
    if holds_some(directory / CHECKPOINTS):
        saved = newest_saved(directory / CHECKPOINTS)
    else:
        saved = resumption.newest(directory / CHECKPOINTS, lambda path, error: faults.append(str(error)))
    for fault in faults:
        _warn(f"{fault}; it is left out")
    if saved is not None:
        path, trees, config = saved.directory, saved.trees, saved.config
    elif older.exists() and not faults:
        path, (trees, config) = older, checkpoint.load(older)
    else:
        raise ValueError(f"load: {directory / CHECKPOINTS} has no whole checkpoint")
    try:
        net, loss = _rebuilt(config)
        wanted = _parameters_of(net, config)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"load: {path} has no configuration of a network: {error!r}") from None
    return Run(net, checkpoint.restore(trees.get("params", {}), wanted), loss, config)


def score(run: Run, source: str | None) -> tuple[dict[str, float], int]:
    """Loss and accuracy on the test images of `source`, or else of the data of the training; and their number."""
    nonfinite = bool(run.config.get("allow_nonfinite"))
    xs, ys = data.load(run.config["data"] if source is None else source, allow_nonfinite=nonfinite).test
    wanted = tuple(run.config["shape"])
    if xs.shape[1:] != wanted:
        raise ValueError(
            f"evaluate: images of shape {xs.shape[1:]} must have the shape {wanted} that the run was trained on"
        )
    return evaluate(run.net, run.params, run.loss, (xs, ys)), len(xs)


def classify(run: Run, file: str) -> list[tuple[str, float]]:
    """All classes with their probabilities for an image file, the most probable first."""
    image = read_image(file, tuple(run.config["shape"]))
    chances = np.asarray(probabilities(run.net, run.params, image[None])[0])
    return [(run.config["classes"][place], float(chances[place])) for place in np.argsort(-chances, kind="stable")]


def probabilities(net: Sequential, params: Any, xs: Any) -> jax.Array:
    """softmax(net(x)) for each example, a few hundred at once."""
    return jax.jit(_probabilities, static_argnums=0, compiler_options=safe_options())(net, params, xs)


def _probabilities(net: Sequential, params: Any, xs: Any) -> jax.Array:
    return jax.lax.map(lambda x: softmax(net.apply(params, x)), xs, batch_size=min(len(xs), 256))


def _rebuilt(config: dict[str, Any]) -> tuple[Sequential, Callable]:
    """Network and loss of a configuration."""
    layers = presets.NETS[config["net"]](len(config["classes"]), tuple(config["shape"])).layers
    net = Sequential(*layers, compute_dtype=config.get("compute_dtype"))
    return net, functools.partial(softmax_cross_entropy, label_smoothing=config["label_smoothing"])


def _parameters_of(net: Sequential, config: dict[str, Any]) -> Any:
    """The shapes of its parameters."""
    return jax.eval_shape(lambda key: net.init(key, tuple(config["shape"])), jax.random.key(0))


def _needs_libraries() -> None:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ImportError(f'train: {", ".join(missing)} must be installed: pip install "fnnet[train]"')


def _config_of(run: Path) -> dict[str, Any]:
    """What was asked for, from config.json or, where that is damaged, from the newest whole checkpoint."""
    file = run / CONFIG
    try:
        config = json.loads(file.read_text())
        if not isinstance(config, dict):
            raise ValueError("it is not a JSON object")
        return config
    except (OSError, ValueError, RecursionError) as error:
        if not file.exists() and (run / "checkpoint").exists():
            raise ValueError(f"resume: {run} has no training state, only parameters") from None
        saved = resumption.newest(run / CHECKPOINTS, lambda path, error: None)
        if saved is None:
            raise ValueError(f"resume: {file} cannot be read, and there is no whole checkpoint: {error}") from None
        _warn(f"{file} cannot be read ({error}); {saved.directory} has the configuration, too")
        write_whole(file, json.dumps(saved.config, indent=1) + "\n")
        return saved.config


def _digest(dataset: data.Dataset) -> str:
    """SHA-256 of all examples, by which a resumed training knows its data."""
    digest = hashlib.sha256()
    for array in (*dataset.train, *dataset.test):
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _warn(message: str) -> None:
    print(f"fnnet: {' '.join(message.split())}", file=sys.stderr, flush=True)


def _new_directory(directory: Path | None, *names: str) -> Path:
    """A directory that was not there before; the first process makes it."""
    if not processes.is_first():
        return Path()
    name = "-".join(names)
    if directory is not None:
        directory.mkdir(parents=True)
        return directory
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    for attempt in range(100):
        run = Path("runs", f"{stem}-{attempt + 1}" if attempt else stem)
        try:
            run.mkdir(parents=True)
            return run
        except FileExistsError:
            continue
    raise FileExistsError(f"runs/{stem} and a hundred like it exist")


def _draw(
    run: Path, net: Sequential, params: Any, history: list, dataset: data.Dataset, config: dict[str, Any]
) -> None:
    """All pictures of the run."""
    xs, ys = dataset.test
    chances = np.asarray(probabilities(net, params, xs))
    smoothing = f", labels smoothed by {config['label_smoothing']}" if config["label_smoothing"] else ""
    title = f"{config['net']} on {dataset.name}, {config['optimizer']}{smoothing}"
    pictures.curves(run / "curves.png", history, title=title)
    pictures.confusion(run / "confusion.png", ys, chances.argmax(-1), dataset.classes)
    pictures.surest_mistakes(run / "wrong.png", xs, ys, chances, dataset.classes)
    first = next(own["kernel"] for own in params.values())
    pictures.kernels(run / "kernels.png", np.asarray(first), xs.shape[1:])
