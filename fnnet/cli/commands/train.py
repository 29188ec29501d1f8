"""`fnnet train`: train a network and write a run directory, or resume a training that was stopped or has ended."""

import argparse
import functools
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fnnet.cli import presets, runs, subjects
from fnnet.cli.augmenting import changes
from fnnet.cli.own_networks import is_own, placed
from fnnet.cli.parsing import Command, Parser, at_least_zero, one_of, positive, share, whole
from fnnet.data.folder import OTHER_IMAGES, SUFFIXES
from fnnet.data.published import PUBLISHED
from fnnet.data.splitting import HELD_OUT
from fnnet.data.text import TOPICS
from fnnet.training.compilation_cache import programs_kept
from fnnet.training.processes import connect, launch

# What --resume may be given beside it: how the training is run, not what is trained; and for how long.
MAY_CHANGE = {"resume", "epochs", "save_every", "compilation_cache"}
MAY_CHANGE |= {"devices", "shard_parameters", "processes", "cluster"}

OTHERS = (".csv", ".gz", ".h5", ".npy", ".parquet", ".pickle", ".pkl", ".pt", ".safetensors", ".tar", ".tsv", ".zip")
NO_TEXTS = (*SUFFIXES, *OTHER_IMAGES, *OTHERS)


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    about = """Train a network, and write a run directory with its checkpoints, history and pictures. Without options,
        the digits of scikit-learn are learnt in under a minute. More is in docs/training.md."""
    parser: Parser = commands.add_parser("train", help="train a network and write a run directory", description=about)
    parser.meant = _meant
    _add_data(parser.group("data"))
    _add_network(parser.group("network"))
    _add_optimisation(parser.group("optimisation"))
    _add_run(parser.group("the run"))
    _add_devices(parser.group("devices"))
    parser.set_defaults(command=Command(parser, functools.partial(train, parser)))


def _add_data(add: Any) -> None:
    sources = f"""digits; a directory of MNIST's IDX files; a folder of images with a folder for each class; a .npz file
        of arrays x and y; {TOPICS}, Python's help as a text; or any other file, as a text; default: {TOPICS} for gpt
        and lstm, else digits"""
    add("--data", metavar="SOURCE", help=sources)
    folder = "of the images in folders: height and width, such as 64 or 64x48; default: their own up to 128, else 64"
    add("--image-size", type=image_size, metavar="SIZE", help=folder)
    add(
        "--channels",
        type=channels,
        metavar="N",
        help="of the images in folders: 1 for grey, 3 for colours; default: as they are",
    )
    held_out = f"share of each class that is held out, where the data have no test part; default: {HELD_OUT:g}"
    add("--held-out", type=held_out_share, metavar="SHARE", help=held_out)
    add("--allow-nonfinite", action="store_true", help="train though the data have NaN or infinite numbers")


def _add_network(add: Any) -> None:
    usual = f"default: {presets.DIGITS.net} for the digits, gpt for a text, else {presets.LARGER.net}"
    nets = f"""{", ".join(presets.NETS)}; or one of yours, package.module:name or file.py:name, a network or a function
        of `classes` and `shape` that returns one; {usual}"""
    add("--net", type=network, metavar="NAME", help=nets)
    computed = "float32 or bfloat16, of products and activations; parameters and sums stay float32; default: float32"
    dtypes = one_of("compute dtype", presets.COMPUTE_DTYPES)
    add("--compute-dtype", type=dtypes, metavar="DTYPE", help=computed)


