"""A run of the checker: a rule under one check after another, and the report of what they found."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fnnet.checking.catalogue import letters
from fnnet.checking.checks import (
    determinism,
    dtypes,
    edge_values,
    finite_differences,
    linearity,
    memory,
    power,
    primal,
    reference,
    second_order,
    shapes,
    structure,
    transforms,
    vmap,
)
from fnnet.checking.compilation.first_difference import misled
from fnnet.checking.compilation.usual_options import miscompiled_though_safe
from fnnet.checking.programs import Call, Programs, RaisedError, operation_by_operation, recorded
from fnnet.checking.report import Failure, Line, Report
from fnnet.checking.session import Convention, NotRun, Options, Session, describe
from fnnet.checking.subject import subject_of

CHECKS: dict[str, Callable[[Session], Any]] = {
    "S": structure.check,
    "P": primal.check,
    "R": reference.check,
    "L": linearity.check,
    "F": finite_differences.check,
    "V": vmap.check,
    "T": transforms.check,
    "E": edge_values.check,
    "B": shapes.check,
    "D": dtypes.check,
    "2": second_order.check,
    "X": determinism.check,
    "M": memory.check,
    "W": power.check,
}


@dataclass(frozen=True, eq=False)
class Run:
    """A rule under the checks, one at a time: `run(f, *args)` begins it, and check S comes before the others.

    `lines` has a line for each check so far; one that ran is not run again.
    """

    session: Session
    chosen: tuple[str, ...]
    waived: Mapping[str, str]
    lines: dict[str, Line] = field(default_factory=dict)

    def line(self, letter: str) -> Line:
        """Run this check, unless it ran before."""
        if letter not in self.lines:
            self.lines[letter] = self._run(letter)
        return self.lines[letter]

    def _run(self, letter: str) -> Line:
        session, begin = self.session, time.perf_counter()
        structure = self.lines.get("S")
        if structure is not None and structure.status == "failed" and session.subject.places:
            return Line(letter, "not run", 0.0, "the structure is wrong")
        failures, notes = len(session.failures), len(session.notes)
        status, detail = "passed", ""
        with recorded() as calls:
            try:
                _check(session, letter)
            except NotRun as reason:
                status, detail = "not run", str(reason)
        new = session.failures[failures:]
        if not (session.is_confirmed or session.is_alone) and any(f.blame != "compiler" for f in new):
            self._find_who_is_to_blame(letter, failures, misled(calls.values()))
            new = session.failures[failures:]
        if new:
            miscompiled = all(failure.blame == "compiler" for failure in new)
            status = "waived" if letter in self.waived else "miscompiled" if miscompiled else "failed"
        elif letter == "F" and session.not_conclusive:
            status = "inconclusive"
        detail = detail or "; ".join(session.notes[notes:])
        return Line(letter, status, time.perf_counter() - begin, detail)

    def _find_who_is_to_blame(self, letter: str, failures: int, calls: Sequence[Call]) -> None:
        """The check's failures since the first `failures` are the compiler's where it passes operation by operation."""
        session = self.session
        if calls:
            again = Session(session.subject, session.options, session.programs, is_alone=True)
            with operation_by_operation():
                again.prepare()
            with contextlib.suppress(NotRun):
                _check(again, letter)
                if not again.failures:
                    text = miscompiled_though_safe(letter, [(call.program, call.args) for call in calls])
                    session.failures[failures:] = [text]
                    session.settled, session.is_alone = {}, True
                    return
        session.is_confirmed = True

    def again(self, seed: int) -> "Run":
        """The same run from its beginning, with other random numbers; what is compiled serves again."""
        session = Session(self.session.subject, replace(self.session.options, seed=seed), self.session.programs)
        session.prepare()
        return Run(session, self.chosen, self.waived)

    def report(self) -> Report:
        """What the checks so far found."""
        session, lines = self.session, [self.lines[letter] for letter in self.chosen if letter in self.lines]
        found = tuple(f for f in session.failures if f.check not in self.waived)
        waived = tuple((f, self.waived[f.check]) for f in session.failures if f.check in self.waived)
        not_run = {line.check: line.detail for line in lines if line.status == "not run"}
        independent = {"R", "F"} & {line.check for line in lines} - set(not_run)
        with np.errstate(all="ignore"):
            undecided = session.undecided() if independent and not found else []
        nothing = "nothing can be told of {}: neither finite differences nor autodiff has a digit there"
        empty = [f"nothing was compared of {path}: it has no entries" for path in session.empty_paths()]
        notes = dict.fromkeys([*session.notes, *empty, *(nothing.format(path) for path in undecided)])
        return Report(
            name=session.subject.name,
            signature=describe(session.subject, session.subject.leaves),
            reference=session.subject.origin if session.has_reference else "finite differences alone",
            checks=tuple(lines),
            failures=found,
            conventions=_conventions(session),
            shared_conventions=_shared(session),
            notes=tuple(notes),
            not_run=session.partly_not_run | not_run,
            waived=waived,
            inconclusive=bool(undecided) or len(empty) == len(session.subject.places),
        )


def run(
    f: Any,
    *args: Any,
    reference: Callable | None = None,
    static: Mapping[str, Any] | None = None,
    checks: Iterable[str] | None = None,
    dtypes: Iterable[str] | None = None,
    mapped: Iterable[str] | None = None,
    second_order: bool | None = None,
    ties: str = "any",
    waive: Mapping[str, str] | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Run:
    """The beginning of a run: its options are read, f and the reference traced at the example. See `check`."""
    chosen, waived = letters(checks), _reasons(waive)
    if ties not in ("any", "reference"):
        raise ValueError(f'check: ties (={ties!r}) must be "any" or "reference"')
    for dtype in [] if dtypes is None else _names(dtypes):
        if dtype not in Options.dtypes:
            raise ValueError(f"check: dtypes has {dtype!r}; it must hold some of {', '.join(Options.dtypes)}")
    options = Options(
        dtypes=Options.dtypes if dtypes is None else _names(dtypes),
        mapped=None if mapped is None else _names(mapped),
        second_order=second_order,
        ties=ties,
        seed=seed,
    )
    subject = subject_of(f, args, reference, static, name)
    session = Session(subject, options, Programs(subject))
    session.prepare()
    return Run(session, chosen, waived)


def _check(session: Session, letter: str) -> None:
    """Run a check; what it finds goes to the session."""
    alone = operation_by_operation() if session.is_alone else contextlib.nullcontext()
    try:
        with alone, np.errstate(all="ignore"):  # values at the edge overflow, and are meant to
            CHECKS[letter](session)
    except RaisedError as problem:
        session.failures.append(Failure(letter, "", "", f"raises {problem}"))


def _conventions(session: Session) -> tuple[str, ...]:
    """What the rule does at kinks and ties; a line for each argument and each pair of choices."""
    told: dict[tuple[str, str, str], list[Convention]] = {}
    for c in session.conventions:
        told.setdefault((c.argument, c.rule, c.reference), []).append(c)
    lines = []
    for (path, ours, theirs), found in told.items():
        where = list(dict.fromkeys(c.circumstance for c in found))
        more = f", and {len(where) - 3} more" if len(where) > 3 else ""
        count = f"{found[0].count} of {found[0].size} entries at {where[0]}"
        others = f"; also at {', '.join(where[1:3])}{more}" if where[1:] else ""
        lines.append(f"{path}: at a kink or tie the rule takes {ours}, the reference takes {theirs}: {count}{others}")
    return tuple(lines)


def _shared(session: Session) -> tuple[str, ...]:
    differing = {convention.argument for convention in session.conventions}
    return tuple(text for path, text in session.shared.items() if path not in differing)


def _reasons(waive: Mapping[str, str] | None) -> dict[str, str]:
    reasons = {}
    for check_, reason in (waive or {}).items():
        (letter,) = letters([check_], "waive")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"check: waive[{check_!r}] must give a reason")
        reasons[letter] = reason
    return reasons


def _names(given: Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
