"""P, R and D: the forward rule's value, and every entry of every cotangent against autodiff of the reference."""

import functools

import numpy as np

from fnnet.checking.compiled import compare_compiled
from fnnet.checking.judgement import judge
from fnnet.checking.programs import RaisedError, as_wide, cast, is_wide, widened
from fnnet.checking.report import Failure, number
from fnnet.checking.session import NotRun, Session, first_line, gaussians, jittered
from fnnet.checking.structure import RAISES, faults
from fnnet.checking.subject import is_moving
from fnnet.checking.tolerance import ULPS_ALLOWED, precision, wrong_entries

COTANGENTS = 3
TINY = 1e-300


def primal(session: Session) -> None:
    """P: forward rule, undifferentiated function, reference and compiled function return the same."""
    leaves = session.example
    bars = session.output_bars(leaves, 0)
    outs, _ = session.pull(leaves, bars)
    outs, values = ([as_wide(a) for a in side] for side in (outs, session.value(leaves)))
    if session.has_reference:
        expected = session.expected(leaves, bars)
        allowed, theirs = expected.out_allowed, expected.outs
    else:
        eps = precision([*leaves, *bars])
        allowed, theirs = [2 * ULPS_ALLOWED * eps * float(abs(v).max(initial=0.0)) for v in values], None
    _compare(
        session, outs, values, allowed, "the forward rule's value differs from the undifferentiated function's", "rule"
    )
    if theirs is not None and not session.failures:
        blame = "reference" if all(slope.agrees for slope in session.slopes()) else "rule"
        text = "the rule's value differs from the reference's: they are not the same function"
        _compare(session, values, theirs, allowed, text, blame)
    if not session.failures:
        wide, names = is_wide(leaves), [_output(i, values) for i in range(len(values))]
        programs = session.programs.usual_value[wide], session.programs.value[wide]
        compare_compiled(session, "P", *programs, (leaves,), lambda outs: outs, names, lambda: allowed)


def _output(number: int, outs: list) -> str:
    return f"output {number}" if len(outs) > 1 else "the output"


def _compare(session: Session, ours: list, theirs: list, allowed: list[float], text: str, blame: str) -> None:
    for i, (a, b, tolerance) in enumerate(zip(ours, theirs, allowed, strict=True)):
        wrong = wrong_entries(a, b, tolerance)
        if wrong.any():
            given = text, a, b, wrong, tolerance
            session.failures.append(Failure.entrywise("P", _output(i, ours), "", *given, blame=blame))


def reference(session: Session) -> None:
    """R: three Gaussian cotangents at the example, and one at arguments near it; the first compiled, too."""
    session.reference_pull  # noqa: B018 -- raises NotRun without one
    leaves = session.example
    near = jittered(leaves, session.rng("near"))
    runs = [(leaves, session.output_bars(leaves, n), "") for n in range(COTANGENTS)]
    runs.append((near, session.output_bars(near, "near"), "near the example"))
    for at, bars, circumstance in runs:
        before = len(session.failures)
        judge(session, "R", at, bars, circumstance, previous=leaves if at is near else None)
        paths = session.subject.moving_paths()
        for failure in session.failures[before:]:
            for k in [paths.index(failure.argument)] if failure.argument in paths else range(len(paths)):
                session.settled.setdefault(k, failure)
        if len(session.settled) == len(paths):
            return
    if not any(failure.check == "R" for failure in session.failures):
        wide, bars = is_wide(leaves), runs[0][1]
        programs = session.programs.usual_pull[wide], session.programs.pull[wide]
        paths = session.subject.moving_paths()
        allowed = functools.cache(lambda: session.expected(leaves, bars).bar_allowed)
        compare_compiled(session, "R", *programs, (leaves, bars), lambda pulled: pulled[1], paths, allowed)


