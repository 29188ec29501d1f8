"""The beginning of a run: whether the rule takes double precision, and whether its reference can be differentiated."""

import dataclasses

import numpy as np

from fnnet.checking.errors import NothingToCheckError, RaisedError
from fnnet.checking.findings import Findings, Note
from fnnet.checking.kinds import Blame, Origin
from fnnet.checking.leaves import Leaves, is_wide, widened
from fnnet.checking.programs import TRACING, Programs
from fnnet.checking.session import Capabilities, Options, Session
from fnnet.checking.subject import Subject
from fnnet.checking.tolerance import NINE_DIGITS
from fnnet.checking.undecorated import has_rules
from fnnet.core.jaxprs import all_equations
from fnnet.core.primitives import is_inexact

SINGLE_DIGITS = 1e-4  # relative error of a value that is right in single precision
TINY = 2.0**-23  # a relative step; the mean of a smooth function's values on both sides of a point stays the same


def prepared(subject: Subject, options: Options, programs: Programs) -> Session:
    """A session with what its rule and reference are capable of.

    Raises:
        NothingToCheckError: The rule has no floating argument or output.
        RaisedError: The rule raises at the example.
    """
    example = list(subject.leaves)
    outs = programs.out_shapes(example)
    if not subject.with_gradient:
        raise NothingToCheckError(f"check: {subject.name} has no floating argument, so there is no gradient to check")
    if not outs:
        raise NothingToCheckError(f"check: {subject.name} has no floating output, so there is no gradient to check")
    can = Capabilities(takes_doubles=_takes_doubles(programs, widened(example)))
    session = Session(subject, options, programs, can, Findings())
    if subject.origin != Origin.GIVEN:
        session = _without_false_doubles(session)
    if programs.reference_pull is None:
        return session
    problem = _problem_of_the_reference(session, [out.shape for out in outs])
    if problem:
        text = f"{subject.origin} cannot be differentiated: {problem}"
        if subject.origin == Origin.GIVEN:
            session.findings.fail("R", text, blame=Blame.REFERENCE)
        session.findings.notes.append(Note(text))
        return dataclasses.replace(session, can=session.can.but(reference_problem=problem))
    session = dataclasses.replace(session, can=session.can.but(has_reference=True))
    if subject.origin == Origin.GIVEN:
        session = _without_false_doubles(session)
    is_any_function = subject.origin == Origin.ITSELF and subject.backward is None
    if is_any_function and not has_rules(subject.function, subject.merge(example)):
        session.findings.note(
            "R",
            f"{subject.name} has no backward of its own, and is its own reference: only finite differences are "
            "independent of it",
        )
    return session


def _takes_doubles(programs: Programs, doubles: Leaves) -> bool:
    """Whether the rule computes in double precision; check D says what it raises."""
    try:
        wide = programs.value[True].shape(doubles)
        programs.pull[True].shape(doubles, [np.zeros(o.shape, o.dtype) for o in wide])
    except RaisedError:
        return False
    return all(np.dtype(o.dtype) in (np.float64, np.complex128) for o in wide)


def _problem_of_the_reference(session: Session, shapes: list[tuple[int, ...]]) -> str:
    """Why the reference cannot be used; "" if it can."""
    doubles, programs = widened(session.example), session.programs
    try:
        theirs = [value.shape for value in programs.reference_in[True].shape(doubles)]
        if theirs != shapes:
            return f"ValueError: its output has the shapes {theirs}, the rule's has {shapes}"
        session.reference_program.shape(doubles, [np.zeros(shape) for shape in shapes])
    except RaisedError as problem:
        return str(problem)
    return ""


def _without_false_doubles(session: Session) -> Session:
    """Some rules compute in f32 in any mode: then f64 has no more digits to check, and a note says so.

    It shows against a reference that was given; without one, in how coarsely the value follows tiny steps.
    """
    doubles = widened(session.example)
    if not session.can.takes_doubles or is_wide(session.example):
        return session
    try:
        equations = all_equations(session.programs.value[True].jaxpr(doubles).jaxpr)
        if not any(
            getattr(out.aval, "dtype", None) == np.float32 for equation in equations for out in equation.outvars
        ):
            return session
    except TRACING:
        return session
    if session.is_reference_given:
        other = session.programs.reference_in[True](doubles)
    else:
        rng = session.options.rng("tiny step")
        steps = [TINY * a * rng.normal(size=a.shape) if is_inexact(a) else 0 for a in doubles]
        sides = (session.value([a + side * s for a, s in zip(doubles, steps, strict=True)]) for side in (1, -1))
        other = [(a + b) / 2 for a, b in zip(*sides, strict=True)]
    pairs = zip(session.value(doubles), other, strict=True)
    errors = [float(np.abs(a - b).max(initial=0)) / (float(np.abs(b).max(initial=0)) or 1) for a, b in pairs]
    if not NINE_DIGITS < max(errors) < SINGLE_DIGITS:
        return session
    beside = ", where the reference has double" if session.is_reference_given else ""
    text = f"in f64 it computes in single precision{beside}: checked in the example's dtype alone"
    session.findings.notes.append(Note(text))
    return dataclasses.replace(session, can=session.can.but(takes_doubles=False, is_single=True))
