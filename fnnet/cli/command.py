"""The command line: `python -m fnnet train`, `evaluate`, `predict`, `export`, `check`, `trace`; one line an error."""

import argparse
import functools
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from fnnet.cli import presets, signals
from fnnet.core.suggestions import did_you_mean


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status.

    It is 0, 2 after an error, 130 after Ctrl-C, 143 after SIGTERM; of check, 1 if it failed, 3 if XLA is to blame.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    status = _run(given)
    if status and "--cluster" in given:
        from fnnet.training import processes

        processes.leave(status)
    return status


def _run(argv: list[str]) -> int:
    try:
        parser = _parser()
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:
            options = re.findall(r"--[a-z-]+", arguments.usage)
            hint = did_you_mean(unknown[0], options) if unknown[0].startswith("-") else ""
            raise ValueError(f"unknown argument {unknown[0]}{hint}")
        arguments.given = argv
        return arguments.command(arguments) or 0
    except signals.Stopped as stopped:
        return _complain(str(stopped), stopped.status)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except OSError as error:
        known = error.strerror and error.filename is not None
        return _complain(f"{error.filename}: {error.strerror}" if known else str(error), 2)
    except (ValueError, ImportError, FloatingPointError, MemoryError) as error:
        return _complain(str(error), 2)
    except RuntimeError as error:
        from fnnet.training.processes import ProcessLostError

        if not isinstance(error, ProcessLostError):
            raise
        return _complain(str(error), 2)


def _train(arguments: argparse.Namespace) -> int | None:
    from fnnet.cli import runs
    from fnnet.training import processes

    if arguments.processes is not None:
        own = [*_without(arguments.given, "--processes"), "--cluster"]
        return processes.launch(arguments.processes, [sys.executable, "-m", "fnnet", *own])
    if arguments.cluster:
        if arguments.devices is not None:
            raise ValueError("train: all devices of all processes share the work; leave out --devices")
        processes.connect()
    shared = {"devices": arguments.devices, "shard_parameters": arguments.shard_parameters}
    if arguments.resume is not None:
        _refuse_beside_resume(arguments)
        runs.resume(arguments.resume, seconds=arguments.save_every, **shared)
        return None
    data = "digits" if arguments.data is None else arguments.data
    usual = presets.recipe(data)
    optimizer = arguments.optimizer or usual.optimizer
    config = {
        "data": data,
        "net": arguments.net or usual.net,
        "epochs": arguments.epochs or usual.epochs,
        "batch_size": arguments.batch_size or usual.batch_size,
        "accumulate": arguments.accumulate,
        "optimizer": optimizer,
        "learning_rate": arguments.learning_rate or presets.OPTIMIZERS[optimizer].learning_rate,
        "label_smoothing": usual.label_smoothing,
        "compute_dtype": arguments.compute_dtype,
        "seed": arguments.seed or 0,
        "allow_nonfinite": arguments.allow_nonfinite,
    }
    runs.train(config, arguments.output, seconds=arguments.save_every, **shared)
    return None


def _without(arguments: Sequence[str], option: str) -> list[str]:
    """The arguments but for an option with a value."""
    kept = []
    skip = False
    for argument in arguments:
        if not skip and argument != option and not argument.startswith(f"{option}="):
            kept.append(argument)
        skip = not skip and argument == option
    return kept


def _refuse_beside_resume(arguments: argparse.Namespace) -> None:
    """A resumed training has the settings that it began with."""
    usual = vars(_parser().parse_args(["train"]))
    settings = usual.keys() - {"command", "usage", "resume", "save_every"}
    settings -= {"devices", "shard_parameters", "processes", "cluster"}  # where it is computed may change
    if given := sorted(name for name in settings if getattr(arguments, name) != usual[name]):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"train: --resume goes on with the run's own settings; leave out {options}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from fnnet.cli import runs

    scores, number = runs.score(runs.load(arguments.run), arguments.data)
    print(f"loss {scores['loss']:.4f}, {100 * scores['accuracy']:.2f} % right of {number} images")


