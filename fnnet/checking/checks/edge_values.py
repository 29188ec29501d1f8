"""E: values at which gradients go wrong: signed zeros, ties, constant rows, tiny and large scales, masked rows.

Wherever the reference's value and gradient are finite, the rule's must be finite and agree. At a kink it may be any
value in the subdifferential; the report says which.
"""

from collections.abc import Iterator

import numpy as np

from fnnet.checking.cotangent import Trial
from fnnet.checking.errors import RaisedError
from fnnet.checking.judgement import judge
from fnnet.checking.kinds import Blame
from fnnet.checking.leaves import all_wide, are_finite, as_wide, cast, is_wide, replaced, rms, widened
from fnnet.checking.session import Session
from fnnet.core.primitives import is_inexact


def check(session: Session) -> None:
    """One argument at a time at each edge value, in the example's dtype and in f64."""
    session.need_reference(compiled=True)
    settings = [session.example]
    if not is_wide(session.example):
        settings += [session.working] if session.can.takes_doubles else []
    elif all(np.isrealobj(leaf) for leaf in session.example):
        settings.append(cast(session.example, "float32"))
    skipped: dict[str, None] = {}
    for leaves in settings:
        dtype = str(leaves[session.subject.with_gradient[0]].dtype)
        for i, edge, values in _replacements(session, leaves):
            what = f"{session.subject.paths[i]} {edge}"
            at = replaced(leaves, [i], [values.astype(leaves[i].dtype)])
            if not _was_judged(session, at, f"{what}, {dtype}"):
                skipped[what] = None
    if skipped:
        text = f"left out, since the function is not finite there, or refuses: {', '.join(skipped)}"
        session.findings.note("E", text)


def _replacements(session: Session, leaves: list) -> Iterator[tuple[int, str, np.ndarray]]:
    """Leaves at edge values: of its own, equal to another argument, and integers within their range."""
    paths = session.subject.paths
    for i, leaf in enumerate(leaves):
        if is_inexact(leaf):
            yield from ((i, edge, values) for edge, values in edge_values(as_wide(leaf)))
            same = [j for j in range(i) if is_inexact(leaves[j]) and leaves[j].shape == leaf.shape and leaf.size]
            yield from ((i, f"equal to {paths[j]}", as_wide(leaves[j])) for j in same)
        elif isinstance(leaf, np.ndarray) and leaf.size:
            yield from ((i, edge, values) for edge, values in _integer_edges(leaf))


def _integer_edges(leaf: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if leaf.dtype == bool:
        yield "all False", np.zeros_like(leaf)
        yield "all True", np.ones_like(leaf)
        if leaf.ndim > 1:
            row = leaf.copy()
            row[0] = False
            yield "with a row of False", row
    elif leaf.size > 1:
        yield "all equal", np.full_like(leaf, leaf.flat[0])
        yield "in pairs", np.repeat(leaf.ravel(), 2)[: leaf.size].reshape(leaf.shape)
        yield "all the largest", np.full_like(leaf, leaf.max())


def _was_judged(session: Session, leaves: list, where: str) -> bool:
    """Whether the function is finite there; then the rule is judged."""
    output_bars = session.output_bars(leaves, "edges")
    try:
        value = session.value(leaves)
        exact, _ = session.reference_program(widened(leaves), all_wide(output_bars))
    except RaisedError:  # it refuses such values when it runs, as a solver refuses a singular matrix
        return False
    if not are_finite(exact):
        if session.is_reference_given and are_finite(value):
            text = "the reference's value is not finite there, the rule's is"
            session.findings.fail("E", text, circumstance=where, blame=Blame.REFERENCE)
        return False
    try:
        if session.value_overflows(leaves, output_bars):
            return False
    except RaisedError:  # the judgement says what
        pass
    judge(session, Trial("E", leaves, output_bars, where))
    return True


def edge_values(leaf: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Edge values in place of a leaf, each with its name."""
    if not leaf.size:
        return
    size = rms(leaf) or 1.0
    if np.iscomplexobj(leaf):
        yield "all zero", np.zeros_like(leaf)
        yield "times 0.001", leaf * 1e-3
        yield "times 100", leaf * 1e2
        return
    yield "all zero", np.zeros_like(leaf)
    yield "all negative zero", -np.zeros_like(leaf)
    yield "half zero", np.where(np.arange(leaf.size).reshape(leaf.shape) % 2 == 0, 0.0, leaf)
    yield "all equal", np.full_like(leaf, leaf.flat[0])
    yield "rounded, with ties", np.round(2 * leaf / size) * size / 2
    yield "small integers", np.round(3 * leaf / size)
    if leaf.ndim:
        yield "constant rows", np.broadcast_to(leaf[..., :1], leaf.shape).copy()
    if leaf.min() >= 0 and leaf.max() <= 1:
        yield "all 0 or 1", np.round(leaf)
    yield "times 0.001", leaf * 1e-3
    yield "times 10", leaf * 10
    yield "times 100", leaf * 1e2
    yield "times 1000", leaf * 1e3
    if leaf.ndim and leaf.shape[-1] > 1:
        masked = leaf.copy()
        masked[..., 1::2] = -np.inf
        yield "masked with -inf", masked
    if leaf.ndim > 1 and leaf.shape[0] > 1:
        row = leaf.copy()
        row[0] = -np.inf
        yield "with a row of -inf", row
