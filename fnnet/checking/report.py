"""What a check found: failures, notes, and one of five verdicts."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fnnet.checking.catalogue import NAMES

VERDICTS = ("right", "wrong", "convention differs", "inconclusive", "reference is wrong")


class CheckFailedError(AssertionError):
    """The rule of a report is not right; the message is the report."""


@dataclass(frozen=True, eq=False)
class Failure:
    """One way in which rule and reference, or rule and mathematics, disagree.

    Args:
        check: Letter of the check.
        argument: Path of the argument whose cotangent it is, or "".
        circumstance: Where it shows: a dtype, a shape, an edge value, a transformation.
        diagnosis: What it looks like, in a sentence.
        entry: Index of the entry that is furthest off, or None.
        rule: The rule's value there.
        reference: The reference's value there.
        differences: The value of finite differences there.
        multiple: The error as a multiple of what is allowed.
        wrong: How many entries are wrong.
        size: How many there are.
        blame: "rule", "reference", or "unknown".
        ours: The rule's cotangent, where one failed.
        theirs: The reference's.
    """

    check: str
    argument: str
    circumstance: str
    diagnosis: str
    entry: tuple[int, ...] | None = None
    rule: Any = None
    reference: Any = None
    differences: Any = None
    multiple: float | None = None
    wrong: int = 0
    size: int = 0
    blame: str = "rule"
    ours: np.ndarray | None = field(default=None, repr=False)
    theirs: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def entrywise(
        cls, check: str, argument: str, circumstance: str, diagnosis: str, ours: np.ndarray, theirs: np.ndarray,
        wrong: np.ndarray, allowed: float, *, blame: str = "rule", entry: tuple[int, ...] | None = None,
        differences: float | None = None,
    ) -> "Failure":  # fmt: skip
        """A cotangent that is wrong at these entries; the worst of them is told, or the given one."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            error = np.where(wrong, np.nan_to_num(np.abs(ours - theirs), nan=np.inf), -1.0)
            if entry is None:
                entry = tuple(map(int, np.unravel_index(np.argmax(error), error.shape)))
            multiple = float(np.abs(ours[entry] - theirs[entry]) / allowed) if allowed else math.inf
        return cls(
            check, argument, circumstance, diagnosis, entry, ours[entry].item(), theirs[entry].item(), differences,
            multiple, int(wrong.sum()), wrong.size, blame, ours, theirs,
        )  # fmt: skip

    def __str__(self) -> str:  # noqa: D105
        where = f", {self.circumstance}" if self.circumstance else ""
        lines = [f"{self.check} {NAMES[self.check]}: {self.argument or 'the rule'}{where}: {self.diagnosis}"]
        if self.entry is not None:
            at = f"[{', '.join(map(str, self.entry))}]" if self.entry else ""
            values = {"rule": self.rule, "reference": self.reference, "finite differences": self.differences}
            told = ", ".join(f"{name} {number(value)}" for name, value in values.items() if value is not None)
            worst = f"; {number(self.multiple)} times the tolerance" if self.multiple is not None else ""
            lines.append(f"    {self.wrong} of {self.size} entries wrong; at {self.argument}{at}: {told}{worst}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Line:
    """A check's line in the report."""

    check: str
    status: str  # passed, failed, waived, inconclusive, not run
    seconds: float
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Report:
    """What `fnnet.check` found.

    Args:
        name: Of the rule.
        signature: The example arguments, in words.
        reference: What it was compared with, in words.
        checks: A line each check.
        failures: Empty where the rule is right.
        conventions: Where the rule differs from the reference at a kink or a tie, within the subdifferential.
        notes: What is worth knowing and no failure.
        not_run: Checks that could not run here, with the reason.
        waived: Failures that somebody wanted so, with the reason.
        inconclusive: Whether nothing independent of the rule could decide.
    """

    name: str
    signature: str
    reference: str
    checks: tuple[Line, ...]
    failures: tuple[Failure, ...]
    conventions: tuple[str, ...]
    notes: tuple[str, ...]
    not_run: dict[str, str]
    waived: tuple[tuple[Failure, str], ...] = ()
    inconclusive: bool = False

    @property
    def verdict(self) -> str:
        """One of "right", "wrong", "convention differs", "inconclusive", "reference is wrong"."""
        blamed = {failure.blame for failure in self.failures}
        if "rule" in blamed:
            return "wrong"
        if "reference" in blamed:
            return "reference is wrong"
        if "unknown" in blamed or self.inconclusive:
            return "inconclusive"
        return "convention differs" if self.conventions else "right"

    @property
    def ok(self) -> bool:
        """Whether the rule is right, up to conventions at kinks and ties."""
        return self.verdict in ("right", "convention differs")

    def raise_if_failed(self) -> "Report":
        """The report itself, or CheckFailedError with the report as its message."""
        if not self.ok:
            raise CheckFailedError(str(self))
        return self

    def __str__(self) -> str:  # noqa: D105
        seconds = sum(line.seconds for line in self.checks)
        passed = "".join(line.check for line in self.checks if line.status == "passed")
        lines = [
            f"{self.name}({self.signature}): {self.verdict}",
            f"  against {self.reference}; passed: {passed or 'none'}; {seconds:.1f} s",
        ]
        for title, items in (
            ("failures", _grouped(self.failures)),
            ("waived", [f"{failure}\n    because: {reason}" for failure, reason in self.waived]),
            ("conventions", self.conventions),
            ("notes", self.notes),
            ("not run", [f"{check} {NAMES[check]}: {why}" for check, why in self.not_run.items()]),
        ):
            if items:
                lines.append(f"  {title}")
                lines += [f"    {line}" for item in items for line in str(item).splitlines()]
        return "\n".join(lines)

    def to_json(self, **options: Any) -> str:
        """The report as JSON; numbers that JSON does not know are strings."""
        content = {
            "name": self.name, "signature": self.signature, "reference": self.reference,
            "verdict": self.verdict, "ok": self.ok,
            "checks": [{"check": c.check, "name": NAMES[c.check], "status": c.status, "seconds": round(c.seconds, 3),
                        "detail": c.detail} for c in self.checks],
            "failures": [_plain(f) for f in self.failures],
            "waived": [{**_plain(f), "reason": reason} for f, reason in self.waived],
            "conventions": list(self.conventions), "notes": list(self.notes), "not_run": self.not_run,
        }  # fmt: skip
        return json.dumps(content, **({"indent": 2} | options))

    def plot(self, path: str | Path) -> None:
        """Draw rule, reference and error of each wrong cotangent, side by side, into a picture."""
        from fnnet.checking.plotting import plot

        plot(self, path)


def number(value: Any) -> str:
    """A number in six digits."""
    value = complex(value)
    return f"{value.real:.6g}" if value.imag == 0 else f"{value:.6g}"


def _grouped(failures: tuple[Failure, ...]) -> list[str]:
    """The failures; those of one argument and one diagnosis are told once."""
    told: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        told.setdefault((failure.argument, failure.diagnosis), []).append(failure)
    lines = []
    for first, *others in told.values():
        also = ", ".join(dict.fromkeys(f"{o.check} ({o.circumstance})" if o.circumstance else o.check for o in others))
        lines.append(f"{first}\n    also in {also}" if also else str(first))
    return lines


def _plain(failure: Failure) -> dict[str, Any]:
    kept = ("check", "argument", "circumstance", "diagnosis", "entry", "multiple", "wrong", "size", "blame")
    values = {name: getattr(failure, name) for name in kept}
    return values | {
        name: _jsonable(getattr(failure, name)) for name in ("rule", "reference", "differences", "multiple")
    }


def _jsonable(value: Any) -> Any:
    if value is None:
        return None
    value = complex(value)
    return value.real if value.imag == 0 and math.isfinite(value.real) else str(value if value.imag else value.real)