def _add_optimisation(add: Any) -> None:
    add("--epochs", type=whole(1), metavar="N", help=f"how often to go through the data; {presets.usual('epochs')}")
    batches = f"images, or windows of a text, in a mini-batch; {presets.usual('batch_size')}, fewer of small data"
    add("--batch-size", type=whole(1), metavar="N", help=batches)
    chunks = "split a mini-batch into so many chunks, which takes less memory; default: 1"
    add("--accumulate", type=whole(1), metavar="N", help=chunks)
    optimizers = f"{', '.join(presets.OPTIMIZERS)}; {presets.usual('optimizer')}"
    add("--optimizer", type=one_of("optimizer", presets.OPTIMIZERS), metavar="NAME", help=optimizers)
    rate = f"the highest one; {presets.usual_of_optimizers('learning_rate')}"
    add("--learning-rate", "--lr", type=positive, metavar="RATE", help=rate)
    schedules = f"""of the learning rate: {", ".join(presets.SCHEDULES)}; the last two go down to 0;
        {presets.usual_of_optimizers("schedule")}"""
    add("--schedule", type=one_of("schedule", presets.SCHEDULES), metavar="NAME", help=schedules)
    warmup = "in the first so many steps the learning rate goes up from 0; default: 0"
    add("--warmup", type=whole(0), metavar="STEPS", help=warmup)
    decay = f"of kernels, not of biases and norms; {presets.usual_of_optimizers('weight_decay')}"
    add("--weight-decay", type=at_least_zero, metavar="FACTOR", help=decay)
    add("--clip", type=positive, metavar="NORM", help="clip gradients to this global norm; default: they are not")
    smoothing = f"""share of each label that is spread over all classes; the loss then lies above 0 for the best of
        networks; {presets.usual("label_smoothing")}"""
    add("--label-smoothing", type=share, metavar="SHARE", help=smoothing)
    changed = """change training images at random: some of shift, flip (left and right) and crop, such as shift,flip or
        shift=2,crop=0.7; default: none"""
    add("--augment", type=changes, metavar="WHAT", help=changed)
    patience = """end after so many epochs without a lower held-out loss, and keep the best epoch's network, which is
        then chosen by the held-out part; default: all epochs"""
    add("--patience", type=whole(1), metavar="EPOCHS", help=patience)
    same = "of parameters, order and dropout: the same gives the same bits; default: 0"
    add("--seed", type=whole(0, 2**32 - 1), metavar="N", help=same)


def _add_run(add: Any) -> None:
    add("--output", type=Path, metavar="RUN", help="a new run directory; default: runs/<data>-<net>-<time>")
    again = "go on with a run that was stopped, as if it had not been; with --epochs N also with one that has ended"
    add("--resume", type=Path, metavar="RUN", help=again)
    every = "seconds from one checkpoint to the next; default: 30"
    add("--save-every", type=at_least_zero, default=30.0, metavar="SECONDS", help=every)
    kept = """where JAX keeps the compiled programs, such as ~/.cache/fnnet: another training of the same network then
        starts sooner, with the same result; default: nowhere"""
    add("--compilation-cache", type=Path, metavar="DIR", help=kept)
    moments = """keep the parameters of the start and of every N-th epoch, and write trace.html at the end, on which the
        training can be followed layer by layer; default: none"""
    add("--trace-every", type=whole(1), metavar="N", help=moments)


def _add_devices(add: Any) -> None:
    devices = "share each mini-batch over so many devices; without an accelerator a processor stands for all of them"
    add("--devices", type=whole(1), metavar="N", help=devices)
    apart = "share the parameters over the devices, too (as in FSDP)"
    add("--shard-parameters", action="store_true", help=apart)
    add("--processes", type=whole(1), metavar="N", help="train in so many processes on this machine")
    joined = "be one of the processes that a cluster started; the environment says which"
    add("--cluster", action="store_true", help=joined)


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
    with programs_kept("train: --compilation-cache", values["compilation_cache"]):
        if values["resume"] is not None:
            _refuse_settings(parser.changed(values).keys() - MAY_CHANGE)
            runs.resume(values["resume"], epochs=values["epochs"], seconds=values["save_every"], **shared)
        else:
            runs.train(_config(values), values["output"], seconds=values["save_every"], **shared)
    return None


def _meant(argument: str) -> str:
    """The rest of an error's sentence for data or a network that is named without an option."""
    if argument in presets.NETS:
        return f"; did you mean --net {argument}?"
    known = ("digits", TOPICS, *PUBLISHED)
    is_data = not argument.startswith("-") and (argument in known or Path(argument).exists())
    return f"; did you mean --data {argument}?" if is_data else ""


