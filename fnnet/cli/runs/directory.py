"""What a run directory holds, and how it is read.

config.json     the settings of the training
history.jsonl   one line an epoch, written as it happens (fnnet/cli/runs/journal.py)
checkpoints/    the last training states, to resume from and to evaluate (fnnet/training/resumption.py)
*.png           learning curves; of images also confusion matrix, surest wrong answers, the first layer's kernels
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from fnnet.cli import presets
from fnnet.cli.subjects import Subject, subject_of
from fnnet.core import atomic
from fnnet.core.compiler import safe_options
from fnnet.layers.sequential import Sequential
from fnnet.rules.softmax import softmax
from fnnet.training import checkpoint, resumption
from fnnet.training.orbax_checkpoints import holds_some, newest_saved

CONFIG, HISTORY, CHECKPOINTS = "config.json", "history.jsonl", "checkpoints"
FIRST_LAYOUT = "checkpoint"  # in place of CHECKPOINTS in fnnet's first version: the parameters at the end, no more
Config = dict[str, Any]
FORM: dict[str, Callable[[Any], bool]] = {  # what each setting in config.json must be
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


class Run(NamedTuple):
    """A trained network, as its run directory has it."""

    net: Sequential
    params: Any
    loss: Callable
    config: Config

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an example."""
        return tuple(self.config["shape"])

    @property
    def subject(self) -> Subject:
        """What it is of: images or a text."""
        return subject_of(self.config["net"])

    @property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return [str(name) for name in self.config["classes"]]

    def __call__(self, xs: Any) -> jax.Array:
        """The probability of each class, for each example of a mini-batch."""
        return probabilities(self.net, self.params, xs)


def load(directory: Path) -> Run:
    """The network of a run directory, by its newest whole checkpoint; ValueError where there is none."""
    must_be_directory(directory)
    faults: list[str] = []
    if holds_some(directory / CHECKPOINTS):
        saved = newest_saved(directory / CHECKPOINTS)
    else:
        saved = resumption.newest(directory / CHECKPOINTS, lambda path, error: faults.append(str(error)))
    for fault in faults:
        warn(f"{fault}; it is left out")
    if saved is not None:
        path, trees, config = saved.directory, saved.trees, saved.config
    elif (directory / FIRST_LAYOUT).exists() and not faults:
        path, (trees, config) = directory / FIRST_LAYOUT, checkpoint.load(directory / FIRST_LAYOUT)
    else:
        raise ValueError(f"load: {directory / CHECKPOINTS} has no whole checkpoint")
    try:
        net, loss = network(config)
        wanted = parameters(net, config)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"load: {path} has no configuration of a network: {error!r}") from None
    return Run(net, checkpoint.restore(trees.get("params", {}), wanted), loss, config)


def must_be_directory(run: Path) -> None:
    """Raises ValueError if it is not."""
    if not run.is_dir():
        raise ValueError(f"run {run} is not a directory")


def network(config: Config) -> tuple[Sequential, Callable]:
    """Network and loss of a configuration."""
    layers = presets.NETS[config["net"]](len(config["classes"]), tuple(config["shape"])).layers
    net = Sequential(*layers, compute_dtype=config.get("compute_dtype"))
    return net, subject_of(config["net"]).loss(config)


def parameters(net: Sequential, config: Config) -> Any:
    """The shapes of the network's parameters."""
    return jax.eval_shape(lambda key: net.init(key, tuple(config["shape"])), jax.random.key(0))


def probabilities(net: Sequential, params: Any, xs: Any) -> jax.Array:
    """softmax(net(x)) for each example, a few hundred at once."""
    return jax.jit(_probabilities, static_argnums=0, compiler_options=safe_options())(net, params, xs)


def _probabilities(net: Sequential, params: Any, xs: Any) -> jax.Array:
    return jax.lax.map(lambda x: softmax(net.apply(params, x)), xs, batch_size=min(len(xs), 256))


def write_config(run: Path, config: Config) -> None:
    """Write config.json."""
    atomic.write_file(run / CONFIG, f"{json.dumps(config, indent=1)}\n".encode())


def read_config(run: Path) -> Config:
    """The settings of a run, from config.json or, where that is damaged, from the newest whole checkpoint.

    Raises:
        ValueError: Neither has them, or a setting is missing or in another form.
    """
    config = _read_config(run)
    if strange := [name for name, is_right in FORM.items() if not is_right(config.get(name))]:
        raise ValueError(f"resume: {run / CONFIG} has no {', '.join(strange)}, or in another form")
    return config


def _read_config(run: Path) -> Config:
    file = run / CONFIG
    try:
        config = json.loads(file.read_text())
        if not isinstance(config, dict):
            raise ValueError("it is not a JSON object")
        return config
    except (OSError, ValueError, RecursionError) as error:
        if not file.exists() and (run / FIRST_LAYOUT).exists():
            raise ValueError(f"resume: {run} has no training state, only parameters") from None
        saved = resumption.newest(run / CHECKPOINTS, lambda path, error: None)
        if saved is None:
            raise ValueError(f"resume: {file} cannot be read, and there is no whole checkpoint: {error}") from None
        warn(f"{file} cannot be read ({error}); {saved.directory} has the configuration, too")
        write_config(run, saved.config)
        return saved.config


def created(directory: Path | None, *names: str) -> Path:
    """A new directory: the given one, or runs/<names>-<time>; FileExistsError if the given one exists."""
    if directory is not None:
        directory.mkdir(parents=True)
        return directory
    stem = f"{'-'.join(names)}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 101):
        with contextlib.suppress(FileExistsError):  # of another training that began in this second
            run = Path("runs", f"{stem}-{number}" if number > 1 else stem)
            run.mkdir(parents=True)
            return run
    raise FileExistsError(f"runs/{stem} and a hundred like it exist")


def warn(message: str) -> None:
    """Print one line to standard error."""
    print(f"fnnet: {' '.join(message.split())}", file=sys.stderr, flush=True)
