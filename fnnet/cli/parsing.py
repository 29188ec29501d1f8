"""What the commands' parsers share: errors as exceptions, the options that were given, and types of arguments."""

import argparse
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, NoReturn

from fnnet.cli.habits import meant
from fnnet.core.suggestions import did_you_mean


class Parser(argparse.ArgumentParser):
    """A parser that raises ValueError for a wrong argument, which `main` prints, and knows its options."""

    def __init__(self, **settings: Any):
        """As argparse's, without abbreviated options."""
        self.options: list[argparse.Action] = []
        self.positionals: list[str] = []
        self.meant: Callable[[str], str] = lambda argument: ""  # a hint of one command's own
        super().__init__(**settings, allow_abbrev=False)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """As argparse's; an option is remembered, unless it holds no value, as --help does."""
        return self._remembered(super().add_argument(*names, **settings))

    def group(self, title: str) -> Callable[..., argparse.Action]:
        """`add_argument` for the options under a title of their own in the help."""
        group = self.add_argument_group(title)
        return lambda *names, **settings: self._remembered(group.add_argument(*names, **settings))

    def _remembered(self, added: argparse.Action) -> argparse.Action:
        if not added.option_strings:
            self.positionals.append(str(added.metavar or added.dest))
        elif added.dest not in ("help", "version"):
            self.options.append(added)
        return added

    def error(self, message: str) -> NoReturn:
        """Raise the message, after the name of the command."""
        command = self.prog.removeprefix("fnnet").strip()
        raise ValueError(f"{command}: {message}" if command else message)

    def refuse(self, argument: str) -> NoReturn:
        """Raise the error for an unknown argument."""
        raise ValueError(f"unknown argument {argument}{self.hint(argument)}")

    def hint(self, argument: str) -> str:
        """The rest of the sentence: what may have been meant."""
        options = [name for option in self.options for name in option.option_strings]
        if (hint := self.meant(argument)) or not argument.startswith("-"):
            return hint
        hint = meant(argument, options, self.positionals, self.prog)
        rest = f"; {self.prog} --help lists the options"
        return hint or did_you_mean(argument.partition("=")[0], options, rest=rest, cutoff=0.6)

    def changed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Of the options' values those that are not the defaults."""
        defaults = {option.dest: option.default for option in self.options}
        return {dest: values[dest] for dest, default in defaults.items() if values[dest] != default}

    def written(self, values: Mapping[str, Any]) -> list[str]:
        """Arguments that this parser reads as these values; those that are the defaults are left out."""
        names = {option.dest: option.option_strings[0] for option in self.options}
        changed = self.changed(values).items()
        return [names[dest] if value is True else f"{names[dest]}={_text(value)}" for dest, value in changed]


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def words_of(error: BaseException) -> str:
    """An error's message; of the system's the file and what is wrong with it."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


class Command(NamedTuple):
    """What a sub-parser leaves in the parsed arguments, under "command"."""

    parser: Parser
    run: Callable[..., int | None]  # with the values of its arguments as keywords; returns the exit status, None for 0


def commas(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def one_of(kind: str, names: Iterable[str]) -> Callable[[str], str]:
    """One of some names; the error suggests the closest."""

    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"there is no {kind} {text!r}{did_you_mean(text, names)}")
        return text

    return convert


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A whole number within bounds."""
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


def share(text: str) -> float:
    """A number from 0, below 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 0, below 1")
    return number


def positive(text: str) -> float:
    """A positive, finite number."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a positive number")
    return number


def at_least_zero(text: str) -> float:
    """A finite number, 0 or more."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of 0 or more")
    return number
