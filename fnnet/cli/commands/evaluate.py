"""`fnnet evaluate`: the loss and accuracy of a run."""

from pathlib import Path
from typing import Any

from fnnet.cli import runs
from fnnet.cli.parsing import Command, Parser


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    parser: Parser = commands.add_parser("evaluate", help="loss and accuracy of a run")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument("--data", help="other data than it was trained with; its test images count")
    parser.set_defaults(command=Command(parser, evaluate))


def evaluate(*, run: Path, data: str | None) -> None:
    """Print both."""
    scores, number = runs.score(runs.load(run), data)
    print(f"loss {scores['loss']:.4f}, {100 * scores['accuracy']:.2f} % right of {number} images")
