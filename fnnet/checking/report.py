"""What a check found: failures, notes, and one of six verdicts."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fnnet.checking.catalogue import NAMES, with_name
from fnnet.checking.entries import Entries
from fnnet.checking.kinds import Blame, Looks, Status, Verdict
from fnnet.core.notebook import html_details, html_paragraph, html_table

CONSEQUENCES = ("L", "F")  # what fails too where a cotangent differs from the reference's


class CheckFailedError(AssertionError):
    """The rule of a report is not right, or the checker cannot decide; the message is the report.

    `Report.raise_if_failed` raises it. It is an AssertionError, so pytest counts it as a failure.
    """


@dataclass(frozen=True, eq=False)
class Failure:
    """One way in which rule and reference, or rule and mathematics, disagree; `str(failure)` is two lines of text.

    Args:
        check: Letter of the check; `docs/checking.md` has a table of them.
        argument: Path of the argument whose cotangent is wrong, such as "params['kernel']"; "" if it is no single
            argument, "the output" if values differ.
        circumstance: Where it shows: a dtype, a shape, an edge value, a transformation; "" at the example itself.
        diagnosis: What it looks like, in a sentence: "is the reference divided by the batch size, 4".
        entry: Index of the entry that is furthest off; None if none was compared.
        rule: The rule's value there.
        reference: The reference's value there, in double precision.
        differences: The value of finite differences there; None if they do not settle.
        multiple: The error there as a multiple of what is allowed.
        wrong: How many entries are wrong.
        size: How many there are.
        blame: "rule"; "reference" if finite differences agree with the rule alone; "compiler" if the rule is right
            operation by operation and wrong as XLA compiles it; or "unknown".
        ours: The rule's whole cotangent, if one was compared.
        theirs: The reference's.
        looks: The kind of the diagnosis, such as "scaled"; "" if the cotangent was not diagnosed.
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
    blame: str = Blame.RULE
    ours: np.ndarray | None = field(default=None, repr=False)
    theirs: np.ndarray | None = field(default=None, repr=False)
    looks: str = ""

    @classmethod
    def of_entries(
        cls,
        check: str,
        argument: str,
        circumstance: str,
        diagnosis: str,
        entries: Entries,
        *,
        blame: str = Blame.RULE,
        entry: tuple[int, ...] | None = None,
        differences: float | None = None,
        looks: str = "",
    ) -> "Failure":
        """A cotangent with wrong entries; it shows the entry that is furthest off, or the given one."""
        at = entries.worst() if entry is None else entry
        return cls(
            check,
            argument,
            circumstance,
            diagnosis,
            entry=at,
            rule=entries.ours[at].item(),
            reference=entries.theirs[at].item(),
            differences=differences,
            multiple=entries.multiple(at),
            wrong=entries.count,
            size=entries.size,
            blame=blame,
            ours=entries.ours,
            theirs=entries.theirs,
            looks=looks,
        )

    def __str__(self) -> str:
        """Check, argument, circumstance and diagnosis; below them the worst entry."""
        where = f", {self.circumstance}" if self.circumstance else ""
        lines = [f"{with_name(self.check)}: {self.argument or 'the rule'}{where}: {self.diagnosis}"]
        if self.entry is not None:
            measured = self.multiple is not None and math.isfinite(self.multiple) and self.blame != Blame.COMPILER
            worst = f"; {number(self.multiple)} times the tolerance" if measured else ""
            lines.append(f"    {self.wrong} of {self.size} entries wrong; at {self.worst_entry}{worst}")
        return "\n".join(lines)

    @property
    def worst_entry(self) -> str:
        """The entry that is furthest off, with the values of rule, reference and differences; "" if there is none."""
        if self.entry is None:
            return ""
        at = f"[{', '.join(map(str, self.entry))}]" if self.entry else ""
        compiled = self.blame == Blame.COMPILER
        values = {
            "compiled" if compiled else "rule": self.rule,
            "operation by operation" if compiled else "reference": self.reference,
            "finite differences": self.differences,
        }
        shown = ", ".join(f"{name} {number(value)}" for name, value in values.items() if value is not None)
        return f"{self.argument}{at}: {shown}"


