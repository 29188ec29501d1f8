"""P: the forward rule, the undifferentiated function, the reference and the compiled function give the same value."""

from fnnet.checking.compilation.usual_options import compare_compiled
from fnnet.checking.programs import as_wide, is_wide
from fnnet.checking.report import Failure
from fnnet.checking.session import Session
from fnnet.checking.tolerance import ULPS_ALLOWED, precision, wrong_entries


def check(session: Session) -> None:
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
