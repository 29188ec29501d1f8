"""A run of the checker: a rule under one check after another, and the report of what they found."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
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
from fnnet.checking.errors import NotRun, RaisedError
from fnnet.checking.findings import Convention, Note, SharedConvention
from fnnet.checking.kinds import Blame, Remark, Status, Ties
from fnnet.checking.leaves import described
from fnnet.checking.preparation import prepared
from fnnet.checking.programs import Call, Programs, operation_by_operation, recorded
from fnnet.checking.report import Line, Report
from fnnet.checking.session import Options, Session
from fnnet.checking.subject import Subject, subject_of

CHECKS: dict[str, Callable[[Session], None]] = {
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
UNDECIDED = "nothing can be decided about {}: neither finite differences nor autodiff is reliable there"


@dataclass(frozen=True, eq=False)
class Request:
    """What the checker has to do: a subject, options, the checks and the waivers; nothing has been called yet."""

    subject: Subject
    options: Options
    chosen: tuple[str, ...]
    waived: Mapping[str, str]

    def begin(self) -> "Run":
        """Trace the rule and its reference at the example.

        Raises:
            NothingToCheckError: The rule has no floating argument or output.
            RaisedError: The rule raises at the example.
        """
        return Run(prepared(self.subject, self.options, Programs(self.subject)), self.chosen, self.waived)


@dataclass(eq=False)
class Run:
    """A rule under the checks, one at a time: `run(f, *args)` begins it, and check S comes before the others.

    `lines` has a line for each check so far; one that ran does not run again. `is_confirmed`: a failure was seen that
    is not the compiler's. `is_by_operation`: one was the compiler's, so the checks go on operation by operation.
    """

    session: Session
    chosen: tuple[str, ...]
    waived: Mapping[str, str]
    lines: dict[str, Line] = field(default_factory=dict)
    is_confirmed: bool = False
    is_by_operation: bool = False

    def line(self, letter: str) -> Line:
        """Run this check, unless it ran before."""
        if letter not in self.lines:
            self.lines[letter] = self._run(letter)
        return self.lines[letter]

    def _run(self, letter: str) -> Line:
        session, findings, begin = self.session, self.session.findings, time.perf_counter()
        structure = self.lines.get("S")
        if structure is not None and structure.status == Status.FAILED and session.subject.with_gradient:
            return Line(letter, Status.NOT_RUN, 0.0, "the structure is wrong")
        failures, notes = len(findings.failures), len(findings.notes)
        status, detail = Status.PASSED, ""
        with recorded() as calls:
            try:
                _check(session, letter, by_operation=self.is_by_operation)
            except NotRun as reason:
                status, detail = Status.NOT_RUN, str(reason)
        is_open = not (self.is_confirmed or self.is_by_operation)
        if is_open and any(f.blame != Blame.COMPILER for f in findings.failures[failures:]):
            self._find_who_is_to_blame(letter, failures, misled(calls.values()))
        new = findings.failures[failures:]
        if new:
            is_miscompiled = all(failure.blame == Blame.COMPILER for failure in new)
            status = Status.MISCOMPILED if is_miscompiled else Status.FAILED
            status = Status.WAIVED if letter in self.waived else status
        elif letter == "F" and findings.not_conclusive:
            status = Status.INCONCLUSIVE
        detail = detail or "; ".join(map(str, findings.notes[notes:]))
        return Line(letter, status, time.perf_counter() - begin, detail)

    def _find_who_is_to_blame(self, letter: str, failures: int, calls: Sequence[Call]) -> None:
        """The check's failures since the first `failures` are the compiler's if it passes operation by operation."""
        session = self.session
        if calls:
            with operation_by_operation():
                again = prepared(session.subject, session.options, session.programs)
            with contextlib.suppress(NotRun):
                _check(again, letter, by_operation=True)
                if not again.findings.failures:
                    failure = miscompiled_though_safe(letter, [(call.program, call.args) for call in calls])
                    session.findings.failures[failures:] = [failure]
                    session.findings.known_wrong.clear()
                    self.is_by_operation = True
                    return
        self.is_confirmed = True

    def again(self, seed: int) -> "Run":
        """The same run from its beginning, with other random numbers; nothing is compiled again."""
        session = self.session
        options = replace(session.options, seed=seed)
        return Run(prepared(session.subject, options, session.programs), self.chosen, self.waived)

    def report(self, only: str | None = None) -> Report:
        """What the checks so far found; of one check, its failures and notes alone."""
        session, findings = self.session, self.session.findings
        lines = [self.lines[letter] for letter in self.chosen if letter in self.lines]
        found = tuple(f for f in findings.failures if f.check not in self.waived)
        not_run = {line.check: line.detail for line in lines if line.status == Status.NOT_RUN}
        independent = {"R", "F"} & {line.check for line in lines} - set(not_run)
        with np.errstate(all="ignore"):
            undecided = session.undecided() if independent and not found else []
        empty = session.without_entries()
        notes = [
            *findings.notes,
            *(Note(f"nothing was compared of {path}: it has no entries") for path in empty),
            *(Note(UNDECIDED.format(path), kind=Remark.UNDECIDED) for path in undecided),
        ]
        report = Report(
            name=session.subject.name,
            signature=described(session.subject.paths, session.subject.leaves),
            reference=session.subject.origin if session.can.has_reference else "finite differences alone",
            checks=tuple(lines),
            failures=found,
            conventions=_conventions(session),
            shared_conventions=tuple(map(str, self.shared_conventions())),
            notes=tuple(dict.fromkeys(map(str, notes))),
            not_run=findings.partly_not_run | not_run,
            waived=tuple((f, self.waived[f.check]) for f in findings.failures if f.check in self.waived),
            inconclusive=bool(undecided) or len(empty) == len(session.subject.with_gradient),
        )
        if only is None:
            return report
        return replace(
            report,
            checks=tuple(line for line in lines if line.check == only),
            failures=tuple(failure for failure in found if failure.check == only),
            notes=tuple(str(note) for note in notes if note.check == only or note.kind == Remark.UNDECIDED),
            conventions=(),
            shared_conventions=(),
            not_run={},
            waived=(),
        )

    def shared_conventions(self) -> list[SharedConvention]:
        """What rule and reference both do at kinks and ties, for the arguments where they never differ."""
        findings = self.session.findings
        differing = {convention.argument for convention in findings.conventions}
        return [shared for path, shared in findings.shared.items() if path not in differing]


def run(f: Any, *args: Any, **options: Any) -> Run:
    """The beginning of a run; the arguments are those of `check`. What f raises at the example, it raises."""
    wanted = request(f, *args, **options)
    try:
        return wanted.begin()
    except RaisedError as raised:
        raised.problem.add_note(f"check: {raised_where(wanted.subject)}")
        if any(_is_list_of_numbers(arg) for arg in args):
            raised.problem.add_note(
                "check: JAX takes a list of numbers for a pytree; write jnp.array([...]) for an array"
            )
        raise raised.problem from None


def raised_where(subject: Subject) -> str:
    """Where a function raises, in words."""
    return f"{subject.name} raises at the arguments {described(subject.paths, subject.leaves)}"


def request(
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
) -> Request:
    """The arguments of `check`, looked at; ValueError or TypeError if they are wrong."""
    chosen, waived = letters(checks), _reasons(waive)
    if ties not in tuple(Ties):
        raise ValueError(f'check: ties (={ties!r}) must be "any" or "reference"')
    for dtype in [] if dtypes is None else _names(dtypes):
        if dtype not in Options.dtypes:
            raise ValueError(f"check: dtypes has {dtype!r}; it must hold some of {', '.join(Options.dtypes)}")
    options = Options(
        dtypes=Options.dtypes if dtypes is None else _names(dtypes),
        mapped=None if mapped is None else _names(mapped),
        second_order=second_order,
        ties=Ties(ties),
        seed=seed,
    )
    subject = subject_of(f, args, reference, static, name)
    unknown = set(options.mapped or ()) - set(subject.names)
    if unknown:
        raise ValueError(f"check: mapped names {sorted(unknown)}, but the arguments are {', '.join(subject.names)}")
    return Request(subject, options, chosen, waived)


def _check(session: Session, letter: str, *, by_operation: bool) -> None:
    """Run a check; what it finds goes to the session."""
    try:
        with operation_by_operation() if by_operation else contextlib.nullcontext():
            with np.errstate(all="ignore"):  # values at the edge overflow, as they should
                CHECKS[letter](session)
    except RaisedError as problem:
        session.findings.fail(letter, f"raises {problem}")


def _conventions(session: Session) -> tuple[str, ...]:
    """What the rule does at kinks and ties; a line for each argument and each pair of choices."""
    grouped: dict[tuple[str, str, str], list[Convention]] = {}
    for c in session.findings.conventions:
        grouped.setdefault((c.argument, c.rule, c.reference), []).append(c)
    lines = []
    for (path, ours, theirs), found in grouped.items():
        where = list(dict.fromkeys(c.circumstance for c in found))
        more = f", and {len(where) - 3} more" if len(where) > 3 else ""
        count = f"{found[0].count} of {found[0].size} entries at {where[0]}"
        others = f"; also at {', '.join(where[1:3])}{more}" if where[1:] else ""
        lines.append(f"{path}: at a kink or tie the rule takes {ours}, the reference takes {theirs}: {count}{others}")
    return tuple(lines)


def _reasons(waive: Mapping[str, str] | None) -> dict[str, str]:
    reasons = {}
    for check_, reason in (waive or {}).items():
        (letter,) = letters([check_], "waive")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"check: waive[{check_!r}] must give a reason")
        reasons[letter] = reason
    return reasons


def _is_list_of_numbers(arg: Any) -> bool:
    leaves = jax.tree.leaves(arg)
    return isinstance(arg, list | tuple) and bool(leaves) and all(isinstance(leaf, int | float) for leaf in leaves)


def _names(given: Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