@dataclass(frozen=True)
class Line:
    """What became of one check.

    Args:
        check: Its letter.
        status: "passed", "failed", "miscompiled", "waived" (it failed, as it may), "inconclusive" or "not run".
        seconds: How long it took, compilations included.
        detail: Why it was not run, or what it noted.
    """

    check: str
    status: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """What `fnnet.check` found; `str(report)` is all of it.

    Args:
        name: Of the rule.
        signature: The example arguments, in words.
        reference: What it was compared with, in words.
        checks: What became of each check, cheapest first.
        failures: Empty if the rule is right.
        conventions: Where the rule differs from the reference at a kink or a tie, within the subdifferential.
        notes: What is worth knowing and no failure.
        not_run: Checks that could not run here, by letter, with the reason; also parts of a check.
        waived: Failures of waived checks, each with the reason.
        inconclusive: Whether nothing independent of the rule could decide.
        shared_conventions: What the rule does at kinks and ties where the reference does the same.

    `verdict` and `ok` summarise these. `raise_if_failed()` turns them into an exception and `to_json()` into JSON;
    `plot(path)` draws the wrong cotangents.
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
    shared_conventions: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """One of six.

        right: every check that ran passed, or was waived.
        wrong: at least one failed by the rule's fault.
        miscompiled: the rule is right operation by operation, and wrong as XLA compiles it.
        convention differs: right, but at a kink or a tie it takes another slope than the reference.
        inconclusive: nothing independent of the rule is reliable there.
        reference is wrong: they differ, and finite differences agree with the rule.
        """
        blamed = {failure.blame for failure in self.failures}
        if Blame.RULE in blamed:
            return Verdict.WRONG
        if Blame.REFERENCE in blamed:
            return Verdict.REFERENCE
        if Blame.COMPILER in blamed:
            return Verdict.MISCOMPILED
        if Blame.UNKNOWN in blamed or self.inconclusive:
            return Verdict.INCONCLUSIVE
        return Verdict.CONVENTION if self.conventions else Verdict.RIGHT

    @property
    def ok(self) -> bool:
        """Whether the rule is right, up to conventions at kinks and ties, and compiled rightly."""
        return self.verdict in (Verdict.RIGHT, Verdict.CONVENTION)

    def raise_if_failed(self) -> "Report":
        """The report itself, or CheckFailedError with the report as its message."""
        if not self.ok:
            raise CheckFailedError(str(self))
        return self

    def __str__(self) -> str:
        """The verdict, then failures, waivers, conventions, notes, and the checks that did not run.

        Failures of one cause stand together, below the one that tells it best; the first cause comes first.
        """
        seconds = sum(line.seconds for line in self.checks)
        passed = ", ".join(with_name(line.check) for line in self.checks if line.status == Status.PASSED)
        lines = [
            f"{self.name}({self.signature}): {self.verdict}",
            f"  against {self.reference}; passed: {passed or 'none'}; {seconds:.1f} s",
        ]
        for title, items in (
            ("failures", [_told(cause) for cause in causes(self.failures)]),
            ("waived", [f"{failure}\n    because: {reason}" for failure, reason in self.waived]),
            ("conventions", self.conventions),
            ("at kinks and ties", self.shared_conventions),
            ("notes", self.notes),
            ("not run", _by_reason(self.not_run)),
        ):
            if items:
                lines.append(f"  {title}")
                lines += [f"    {line}" for item in items for line in str(item).splitlines()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        """As `str`."""
        return str(self)

    def _repr_html_(self) -> str:
        """For a notebook: the verdict, a table of what is wrong, and all of the text, folded."""
        names = ("cotangent of", "what is wrong", "the worst entry", "found by")
        rows = [
            (cause[0].argument or "the rule", _what(cause[0]), cause[0].worst_entry, _where(cause))
            for cause in causes(self.failures)
        ]
        heading = html_paragraph(f"{self.name}({self.signature})", strong=f"{self.verdict}:", good=self.ok)
        table = html_table(names, rows, left=range(len(names))) if rows else ""
        return heading + table + html_details("the whole report", str(self))

    def to_json(self, **options: Any) -> str:
        """The report as JSON; `options` are those of json.dumps. Numbers that JSON does not know are strings."""
        return json.dumps(self.content(), **({"indent": 2} | options))

    def content(self) -> dict[str, Any]:
        """What `to_json` writes, all but the whole cotangents."""
        return {
            "name": self.name,
            "signature": self.signature,
            "reference": self.reference,
            "verdict": self.verdict,
            "ok": self.ok,
            "checks": [_of_line(line) for line in self.checks],
            "failures": [_plain(failure) for failure in self.failures],
            "waived": [{**_plain(failure), "reason": reason} for failure, reason in self.waived],
            "conventions": list(self.conventions),
            "shared_conventions": list(self.shared_conventions),
            "notes": list(self.notes),
            "not_run": self.not_run,
        }

    def plot(self, path: str | Path) -> None:
        """Draw rule, reference and error of each wrong cotangent, side by side, into a picture.

        Raises:
            ValueError: No cotangent of the report differs from a reference: there is nothing to draw.
            ImportError: matplotlib is not installed.
            OSError: The file cannot be written.
        """
        from fnnet.checking.plotting import plot

        plot(self, path)


def number(value: Any) -> str:
    """A number in six digits."""
    value = complex(value)
    return f"{value.real:.6g}" if value.imag == 0 else f"{value:.6g}"


def causes(failures: Sequence[Failure]) -> list[list[Failure]]:
    """The failures that have one cause together, the one that tells it best in front.

    Failures with the same argument and diagnosis have one cause. A cotangent that differs from the reference's (R) is
    also not linear (L) and off finite differences (F), if these fail. R tells the cause, unless its diagnosis is that
    the cotangent is like nothing known.
    """
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.argument, failure.diagnosis), []).append(failure)
    found: list[list[Failure]] = []
    leading: dict[str, list[Failure]] = {}
    for group in groups.values():
        first = group[0]
        if first.check == "R":
            leading.setdefault(first.argument, group)
        if first.check in CONSEQUENCES and first.argument in leading:
            leading[first.argument] += group
        else:
            found.append(group)
    for cause in leading.values():
        if cause[0].looks == Looks.UNLIKE:
            cause.sort(key=lambda failure: failure.check != "L")  # the other order stays
    return found


def _told(cause: Sequence[Failure]) -> str:
    """The first failure of a cause in full; of the others the check, and what is new."""
    first, *others = cause
    lines, also = [str(first)], []
    for other in others:
        where = f" ({other.circumstance})" if other.circumstance else ""
        if other.diagnosis == first.diagnosis:
            also.append(f"{with_name(other.check)}{where}")
        else:
            lines.append(f"    also in {with_name(other.check)}{where}: {other.diagnosis}")
    if also:
        lines.append(f"    also in {', '.join(dict.fromkeys(also))}")
    return "\n".join(lines)


def _what(failure: Failure) -> str:
    return f"{failure.diagnosis} ({failure.circumstance})" if failure.circumstance else failure.diagnosis


def _where(cause: Sequence[Failure]) -> str:
    return ", ".join(dict.fromkeys(with_name(failure.check) for failure in cause))


def _by_reason(not_run: Mapping[str, str]) -> list[str]:
    """A line for each reason, with the checks that did not run for it."""
    checks: dict[str, list[str]] = {}
    for check, why in not_run.items():
        checks.setdefault(why, []).append(with_name(check))
    return [f"{', '.join(names)}: {why}" for why, names in checks.items()]


def _of_line(line: Line) -> dict[str, Any]:
    seconds = round(line.seconds, 3)
    return {**dataclasses.asdict(line), "name": NAMES[line.check], "seconds": seconds}


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
