"""`fnnet evaluate`: the loss and accuracy of a run."""

from pathlib import Path
from typing import Any

from fnnet.cli import runs
from fnnet.cli.parsing import Command, Parser


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    parser: Parser = commands.add_parser("evaluate", help="loss and accuracy of a run")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    other = "other data than it was trained with: their test part, or all where they have none"
    parser.add_argument("--data", help=other)
    parser.set_defaults(command=Command(parser, evaluate))


def evaluate(*, run: Path, data: str | None) -> None:
    """Print both."""
    trained = runs.load(run)
    scores, number = runs.score(trained, data)
    answer = trained.subject.answer(scores["loss"], scores["accuracy"])
    print(f"loss {scores['loss']:.4f}, {answer} of {number} {trained.subject.examples}")
