"""M: how many bytes the rule saves for its backward, beside what autodiff of the reference saves. Nothing fails."""

from collections.abc import Callable

import jax
import numpy as np

from fnnet.checking.errors import RaisedError
from fnnet.checking.leaves import is_wide
from fnnet.checking.programs import Program, vjp
from fnnet.checking.session import Session


def check(session: Session) -> None:
    """A note: bytes of the pullback's residuals, in the example's dtype."""
    subject, findings = session.subject, session.findings
    try:
        ours = _bytes(session, subject.function)
        theirs = _bytes(session, subject.reference) if session.can.has_reference and subject.reference else None
    except RaisedError as problem:
        findings.note("M", f"the residuals could not be counted: {problem}")
        return
    given = sum(leaf.nbytes for leaf in session.example if isinstance(leaf, np.ndarray))
    beside = "" if theirs is None else f"; autodiff of the reference saves {theirs:,}"
    findings.note("M", f"the rule saves {ours:,} bytes for its backward{beside}; the arguments have {given:,}")


def _bytes(session: Session, function: Callable) -> int:
    """Bytes of what the pullback holds."""

    def residuals(leaves: list) -> list:
        _, pulled = vjp(session.subject, function, leaves)
        return [leaf for leaf in jax.tree.leaves(pulled) if hasattr(leaf, "shape")]

    held = Program(residuals, is_wide(session.example)).shape(session.example)
    return sum(int(np.prod(a.shape)) * np.dtype(a.dtype).itemsize for a in held)
