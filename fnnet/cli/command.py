"""The command line `fnnet`, or `python -m fnnet`: `main` runs a command and prints each error as one line."""

import sys
from collections.abc import Sequence

import jax

import fnnet
from fnnet.cli import signals
from fnnet.cli.commands import check, evaluate, export, predict, sample, trace, train
from fnnet.cli.habits import command_meant
from fnnet.cli.parsing import Command, Parser, words_of
from fnnet.core.suggestions import did_you_mean
from fnnet.training import processes

COMMANDS = (train, evaluate, predict, sample, export, check, trace)  # in the order of --help


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    It is 0, 2 after an error, 130 after Ctrl-C, 143 after SIGTERM; of check, 1 if it failed, 3 if XLA is to blame.
    """
    status = _run(sys.argv[1:] if argv is None else argv)
    if status and jax.distributed.is_initialized():
        processes.leave(status)
    return status


def _run(argv: Sequence[str]) -> int:
    try:
        _refuse_other_commands(argv)
        arguments, unknown = _parser().parse_known_args(argv)
        values = vars(arguments)
        command: Command = values.pop("command")
        if unknown:
            command.parser.refuse(unknown[0])
        return command.run(**values) or 0
    except signals.Stopped as stopped:
        return _complain(str(stopped), stopped.status)
    except KeyboardInterrupt:
        return _complain("interrupted", 130, signals.line_start())
    except (OSError, ValueError, ImportError, FloatingPointError, MemoryError, processes.ProcessLostError) as error:
        return _complain(words_of(error), 2)


def _refuse_other_commands(argv: Sequence[str]) -> None:
    names = [command.__name__.rpartition(".")[2] for command in COMMANDS]
    if argv and not argv[0].startswith("-") and argv[0] not in names:
        known = command_meant(argv[0])
        hint = did_you_mean(argv[0], names) if known is None else f"; did you mean {known}?"
        raise ValueError(f"there is no command {argv[0]!r}{hint}")


def _parser() -> Parser:
    parser = Parser(prog="fnnet", description="Neural networks whose backward passes are written by hand.")
    versions = f"fnnet {fnnet.__version__}, jax {jax.__version__}, Python {sys.version.split()[0]}"
    parser.add_argument("--version", action="version", version=versions)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser


def _complain(message: str, status: int, start: str = "") -> int:
    print(f"{start}fnnet: {' '.join(message.split())}", file=sys.stderr)
    return status
