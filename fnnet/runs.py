"""Run directories: what a training writes, and what is read back from it.

config.json     what was asked for
history.jsonl   one line an epoch, written as it happens
checkpoint/     the parameters at the end, and the configuration (fnnet/checkpoint.py)
*.png           learning curves, confusion matrix, the surest wrong answers, the first layer's kernels
"""

import functools
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np

from fnnet import checkpoint, data, pictures, presets
from fnnet.network import Sequential
from fnnet.photographs import read_image
from fnnet.rules.categorical import softmax_cross_entropy
from fnnet.rules.probabilities import softmax
from fnnet.training import evaluate, fit

LINES = 20  # about so many epochs are printed
NEEDED = ("matplotlib", "PIL", "safetensors", "tqdm")


class Run(NamedTuple):
    """A trained network, as its run directory has it."""

    net: Sequential
    params: Any
    loss: Callable
    config: dict[str, Any]


def train(config: dict[str, Any], directory: Path | None) -> Path:
    """Train as `config` says and fill a new run directory with the results; returns it.

    Args:
        config: "data", "net", "epochs", "batch_size", "accumulate", "optimizer", "learning_rate", "label_smoothing",
            "seed".
        directory: Must not exist. None: runs/<data>-<net>-<time>.

    Raises:
        ValueError: The data are not as they should be, or fewer than a mini-batch.
        OSError: The data cannot be read, or the directory cannot be made.
        ImportError: What writes the results is not installed.
        NonFiniteLossError: From `fit`; the history so far is kept.
        KeyboardInterrupt: The same; its message says where the history is.
    """
    began = time.perf_counter()
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ImportError(f'train: {", ".join(missing)} must be installed: pip install "fnnet[train]"')
    dataset = data.load(config["data"])
    xs, held_out = dataset.train[0], len(dataset.test[0])
    where = config["data"] if config["data"] == "digits" else str(Path(config["data"]).resolve())
    config = config | {"data": where, "classes": list(dataset.classes), "shape": list(xs.shape[1:])}
    if config["batch_size"] > len(xs):
        raise ValueError(f"train: batch size {config['batch_size']} must be at most the number of images, {len(xs)}")
    if config["batch_size"] % config["accumulate"]:
        raise ValueError(f"train: accumulate {config['accumulate']} must divide batch size {config['batch_size']}")
    net, loss = _rebuilt(config)
    size = sum(leaf.size for leaf in jax.tree.leaves(_parameters_of(net, config)))
    run = _new_directory(directory, f"{dataset.name}-{config['net']}")
    (run / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(
        f"{dataset.name}: {len(xs)} images to train on, {held_out} held out; {config['net']}: {size} parameters",
        flush=True,
    )

    steps = config["epochs"] * (len(xs) // config["batch_size"])
    with (run / "history.jsonl").open("w") as file:
        try:
            params, history = fit(
                net,
                loss,
                presets.optimizer(config["optimizer"], config["learning_rate"], steps),
                dataset.train,
                key=jax.random.key(config["seed"]),
                epochs=config["epochs"],
                batch_size=config["batch_size"],
                accumulate=config["accumulate"],
                validation=dataset.test,  # for the history: nothing is chosen by it
                callback=lambda record, state: _note(file, record, config["epochs"]),
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"{file.name} has the epochs so far") from None
    checkpoint.save(run / "checkpoint", {"params": params}, config=config)
    _draw(run, net, params, history, dataset, config)
    accuracy = history[-1]["validation_accuracy"]
    of = f"{round(accuracy * held_out)} of {held_out}"
    print(f"held out: {100 * accuracy:.2f} % right, {of}; {time.perf_counter() - began:.1f} s in all")
    print(f"run: {run}")
    return run


def load(directory: Path) -> Run:
    """The trained network of a run directory; ValueError where it is not whole."""
    if not directory.is_dir():
        raise ValueError(f"run {directory} is not a directory")
    trees, config = checkpoint.load(directory / "checkpoint")
    try:
        net, loss = _rebuilt(config)
        wanted = _parameters_of(net, config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"load: {directory}/checkpoint has no configuration of a network: {error!r}") from None
    return Run(net, checkpoint.restore(trees.get("params", {}), wanted), loss, config)


def score(run: Run, source: str | None) -> tuple[dict[str, float], int]:
    """Loss and accuracy on the test images of `source`, or else of the data of the training; and their number."""
    xs, ys = data.load(run.config["data"] if source is None else source).test
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


@functools.partial(jax.jit, static_argnums=0)
def probabilities(net: Sequential, params: Any, xs: Any) -> jax.Array:
    """softmax(net(x)) for each example, a few hundred at once."""
    return jax.lax.map(lambda x: softmax(net.apply(params, x)), xs, batch_size=min(len(xs), 256))


def _rebuilt(config: dict[str, Any]) -> tuple[Sequential, Callable]:
    """Network and loss of a configuration."""
    net = presets.NETS[config["net"]](len(config["classes"]), tuple(config["shape"]))
    return net, functools.partial(softmax_cross_entropy, label_smoothing=config["label_smoothing"])


def _parameters_of(net: Sequential, config: dict[str, Any]) -> Any:
    """The shapes of its parameters."""
    return jax.eval_shape(lambda key: net.init(key, tuple(config["shape"])), jax.random.key(0))


def _new_directory(directory: Path | None, name: str) -> Path:
    """A directory that was not there before."""
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


def _note(file: TextIO, record: dict[str, Any], epochs: int) -> None:
    """One line into the history, and now and then one for the reader."""
    file.write(json.dumps(record) + "\n")
    file.flush()
    epoch = record["epoch"]
    if epoch in (1, epochs) or epoch % max(1, round(epochs / LINES)) == 0:
        count = f"epoch {epoch:{len(str(epochs))}}/{epochs}"
        held_out = f"held out {record['validation_loss']:.4f}, {100 * record['validation_accuracy']:6.2f} % right"
        print(f"{count}   loss {record['loss']:.4f}   {held_out}   {record['seconds']:5.1f} s", flush=True)


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