def _predict(arguments: argparse.Namespace) -> None:
    from fnnet import serving
    from fnnet.cli import exporting, runs

    exported = arguments.run.exists() and not arguments.run.is_dir()
    if exported:
        classify = functools.partial(exporting.classify, serving.load(arguments.run))
    else:
        classify = functools.partial(runs.classify, runs.load(arguments.run))
    for file in arguments.images:
        first = ", ".join(f"{name} ({100 * chance:.1f} %)" for name, chance in classify(file)[:3])
        print(f"{file}: {first}", flush=True)


def _export(arguments: argparse.Namespace) -> None:
    from fnnet.cli import exporting

    file = exporting.export_run(arguments.run, arguments.output, arguments.platforms)
    print(f"exported: {file}, {file.stat().st_size / 1e6:.1f} MB")


def _check(arguments: argparse.Namespace) -> int:
    from fnnet.checking import console

    given = {
        name: value for name, value in vars(arguments).items() if name not in ("command", "usage", "given", "rules")
    }
    return console.check(arguments.rules, **given)


def _trace(arguments: argparse.Namespace) -> None:
    from fnnet.cli import traced_runs

    traced_runs.show(arguments.run, arguments.example, arguments.data, arguments.output, arguments.since)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are exceptions: `main` prints them."""

    def error(self, message: str) -> NoReturn:
        command = self.prog.removeprefix("fnnet").strip()
        raise ValueError(f"{command}: {message}" if command else message)


def _parser() -> argparse.ArgumentParser:
    about = "Neural networks whose backward passes are written by hand."
    parser = _Parser(prog="fnnet", description=about, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a network and write a run directory", allow_abbrev=False)
    nets, optimizers = ", ".join(presets.NETS), ", ".join(presets.OPTIMIZERS)
    net, optimizer = _one_of("network", presets.NETS), _one_of("optimizer", presets.OPTIMIZERS)
    same = "of parameters, order and dropout: the same gives the same bits"
    add = train.add_argument
    add("--data", help='"digits" (the default), or a directory of IDX files such as MNIST\'s')
    add("--net", type=net, help=f"{nets}; usually lenet for the digits, else cnn")
    add("--epochs", type=_whole(1), help="how often to go through the data")
    add("--batch-size", type=_whole(1), help="images in a mini-batch")
    add("--accumulate", type=_whole(1), default=1, help="split a mini-batch into so many chunks: less memory")
    add("--optimizer", type=optimizer, help=f"{optimizers}; all but sgd with a cosine schedule")
    add("--learning-rate", type=_positive, help="at the beginning")
    computed = "of products and activations; parameters and sums stay float32; usually float32"
    dtypes = _one_of("compute dtype", presets.COMPUTE_DTYPES)
    add("--compute-dtype", type=dtypes, default="float32", metavar="DTYPE", help=f"float32 or bfloat16, {computed}")
    add("--seed", type=_whole(0, 2**32 - 1), help=f"{same}; usually 0")
    add("--output", type=Path, help="the run directory, which must not exist; usually runs/<data>-<net>-<time>")
    add("--resume", type=Path, metavar="RUN", help="go on with a run that was stopped, as if it had not been")
    every = "seconds from one checkpoint to the next; usually 30"
    add("--save-every", type=_seconds, default=30.0, metavar="SECONDS", help=every)
    add("--allow-nonfinite", action="store_true", help="train though images have NaN or infinite numbers")
    add("--devices", type=_whole(1), metavar="N", help="share each mini-batch over so many devices")
    apart = "share the parameters over the devices, too (as in FSDP)"
    add("--shard-parameters", action="store_true", help=apart)
    add("--processes", type=_whole(1), metavar="N", help="train in so many processes on this machine")
    joined = "be one of the processes that a cluster started; the environment says which"
    add("--cluster", action="store_true", help=joined)
    train.set_defaults(command=_train, usage=train.format_usage())

    evaluate = commands.add_parser("evaluate", help="loss and accuracy of a run", allow_abbrev=False)
    evaluate.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    evaluate.add_argument("--data", help="other data than it was trained with; its test images count")
    evaluate.set_defaults(command=_evaluate, usage=evaluate.format_usage())

    how = """An image is made grey, scaled to the network's size, and inverted where its background (the median of the
        border) is light: dark ink on paper is read as bright strokes on black, as the digits and MNIST have them. One
        character should fill it."""
    predict = commands.add_parser("predict", help="classify images", description=how, allow_abbrev=False)
    predict.add_argument("run", type=Path, metavar="RUN", help="a run directory, or a file that fnnet export wrote")
    predict.add_argument("images", nargs="+", metavar="IMAGE.png", help="PNG or JPEG files")
    predict.set_defaults(command=_predict, usage=predict.format_usage())

    about = """One file with program and weights, which runs without the network's code: fnnet predict FILE, or
        fnnet.serving.load in Python. More is in docs/serving.md."""
    export = commands.add_parser("export", help="write a run as one file", description=about, allow_abbrev=False)
    export.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    export.add_argument("--output", type=Path, metavar="FILE", help="usually network.fnnet in RUN")
    export.add_argument("--platforms", type=_commas, metavar="NAMES", help="some of cpu,cuda,rocm,tpu; usually all")
    export.set_defaults(command=_export, usage=export.format_usage())

    about = """Is a hand-written backward right? Without a RULE all of fnnet's own are checked; with names such as conv,
        those; with package.module:function a rule of yours, at the example arguments that --arg gives. Exit status: 0
        right, 1 wrong (also where the reference is), 2 inconclusive or unusable, 3 miscompiled by XLA. More is in
        docs/checking.md."""
    check = commands.add_parser("check", help="check backward passes", description=about, allow_abbrev=False)
    check.add_argument("rules", nargs="*", metavar="RULE", help="conv, dense, ..., or one package.module:function")
    add = check.add_argument
    add("--reference", metavar="MODULE:FUNCTION", help="the same in plain JAX; usually the rule's own forward")
    add("--arg", action="append", default=[], metavar="NAME=VALUE", help="such as x=f32[2,5] or labels=i32[4]<10")
    add("--static", action="append", default=[], metavar="NAME=VALUE", help="what is no array, such as stride=2")
    add("--checks", help="letters such as SPRLF; usually all")
    add("--dtypes", type=_commas, help="some of f64,f32,bf16,f16; usually all")
    add("--mapped", type=_commas, metavar="NAMES", help="the arguments that vmap may map; usually all")
    twice = "whether it must be differentiable twice; usually it may refuse, but not be wrong"
    add("--second-order", action=argparse.BooleanOptionalAction, help=twice)
    ties = _one_of("choice for --ties", ("any", "reference"))
    add("--ties", type=ties, default="any", help="at a kink or tie: any slope between, or the reference's")
    add("--waive", action="append", default=[], metavar="CHECK=REASON", help="a check that may fail, and why")
    add("--seed", type=_whole(0, 2**32 - 1), default=0, help="of the random numbers")
    add("--compiler", action="store_true", help="look for the known faults of XLA on this machine instead")
    add("--json", type=Path, metavar="FILE", help="write the report for programs")
    add("--plot", type=Path, metavar="FILE.png", help="draw the wrong cotangents")
    check.set_defaults(command=_check, usage=check.format_usage())

    about = """One forward and one backward of a trained network: a table, the first problem if there is one, and a page
        for any browser. More is in docs/trace.md."""
    trace = commands.add_parser("trace", help="look into a backward pass", description=about, allow_abbrev=False)
    add = trace.add_argument
    add("run", type=Path, metavar="RUN", help="a run directory")
    add("--example", type=_whole(0), metavar="N", help="one held-out image; usually the first 32, as a mini-batch")
    add("--data", help="other data than it was trained with; its test images count")
    add("--output", type=Path, metavar="FILE.html", help="the page; usually trace.html, or trace-N.html, in RUN")
    add("--since", type=Path, metavar="RUN", help="another run of the network: what changed since then")
    trace.set_defaults(command=_trace, usage=trace.format_usage())
    return parser


def _commas(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _one_of(kind: str, names: Iterable[str]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"there is no {kind} {text!r}{did_you_mean(text, names)}")
        return text

    return convert


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    wanted = f"a whole number of {least} or more" if most is None else f"a whole number from {least} to {most}"

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{text!r} must be {wanted}")
        return number

    return convert


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a positive number")
    return number


def _seconds(text: str) -> float:
    return 0.0 if text == "0" else _positive(text)


def _complain(message: str, status: int) -> int:
    print(f"fnnet: {' '.join(message.split())}", file=sys.stderr)
    return status
