"""The command line `fnnet`, or `python -m fnnet`: `main` runs a command and prints each error as one line."""

import sys
from collections.abc import Sequence

import jax

from fnnet.cli import signals
from fnnet.cli.commands import check, evaluate, export, predict, sample, trace, train
from fnnet.cli.parsing import Command, Parser
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
        arguments, unknown = _parser().parse_known_args(argv)
        values = vars(arguments)
        command: Command = values.pop("command")
        if unknown:
            command.parser.refuse(unknown[0])
        return command.run(**values) or 0
    except signals.Stopped as stopped:
        return _complain(str(stopped), stopped.status)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except OSError as error:
        known = error.strerror and error.filename is not None
        return _complain(f"{error.filename}: {error.strerror}" if known else str(error), 2)
    except (ValueError, ImportError, FloatingPointError, MemoryError, processes.ProcessLostError) as error:
        return _complain(str(error), 2)


def _parser() -> Parser:
    parser = Parser(prog="fnnet", description="Neural networks whose backward passes are written by hand.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser


def _complain(message: str, status: int) -> int:
    print(f"fnnet: {' '.join(message.split())}", file=sys.stderr)
    return status
