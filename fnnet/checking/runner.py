"""`check`: every check of a rule with a hand-written backward, and a report."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fnnet.checking import agreement
from fnnet.checking.catalogue import letters
from fnnet.checking.edges import edges
from fnnet.checking.linearity import linearity
from fnnet.checking.mapping import mapping
from fnnet.checking.memory import memory
from fnnet.checking.programs import Programs, RaisedError
from fnnet.checking.repetition import repetition
from fnnet.checking.report import Failure, Line, Report
from fnnet.checking.resizing import resizing
from fnnet.checking.second_order import second_order
from fnnet.checking.session import Convention, NotRun, Options, Session, describe, first_line
from fnnet.checking.strength import strength
from fnnet.checking.structure import structure
from fnnet.checking.subject import subject_of
from fnnet.checking.transforms import transforms

CHECKS: dict[str, Callable[[Session], Any]] = {
    "S": structure,
    "P": agreement.primal,
    "R": agreement.reference,
    "L": linearity,
    "F": agreement.finite_differences,
    "V": mapping,
    "T": transforms,
    "E": edges,
    "B": resizing,
    "D": agreement.dtypes,
    "2": second_order,
    "X": repetition,
    "M": memory,
    "W": strength,
}


def check(
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
) -> Report:
    """Whether a hand-written backward is right; if not, where and how it is wrong.

    Every cotangent is compared, entry by entry, with autodiff of a reference in double precision, and with finite
    differences, at the example, at edge values, at other shapes and dtypes, and under the transformations of JAX.

    Args:
        f: An `fnnet.rule`, a `jax.custom_vjp`, any function that has one inside, or a pair (forward, backward):
            forward(*args, **static) -> (output, residuals), backward(residuals, output_bar, **static) -> cotangents.
        *args: Example arguments: arrays, pytrees of arrays, integers, None. Their shapes and values seed the sweeps.
        reference: A plain JAX function of the same signature; by default f without its custom backward.
        static: Values of keyword arguments that are not arrays.
        checks: Which checks to run, by letter or name; by default all. See docs/checking.md.
        dtypes: Which dtypes check D tries, by default f64, f32, bf16 and f16.
        mapped: Names of the arguments that vmap may map; by default all.
        second_order: False: the rule need not be differentiable twice. True: it must not refuse. By default it may
            refuse, but not be wrong.
        ties: "any": at a kink or tie every value within the subdifferential passes, and is told; "reference": only the
            reference's value.
        waive: Checks that may fail, by letter or name, each with the reason, which is printed.
        seed: Of the random cotangents and directions.
        name: What the report calls the rule.

    Returns:
        A Report: `ok`, `verdict`, `failures`, `notes`, `not_run`; `str(report)` tells all of it.

    Raises:
        ValueError: f has no floating argument or output, an option is unknown, or a waiver has no reason.
        TypeError: f is no function or pair of functions, or an argument is no array.
        Exception: Whatever f itself raises at the example.

    Example:
        >>> import jax, jax.numpy as jnp, fnnet
        >>> square = fnnet.rule(lambda x: (x * x, x), lambda x, y_bar: (2 * x * y_bar,))
        >>> fnnet.check(square, jnp.arange(3.0), checks="SPRLF").verdict
        'right'
    """
    chosen, waived = letters(checks), _reasons(waive)
    if ties not in ("any", "reference"):
        raise ValueError(f'check: ties (={ties!r}) must be "any" or "reference"')
    options = Options(
        **({} if dtypes is None else {"dtypes": (dtypes,) if isinstance(dtypes, str) else tuple(dtypes)}),
        mapped=None if mapped is None else (mapped,) if isinstance(mapped, str) else tuple(mapped),
        second_order=second_order, ties=ties, seed=seed,
    )  # fmt: skip
    subject = subject_of(f, args, reference, static, name)
    session = Session(subject, options, Programs(subject))
    lines, not_run, found, waived_failures = [], {}, [], []
    begin = time.perf_counter()
    session.prepare()
    for letter in chosen:
        if letter not in CHECKS:
            continue
        before, notes = list(session.failures), len(session.notes)
        status, detail = "passed", ""
        try:
            with np.errstate(all="ignore"):  # values at the edge overflow, and are meant to
                CHECKS[letter](session)
        except RaisedError as problem:
            session.failures.append(Failure(letter, "", "", f"raises {first_line(problem)}"))
        except NotRun as reason:
            status, detail = "not run", str(reason)
            not_run[letter] = detail
        new = session.failures[len(before) :]
        if new:
            status = "waived" if letter in waived else "failed"
        elif letter == "F" and session.not_conclusive:
            status = "inconclusive"
        lines.append(Line(letter, status, time.perf_counter() - begin, detail or "; ".join(session.notes[notes:])))
        begin = time.perf_counter()
        if letter == "S" and new and letter not in waived and subject.places:
            not_run |= {c: "the structure is wrong" for c in chosen if c != "S"}
            break
    for failure in session.failures:
        if failure.check in waived:
            waived_failures.append((failure, waived[failure.check]))
        else:
            found.append(failure)
    not_run |= {c: why for c, why in session.partly_not_run.items() if c not in not_run}
    independent = {"R", "F"} & set(chosen) - set(not_run)
    undecided = session.undecided() if independent and not found else []
    session.notes += [
        f"nothing can be told of {path}: neither finite differences nor autodiff has a digit there"
        for path in undecided
    ]
    origin = subject.origin if session.has_reference else "finite differences alone"
    return Report(
        subject.name, describe(subject, subject.leaves), origin,
        tuple(lines), tuple(found), _conventions(session), tuple(dict.fromkeys(session.notes)), not_run,
        tuple(waived_failures), bool(undecided),
    )  # fmt: skip


def _conventions(session: Session) -> tuple[str, ...]:
    """What the rule does at kinks and ties; a line for each argument and each pair of choices."""
    told: dict[tuple[str, str, str], list[Convention]] = {}
    for c in session.conventions:
        told.setdefault((c.argument, c.rule, c.reference), []).append(c)
    lines = []
    for (path, rule, reference), found in told.items():
        where = list(dict.fromkeys(c.circumstance for c in found))
        more = f", and {len(where) - 3} more" if len(where) > 3 else ""
        count = f"{found[0].count} of {found[0].size} entries at {where[0]}"
        others = f"; also at {', '.join(where[1:3])}{more}" if where[1:] else ""
        lines.append(
            f"{path}: at a kink or tie the rule takes {rule}, the reference takes {reference}: {count}{others}"
        )
    return tuple(lines)


def _reasons(waive: Mapping[str, str] | None) -> dict[str, str]:
    reasons = {}
    for check_, reason in (waive or {}).items():
        (letter,) = letters([check_], "waive")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"check: waive[{check_!r}] must give a reason")
        reasons[letter] = reason
    return reasons
