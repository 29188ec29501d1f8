"""`fnnet export`: a run as one file, which runs without the network's code."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fnnet import serving
from fnnet.cli import runs
from fnnet.cli.parsing import Command, Parser, commas
from fnnet.rules.softmax import softmax
from fnnet.serving.exporting import PLATFORMS


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    about = """One file with program and weights, which runs without the network's code: fnnet predict FILE, or
        fnnet.serving.load in Python. More is in docs/serving.md."""
    parser: Parser = commands.add_parser("export", help="write a run as one file", description=about)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run directory")
    add("--output", type=Path, metavar="FILE", help="usually network.fnnet in RUN")
    add("--platforms", type=commas, metavar="NAMES", help="some of cpu,cuda,rocm,tpu; usually all")
    parser.set_defaults(command=Command(parser, export))


def export(*, run: Path, output: Path | None, platforms: Sequence[str] | None) -> None:
    """Write the network of the newest whole checkpoint, with its probabilities, and print where."""
    trained = runs.load(run)
    file = serving.export(
        trained.net,
        trained.params,
        trained.shape,
        run / "network.fnnet" if output is None else output,
        output=softmax,
        classes=trained.classes,
        platforms=PLATFORMS if platforms is None else platforms,
    )
    print(f"exported: {file}, {file.stat().st_size / 1e6:.1f} MB")
