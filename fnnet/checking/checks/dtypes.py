"""D: the other dtypes, each with its own tolerance."""

import numpy as np

from fnnet.checking.checks.structure import RAISES, faults
from fnnet.checking.judgement import judge
from fnnet.checking.programs import RaisedError, as_wide, cast, is_wide, widened
from fnnet.checking.report import Failure
from fnnet.checking.session import NotRun, Session, gaussians
from fnnet.checking.subject import is_moving
from fnnet.checking.tolerance import precision


def check(session: Session) -> None:
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
            session.notes.append(f"D: {dtype} left out: {session.subject.origin} raises {problem}")
            continue
        tried.append(dtype)
        try:
            outs = session.programs.value[wide].shape(leaves)
        except RaisedError as problem:
            session.notes.append(f"D: refused in {dtype}: {problem}")
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
                session.notes.append(f"D: refused in {dtype}: {problem}")
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
