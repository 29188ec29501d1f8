"""`fnnet predict`: the classes of images, by a run or by a file that `fnnet export` wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fnnet import serving
from fnnet.cli import runs
from fnnet.cli.parsing import Command, Parser


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    how = """An image is made grey, scaled to the network's size, and inverted where its background (the median of the
        border) is light: dark ink on paper is read as bright strokes on black, as the digits and MNIST have them. One
        character should fill it."""
    parser: Parser = commands.add_parser("predict", help="classify images", description=how)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory, or a file that fnnet export wrote")
    parser.add_argument("images", nargs="+", metavar="IMAGE.png", help="PNG or JPEG files")
    parser.set_defaults(command=Command(parser, predict))


def predict(*, run: Path, images: Sequence[str]) -> None:
    """Print the three most probable classes of each image."""
    is_exported = run.exists() and not run.is_dir()
    network = serving.load(run) if is_exported else runs.load(run)
    for file in images:
        first = ", ".join(f"{name} ({100 * chance:.1f} %)" for name, chance in runs.classify(network, file)[:3])
        print(f"{file}: {first}", flush=True)
