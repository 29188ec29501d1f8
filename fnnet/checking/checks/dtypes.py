"""D: the other dtypes, each with its own tolerance."""

from fnnet.checking.checks.structure import mismatches
from fnnet.checking.cotangent import Trial
from fnnet.checking.errors import NotRun, RaisedError
from fnnet.checking.judgement import judge
from fnnet.checking.leaves import as_wide, cast, gaussians, is_wide, replaced
from fnnet.checking.session import Session
from fnnet.checking.tolerance import precision
from fnnet.core.primitives import is_inexact

SIXTEEN_BITS = 1e-4  # the unit roundoff of bf16 and f16 is larger


def check(session: Session) -> None:
    """In each other dtype the structure first, then every entry for one cotangent."""
    session.need_reference(compiled=True)
    own = {str(leaf.dtype) for leaf in session.example if is_inexact(leaf)}
    has_complex = any(leaf.dtype.kind == "c" for leaf in session.example)
    tried = []
    for dtype in session.options.dtypes:
        if own == {dtype} or (has_complex and dtype not in ("float32", "float64")):
            continue
        leaves = cast(session.example, dtype)
        try:
            theirs = session.programs.reference_in[is_wide(leaves)].shape(leaves)
        except RaisedError as problem:
            session.findings.note("D", f"{dtype} left out: {session.subject.origin} raises {problem}")
            continue
        tried.append(dtype)
        try:
            _one_dtype(session, leaves, dtype, [value.dtype for value in theirs])
        except RaisedError as problem:  # to refuse a dtype with an error is no wrong gradient
            session.findings.note("D", f"refused in {dtype}: {problem}")
    if not tried:
        raise NotRun("no other dtype that the reference takes")


def _one_dtype(session: Session, leaves: list, dtype: str, reference_dtypes: list) -> None:
    outs, findings = session.programs.out_shapes(leaves), session.findings
    bars = gaussians(outs, session.options.rng("dtype", dtype))
    found = mismatches(session, leaves, bars)
    refused = next((one.text for one in found if one.is_raised), "")
    if refused:
        findings.note("D", f"refused in {dtype}: {refused}")
        return
    for path, text, _ in found:
        findings.fail("D", text, argument=path, circumstance=dtype)
    others = [f"{o.dtype}" for o, wanted in zip(outs, reference_dtypes, strict=True) if o.dtype != wanted]
    if others:
        text = f"in {dtype} the rule's output is {', '.join(others)}, the reference's is {reference_dtypes[0]}"
        findings.note("D", text)
    if not found and not (session.can.is_single and is_wide(leaves)):
        _values(session, leaves, bars, dtype)


def _values(session: Session, leaves: list, bars: list, dtype: str) -> None:
    """The example in this dtype; in sixteen bits also with each argument a hundred times larger."""
    if not session.value_overflows(leaves, bars):
        judge(session, Trial("D", leaves, bars, dtype))
    for i in session.subject.with_gradient if precision(leaves) > SIXTEEN_BITS else ():
        larger = replaced(leaves, [i], cast([as_wide(leaves[i]) * 100], dtype))
        if not session.value_overflows(larger, bars):
            judge(session, Trial("D", larger, bars, f"{session.subject.paths[i]} times 100, {dtype}"))
