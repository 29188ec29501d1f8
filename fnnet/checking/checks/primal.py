"""P: the forward rule, the undifferentiated function, the reference and the compiled function give the same value."""

from fnnet.checking.compilation.usual_options import Compiled, compare_compiled
from fnnet.checking.kinds import Blame
from fnnet.checking.leaves import all_wide, is_wide
from fnnet.checking.session import Session
from fnnet.checking.tolerance import ULPS_ALLOWED, compared, precision


def check(session: Session) -> None:
    """At the example, in its dtype."""
    findings, leaves = session.findings, session.example
    bars = session.output_bars(leaves, 0)
    outs, values = all_wide(session.pull(leaves, bars)[0]), all_wide(session.value(leaves))
    if session.can.has_reference:
        expected = session.expected(leaves, bars)
        allowed, theirs = expected.out_allowed, expected.outs
    else:
        eps = precision([*leaves, *bars])
        allowed, theirs = [2 * ULPS_ALLOWED * eps * float(abs(v).max(initial=0.0)) for v in values], None
    text = "the forward rule's value differs from the undifferentiated function's"
    _compare(session, outs, values, allowed, text, Blame.RULE)
    if theirs is not None and not findings.failures:
        blame = Blame.REFERENCE if all(slope.agrees for slope in session.slopes) else Blame.RULE
        text = "the rule's value differs from the reference's: they are not the same function"
        _compare(session, values, theirs, allowed, text, blame)
    if not findings.failures:
        wide, names = is_wide(leaves), [_output(i, values) for i in range(len(values))]
        usual, safe = session.programs.usual_value[wide], session.programs.value[wide]
        compare_compiled(session, Compiled("P", usual, safe, (leaves,), names), lambda: allowed)


def _output(number: int, outs: list) -> str:
    return f"output {number}" if len(outs) > 1 else "the output"


def _compare(session: Session, ours: list, theirs: list, allowed: list[float], text: str, blame: Blame) -> None:
    for i, (a, b, tolerance) in enumerate(zip(ours, theirs, allowed, strict=True)):
        entries = compared(a, b, tolerance)
        if entries.are_wrong:
            session.findings.fail("P", text, argument=_output(i, ours), entries=entries, blame=blame)
