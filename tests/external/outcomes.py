"""What became of the cases of one operator from one source: a row of docs/conformance.md."""

import collections
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


class NotSupportedError(Exception):
    """Says why fnnet has no public function, or no composition of them, for a case."""


@dataclass
class Row:
    """One operator from one source.

    Args:
        source: The table that the row stands in.
        operator: The operator's name at the source.
        cases: How many cases the loader returns.
        passed: How many agree.
        reasons: Why others are not supported, and how many for each reason.
        failures: Those that should agree and do not, each with what is wrong.
    """

    source: str
    operator: str
    cases: int = 0
    passed: int = 0
    reasons: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The row in Markdown."""
        why = "; ".join(f"{reason} ({count})" for reason, count in sorted(self.reasons.items()))
        return f"| {self.operator} | {self.cases} | {self.passed} | {self.reasons.total()} | {why} |"

    def told(self, most: int = 5) -> str:
        """The first failures in words."""
        head = f"{len(self.failures)} of {self.cases} cases of {self.operator} ({self.source}) are wrong:"
        return "\n".join([head, *self.failures[:most]])


def judged(source: str, operator: str, cases: Iterable[tuple[str, Callable[[], str | None]]]) -> Row:
    """Runs each (name, check); a check says what is wrong or nothing, or raises NotSupportedError."""
    row = Row(source, operator)
    for name, check in cases:
        row.cases += 1
        try:
            wrong = check()
        except NotSupportedError as reason:
            row.reasons[str(reason)] += 1
            continue
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            row.failures.append(f"{name}: {wrong}")
        else:
            row.passed += 1
    return row