def network(text: str) -> str:
    """A preset's name, or where a network of the user's own is."""
    if is_own(text):
        return placed(text)
    if text.endswith(".py"):
        raise argparse.ArgumentTypeError(f"{text!r} must also name the network in the file, such as {text}:net")
    return one_of("network", presets.NETS)(text)


def image_size(text: str) -> tuple[int, int]:
    """Height and width, from "64" or "64x48"."""
    match = re.fullmatch(r"(\d{1,4})(?:[x,](\d{1,4}))?", text)
    if match is None or not int(match[1]) or match[2] == "0":
        raise argparse.ArgumentTypeError(f"{text!r} must be a size such as 64, or height and width such as 64x48")
    return int(match[1]), int(match[2] or match[1])


def held_out_share(text: str) -> float:
    """A number above 0 and below 1."""
    if not (number := share(text)):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0 and below 1, such as 0.1")
    return number


def channels(text: str) -> int:
    """1 or 3."""
    if text not in ("1", "3"):
        raise argparse.ArgumentTypeError(f"{text!r} must be 1 for grey images, or 3 for colours")
    return int(text)


def _refuse_settings(names: Collection[str]) -> None:
    """A resumed training keeps the settings that it began with."""
    if names:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))
        raise ValueError(f"train: --resume goes on with the run's own settings; leave out {options}")


def _config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a new run; what was not given is usual for its data."""
    usual_data = TOPICS if values["net"] in presets.TEXT_NETS else "digits"
    data = usual_data if values["data"] is None else values["data"]
    if values["net"] is None:
        _refuse_no_text(data)
    net = values["net"] or ("gpt" if subjects.is_text(data) else None)
    usual = presets.recipe(data, net)
    optimizer = values["optimizer"] or usual.optimizer
    preset = presets.OPTIMIZERS[optimizer]
    is_of_text = net in presets.TEXT_NETS or (net is not None and is_own(net) and subjects.is_text(data))
    if values["weight_decay"] and optimizer == "adam":
        raise ValueError(f"train: --optimizer adamw is adam with --weight-decay {values['weight_decay']:g}")
    return {
        "data": data,
        "examples": (subjects.TEXT if is_of_text else subjects.IMAGES).examples,
        "image_size": values["image_size"] and list(values["image_size"]),
        "channels": values["channels"],
        "held_out": values["held_out"],
        "net": net or usual.net,
        "epochs": values["epochs"] or usual.epochs,
        "batch_size": values["batch_size"],
        "accumulate": values["accumulate"] or 1,
        "optimizer": optimizer,
        "learning_rate": values["learning_rate"] or preset.learning_rate,
        "schedule": values["schedule"] or preset.schedule,
        "warmup": values["warmup"] or 0,
        "weight_decay": preset.weight_decay if values["weight_decay"] is None else values["weight_decay"],
        "clip": values["clip"],
        "label_smoothing": _smoothing(values["label_smoothing"], usual.label_smoothing, is_of_text),
        "augment": values["augment"] and list(values["augment"]),
        "patience": values["patience"],
        "trace_every": values["trace_every"],
        "compute_dtype": values["compute_dtype"] or "float32",
        "seed": values["seed"] or 0,
        "allow_nonfinite": values["allow_nonfinite"],
    }


def _refuse_no_text(data: str) -> None:
    """A file of images or tables is not meant as a text, though a network of texts takes any bytes."""
    if data != TOPICS and Path(data).is_file() and Path(data).suffix.lower() in NO_TEXTS:
        raise ValueError(
            f"train: {data} is no text; give images as a folder with a folder for each class, and tables as arrays x "
            "and y in a .npz file"
        )


def _smoothing(given: float | None, usual: float, is_of_text: bool) -> float:
    if is_of_text and given:
        raise ValueError("train: --label-smoothing is for images; a text has none")
    return 0.0 if is_of_text else usual if given is None else given
