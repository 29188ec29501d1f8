"""`fnnet export`: a run as one file, which runs without the network's code, or as an ONNX model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fnnet import interop, serving
from fnnet.cli import runs
from fnnet.cli.parsing import Command, Parser, commas, one_of
from fnnet.rules.softmax import softmax
from fnnet.serving.exporting import PLATFORMS

FORMATS = ("fnnet", "onnx")


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    about = """One file with program and weights, which runs without the network's code: fnnet predict FILE, or
        fnnet.serving.load in Python. Or an ONNX model, for ONNX Runtime and others. More is in docs/serving.md."""
    parser: Parser = commands.add_parser("export", help="write a run as one file", description=about)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run directory")
    add("--output", type=Path, metavar="FILE", help="default: network.fnnet in RUN, or network.onnx")
    add(
        "--format",
        type=one_of("format", FORMATS),
        default="fnnet",
        metavar="NAME",
        help="fnnet, for JAX (the default), or onnx",
    )
    add(
        "--platforms", type=commas, metavar="NAMES", help="of the format fnnet: some of cpu,cuda,rocm,tpu; default: all"
    )
    parser.set_defaults(command=Command(parser, export))


def export(*, run: Path, output: Path | None, format: str, platforms: Sequence[str] | None) -> None:
    """Write the network of the newest whole checkpoint, with its probabilities, and print where."""
    if format == "onnx" and platforms is not None:
        raise ValueError("export: an ONNX model is the same for all platforms: leave out --platforms")
    trained = runs.load(run)
    file = run / f"network.{format}" if output is None else output
    if format == "onnx":
        _as_onnx(trained, file)
    else:
        serving.export(
            trained.net,
            trained.params,
            trained.shape,
            file,
            output=softmax,
            classes=trained.classes,
            notes={"reading": trained.reading or "none"},
            platforms=PLATFORMS if platforms is None else platforms,
        )
    print(f"exported: {file}, {file.stat().st_size / 1e6:.1f} MB")


def _as_onnx(trained: runs.Run, file: Path) -> None:
    try:
        interop.to_onnx(trained.net, trained.params, trained.shape, path=file, output=softmax, classes=trained.classes)
    except TypeError as error:  # a layer without a node
        raise ValueError(str(error)) from None