def dtypes(session: Session) -> None:
    """D: the other dtypes; structure first, then every entry for one cotangent."""
    session.compiled_reference_pull  # noqa: B018 -- raises NotRun without one
    own = {str(leaf.dtype) for leaf in session.example if is_moving(leaf)}
    tried = []
    for dtype in session.options.dtypes:
        if own == {dtype} or (
            any(leaf.dtype.kind == "c" for leaf in session.example) and dtype not in ("float32", "float64")
        ):
            continue
        leaves = cast(session.example, dtype)
        wide = is_wide(leaves)
        try:
            theirs = session.programs.reference_in[wide].shape(leaves)
        except RaisedError as problem:
            session.notes.append(f"D: {dtype} left out: {session.subject.origin} raises {first_line(problem)}")
            continue
        tried.append(dtype)
        try:
            outs = session.programs.value[wide].shape(leaves)
        except RaisedError as problem:
            session.notes.append(f"D: refused in {dtype}: {first_line(problem)}")
            continue
        bars = gaussians(outs, session.rng("dtype", dtype))
        found = faults(session.subject, leaves, bars)
        refused = [text for path, text in found if text.startswith(RAISES)]
        if refused:  # a loud refusal of a dtype is no wrong gradient
            session.notes.append(f"D: refused in {dtype}: {refused[0]}")
            continue
        session.failures += [Failure("D", path, dtype, text) for path, text in found]
        wrong_dtype = [f"{o.dtype}" for o, t in zip(outs, theirs, strict=True) if o.dtype != t.dtype]
        if wrong_dtype:
            session.notes.append(
                f"D: in {dtype} the rule's output is {', '.join(wrong_dtype)}, the reference's is {theirs[0].dtype}"
            )
        if not found and not (session.is_single and wide):
            try:
                _values_of_dtype(session, leaves, bars, dtype)
            except RaisedError as problem:
                session.notes.append(f"D: refused in {dtype}: {first_line(problem)}")
    if not tried:
        raise NotRun("no other dtype that the reference takes")


def _values_of_dtype(session: Session, leaves: list, bars: list, dtype: str) -> None:
    """The example in this dtype; in sixteen bits each argument a hundred times larger too: f16 ends at 65504."""
    if not overflows(session, leaves, bars):
        judge(session, "D", leaves, bars, dtype)
    for place in session.subject.places if precision(leaves) > 1e-4 else ():
        larger = list(leaves)
        larger[place] = cast([as_wide(leaves[place]) * 100], dtype)[0]
        if not overflows(session, larger, bars):
            judge(session, "D", larger, bars, f"{session.subject.paths[place]} times 100, {dtype}")


def overflows(session: Session, leaves: list, bars: list) -> bool:
    """Whether the value is not finite in this dtype where in double precision it is: f16 ends at 65504."""
    outs, _ = session.pull(leaves, bars)
    exact, _ = session.reference_pull(widened(leaves), [as_wide(b) for b in bars])
    return any((~np.isfinite(as_wide(a)) & np.isfinite(as_wide(b))).any() for a, b in zip(outs, exact, strict=True))


def finite_differences(session: Session) -> None:
    """F: along one random direction for each argument, against finite differences of the function itself."""
    paths, places = session.subject.moving_paths(), session.subject.places
    session.compared |= {k for k, place in enumerate(places) if session.subject.leaves[place].size}
    for path, place, slope in zip(paths, places, session.slopes(), strict=True):
        found = slope.difference
        if not found.conclusive:
            session.not_conclusive.add(path)
            session.notes.append(f"F: inconclusive for {path}: {'a kink' if found.kink else 'two step sizes disagree'}")
            continue
        if slope.agrees:
            continue
        text = (
            f"along a random direction the rule's slope is {number(slope.rule)}, "
            f"finite differences give {number(found.value)}"
        )
        if session.is_reference_given and not session.settled and session.reference_stops_gradients():
            session.notes.append(f"F: {path}: {text}; the reference has a stop_gradient, and agrees with the rule")
            continue
        size, multiple = session.subject.leaves[place].size, slope.error / (slope.allowed or TINY)
        session.failures.append(Failure("F", path, "", text, None, slope.rule, None, found.value, multiple, size, size))
