"""What a run directory holds, and how it is read.

config.json     the settings of the training
history.jsonl   one line an epoch, written as it happens (fnnet/cli/runs/journal.py)
checkpoints/    the last training states, to resume from and to evaluate (fnnet/training/resumption.py)
moments/        the parameters after every N-th epoch, with --trace-every N (fnnet/cli/runs/moments.py)
trace.html      the page of these moments, or of `fnnet trace`
*.png           learning curves; of images also confusion matrix, surest wrong answers, the first layer's kernels
"""

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from fnnet.cli import presets
from fnnet.cli.augmenting import are_amounts
from fnnet.cli.own_networks import is_own, own_network
from fnnet.cli.subjects import IMAGES, READINGS, Subject, subject_of, usual_reading
from fnnet.core import atomic
from fnnet.core.compiler import safe_options
from fnnet.layers.sequential import Sequential
from fnnet.rules.softmax import softmax
from fnnet.training import checkpoint, resumption
from fnnet.training.orbax_checkpoints import holds_some, newest_saved

CONFIG, HISTORY, CHECKPOINTS = "config.json", "history.jsonl", "checkpoints"
TRACE = "trace.html"
FIRST_LAYOUT = "checkpoint"  # in place of CHECKPOINTS in fnnet's first version: the parameters at the end, no more
Config = dict[str, Any]
FORM: dict[str, Callable[[Any], bool]] = {  # what each setting in config.json must be
    **dict.fromkeys(("data", "data_sha256"), lambda value: isinstance(value, str)),
    **dict.fromkeys(("epochs", "batch_size", "accumulate"), lambda value: type(value) is int and value > 0),
    **dict.fromkeys(("learning_rate", "label_smoothing"), lambda value: isinstance(value, float)),
    "seed": lambda value: type(value) is int and 0 <= value < 2**32,
    "allow_nonfinite": lambda value: isinstance(value, bool),
    "compute_dtype": lambda value: value is None or value in presets.COMPUTE_DTYPES,  # None: of an older run
    "net": lambda value: isinstance(value, str) and (value in presets.NETS or is_own(value)),
    "optimizer": lambda value: isinstance(value, str) and value in presets.OPTIMIZERS,
    "classes": lambda value: isinstance(value, list),
    "shape": lambda value: isinstance(value, list),
}
LATER: dict[str, Callable[[Any], bool]] = {  # the same of settings that older runs do not have
    "weight_decay": lambda value: isinstance(value, float) and value >= 0,
    "held_out": lambda value: value is None or (isinstance(value, float) and 0 <= value < 1),
    "schedule": lambda value: isinstance(value, str) and value in presets.SCHEDULES,
    "warmup": lambda value: type(value) is int and value >= 0,
    "clip": lambda value: value is None or (isinstance(value, float) and value > 0),
    "augment": are_amounts,
    "patience": lambda value: value is None or (type(value) is int and value > 0),
    "trace_every": lambda value: value is None or (type(value) is int and value > 0),
    "image_size": lambda value: value is None or (isinstance(value, list) and list(map(type, value)) == [int, int]),
    "channels": lambda value: value in (None, 1, 3),
    "examples": lambda value: value in ("images", "windows"),
    "reading": lambda value: value is None or value in READINGS,
}


class Run(NamedTuple):
    """A trained network, as its run directory has it.

    Args:
        net: The network.
        params: Its parameters: the last ones, or where the training has patience those of its best epoch.
        loss: One number an example.
        config: The settings.
        training: The trees of its newest checkpoint: the optimiser's state, the steps taken, ...
    """

    net: Any
    params: Any
    loss: Callable
    config: Config
    training: dict[str, Any] = {}  # noqa: RUF012

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an example."""
        return tuple(self.config["shape"])

    @property
    def subject(self) -> Subject:
        """What it is of: images or a text."""
        return subject_of(self.config)

    @property
    def reading(self) -> str | None:
        """How an image file becomes an example: one of READINGS; None where the examples are no images."""
        if "reading" in self.config:
            return self.config["reading"]
        return usual_reading(self.shape, self.classes) if self.subject is IMAGES else None

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
        if is_own(str(config.get("net"))):
            raise ValueError(f"load: {directory}: {error}") from None
        raise ValueError(f"load: {path} has no configuration of a network: {error!r}") from None
    # Where a training stops for lack of progress, the network is that of its best epoch.
    best = trees["best"] if config.get("patience") is not None and "best" in trees else trees.get("params", {})
    return Run(net, checkpoint.restore(best, wanted), loss, config, trees)


def must_be_directory(run: Path) -> None:
    """Raises ValueError if it is not, or is a part of one."""
    of_run = (run.parent / CONFIG).exists() and not (run / CONFIG).exists()
    if not run.is_dir() or (of_run and run.name == CHECKPOINTS):
        hint = f"; did you mean {run.parent}?" if of_run else ""
        raise ValueError(f"run {run} is not {'the directory of a run' if run.is_dir() else 'a directory'}{hint}")


def network(config: Config) -> tuple[Any, Callable]:
    """Network and loss of a configuration."""
    name, shape, dtype = config["net"], tuple(config["shape"]), config.get("compute_dtype")
    net = (own_network if is_own(name) else _preset)(name, len(config["classes"]), shape)
    if not is_own(name) or dtype in presets.COMPUTE_DTYPES[1:]:
        if not isinstance(net, Sequential):
            raise ValueError(f"network {name} must be a Sequential for --compute-dtype {dtype}")
        net = Sequential(*net.layers, compute_dtype=dtype)
    return net, subject_of(config).loss(config)


def _preset(name: str, classes: int, shape: tuple[int, ...]) -> Sequential:
    return presets.NETS[name](classes, shape)


def parameters(net: Any, config: Config) -> Any:
    """The shapes of the network's parameters."""
    return jax.eval_shape(lambda key: net.init(key, tuple(config["shape"])), jax.random.key(0))


def probabilities(net: Any, params: Any, xs: Any) -> jax.Array:
    """softmax(net(x)) for each example, a few hundred at once."""
    return jax.jit(_probabilities, static_argnums=0, compiler_options=safe_options())(net, params, xs)


def _probabilities(net: Any, params: Any, xs: Any) -> jax.Array:
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
    strange = [name for name, is_right in FORM.items() if not is_right(config.get(name))]
    strange += [name for name, is_right in LATER.items() if name in config and not is_right(config[name])]
    if strange:
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


def remove_untrained(run: Path) -> None:
    """Remove a new run directory in which nothing was trained: no epoch is noted, and no checkpoint was written."""
    history, checkpoints = run / HISTORY, run / CHECKPOINTS
    if (history.exists() and history.read_text()) or (checkpoints.is_dir() and any(checkpoints.iterdir())):
        return
    shutil.rmtree(run, ignore_errors=True)
    if run.parent.name == "runs":
        with contextlib.suppress(OSError):  # it has other runs
            run.parent.rmdir()


def warn(message: str) -> None:
    """Print one line to standard error."""
    print(f"fnnet: {' '.join(message.split())}", file=sys.stderr, flush=True)
