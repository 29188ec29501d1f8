"""`fnnet train`: train a network and write a run directory, or resume a training that was stopped."""

import functools
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fnnet.cli import presets, runs, subjects
from fnnet.cli.parsing import Command, Parser, at_least_zero, one_of, positive, whole
from fnnet.data.text import TOPICS
from fnnet.training.processes import connect, launch

# What --resume may be given beside it: how the training is run, not what is trained.
MAY_CHANGE = {"resume", "save_every", "devices", "shard_parameters", "processes", "cluster"}


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    parser: Parser = commands.add_parser("train", help="train a network and write a run directory")
    nets, optimizers = ", ".join(presets.NETS), ", ".join(presets.OPTIMIZERS)
    net, optimizer = one_of("network", presets.NETS), one_of("optimizer", presets.OPTIMIZERS)
    same = "of parameters, order and dropout: the same gives the same bits"
    add = parser.add_argument
    add("--data", help='"digits" (the default), a directory of IDX files such as MNIST\'s; "topics", a text, or a file')
    add("--net", type=net, help=f"{nets}; usually lenet for the digits, gpt for a text, else cnn")
    add("--epochs", type=whole(1), help="how often to go through the data")
    add("--batch-size", type=whole(1), help="images, or windows of a text, in a mini-batch")
    add("--accumulate", type=whole(1), default=1, help="split a mini-batch into so many chunks: less memory")
    add("--optimizer", type=optimizer, help=f"{optimizers}; all but sgd with a cosine schedule")
    add("--learning-rate", type=positive, help="at the beginning")
    computed = "of products and activations; parameters and sums stay float32; usually float32"
    dtypes = one_of("compute dtype", presets.COMPUTE_DTYPES)
    add("--compute-dtype", type=dtypes, default="float32", metavar="DTYPE", help=f"float32 or bfloat16, {computed}")
    add("--seed", type=whole(0, 2**32 - 1), help=f"{same}; usually 0")
    add("--output", type=Path, help="the run directory, which must not exist; usually runs/<data>-<net>-<time>")
    add("--resume", type=Path, metavar="RUN", help="go on with a run that was stopped, as if it had not been")
    every = "seconds from one checkpoint to the next; usually 30"
    add("--save-every", type=at_least_zero, default=30.0, metavar="SECONDS", help=every)
    add("--allow-nonfinite", action="store_true", help="train though images have NaN or infinite numbers")
    add("--devices", type=whole(1), metavar="N", help="share each mini-batch over so many devices")
    apart = "share the parameters over the devices, too (as in FSDP)"
    add("--shard-parameters", action="store_true", help=apart)
    add("--processes", type=whole(1), metavar="N", help="train in so many processes on this machine")
    joined = "be one of the processes that a cluster started; the environment says which"
    add("--cluster", action="store_true", help=joined)
    parser.set_defaults(command=Command(parser, functools.partial(train, parser)))


def train(parser: Parser, **values: Any) -> int | None:
    """Train or resume, in this process or in several that it starts; returns their exit status."""
    if (number := values["processes"]) is not None:
        again = parser.written(values | {"processes": None, "cluster": True})
        return launch(number, [sys.executable, "-m", "fnnet", "train", *again])
    if values["cluster"]:
        if values["devices"] is not None:
            raise ValueError("train: all devices of all processes share the work; leave out --devices")
        connect()
    shared = {"devices": values["devices"], "shard_parameters": values["shard_parameters"]}
    if values["resume"] is not None:
        _refuse_settings(parser.changed(values).keys() - MAY_CHANGE)
        runs.resume(values["resume"], seconds=values["save_every"], **shared)
    else:
        runs.train(_config(values), values["output"], seconds=values["save_every"], **shared)
    return None


def _refuse_settings(names: Collection[str]) -> None:
    """A resumed training keeps the settings that it began with."""
    if names:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))
        raise ValueError(f"train: --resume goes on with the run's own settings; leave out {options}")


def _config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a new run; what was not given is usual for its data."""
    usual_data = TOPICS if values["net"] in presets.TEXT_NETS else "digits"
    data = usual_data if values["data"] is None else values["data"]
    net = values["net"] or ("gpt" if subjects.is_text(data) else None)
    usual = presets.recipe(data, net)
    optimizer = values["optimizer"] or usual.optimizer
    return {
        "data": data,
        "net": net or usual.net,
        "epochs": values["epochs"] or usual.epochs,
        "batch_size": values["batch_size"] or usual.batch_size,
        "accumulate": values["accumulate"],
        "optimizer": optimizer,
        "learning_rate": values["learning_rate"] or presets.OPTIMIZERS[optimizer].learning_rate,
        "label_smoothing": usual.label_smoothing,
        "compute_dtype": values["compute_dtype"],
        "seed": values["seed"] or 0,
        "allow_nonfinite": values["allow_nonfinite"],
    }
