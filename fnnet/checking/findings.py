"""What the checks of one run have found so far."""

from dataclasses import dataclass, field
from typing import Any

from fnnet.checking.catalogue import with_name
from fnnet.checking.entries import Entries
from fnnet.checking.kinds import Remark, Side
from fnnet.checking.report import Failure

AS_THE_REFERENCE = ", as in the reference"


@dataclass(frozen=True)
class Note:
    """What is worth knowing and no failure.

    Args:
        text: It, for a reader.
        check: Letter of the check that noted it; "" for none.
        kind: What it is about.
    """

    text: str
    check: str = ""
    kind: Remark = Remark.GENERAL

    def __str__(self) -> str:
        """The check and the text."""
        return f"{with_name(self.check)}: {self.text}" if self.check else self.text


@dataclass(frozen=True)
class Convention:
    """What the rule does at a kink or a tie where the reference does something else.

    Args:
        argument: Path of the argument.
        rule: What the rule takes.
        reference: What the reference takes.
        circumstance: Where.
        count: At how many entries.
        size: Of so many.
    """

    argument: str
    rule: Side | str
    reference: Side | str
    circumstance: str
    count: int
    size: int


@dataclass(frozen=True)
class SharedConvention:
    """What rule and reference both do at a kink or a tie.

    Args:
        argument: Path of the argument.
        taken: What they take.
        circumstance: Where it was seen.
    """

    argument: str
    taken: str
    circumstance: str

    @property
    def short(self) -> str:
        """Argument and value."""
        return f"{self.argument}: {self.taken}"

    def __str__(self) -> str:
        """All of it."""
        return f"{self.short}{AS_THE_REFERENCE}; seen at {self.circumstance}"


@dataclass(eq=False)
class Findings:
    """What was found so far; the checks add to it.

    Args:
        failures: In the order in which they were found.
        conventions: Where the rule differs from the reference at kinks and ties.
        shared: By path of the argument, what both do there.
        notes: In the order in which they were made.
        known_wrong: By number, the cotangents that failed check R at the example. Later checks do not diagnose them.
        not_conclusive: Paths of the arguments whose finite differences do not settle.
        both_not_finite: Numbers of the cotangents noted as not finite, in rule and reference alike.
        compared: Numbers of the cotangents whose entries were compared with the reference's or finite differences.
        partly_not_run: By letter, why a part of a check did not run.
        power: The PowerReport of check W.
    """

    failures: list[Failure] = field(default_factory=list)
    conventions: list[Convention] = field(default_factory=list)
    shared: dict[str, SharedConvention] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    known_wrong: dict[int, Failure] = field(default_factory=dict)
    not_conclusive: set[str] = field(default_factory=set)
    both_not_finite: set[int] = field(default_factory=set)
    compared: set[int] = field(default_factory=set)
    partly_not_run: dict[str, str] = field(default_factory=dict)
    power: Any = None

    def fail(
        self,
        check: str,
        diagnosis: str,
        *,
        argument: str = "",
        circumstance: str = "",
        entries: Entries | None = None,
        **details: Any,
    ) -> None:
        """Add a failure; `details` are other fields of `Failure`, or arguments of `Failure.of_entries`."""
        given = check, argument, circumstance, diagnosis
        failure = Failure(*given, **details) if entries is None else Failure.of_entries(*given, entries, **details)
        self.failures.append(failure)

    def note(self, check: str, text: str, kind: Remark = Remark.GENERAL) -> None:
        """Add a note."""
        self.notes.append(Note(text, check, kind))

    def has_failed(self, check: str) -> bool:
        """Whether this check has a failure."""
        return any(failure.check == check for failure in self.failures)
