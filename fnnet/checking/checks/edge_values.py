"""E: values at which gradients go wrong: signed zeros, ties, constant rows, tiny and large scales, masked rows.

Wherever the reference's value and gradient are finite, the rule's has to be, and has to agree. At a kink it may be any
value in the subdifferential; which one, the report tells.
"""

from collections.abc import Iterator

import numpy as np

from fnnet.checking.checks.dtypes import overflows
from fnnet.checking.judgement import judge
from fnnet.checking.programs import RaisedError, as_wide, cast, is_wide, widened
from fnnet.checking.report import Failure
from fnnet.checking.session import Session, rms
from fnnet.checking.subject import is_moving


def check(session: Session) -> None:
    """One argument at a time at each edge value, in the example's dtype and in f64."""
    session.compiled_reference_pull  # noqa: B018 -- raises NotRun without one
    settings = [session.example]
    if not is_wide(session.example):
        settings += [session.working] if session.takes_doubles else []
    elif all(np.isrealobj(leaf) for leaf in session.example):
        settings.append(cast(session.example, "float32"))
    skipped: dict[str, None] = {}
    for leaves in settings:
        dtype = str(leaves[session.subject.places[0]].dtype)
        for place, edge, values in _replacements(session, leaves):
            at = list(leaves)
            at[place] = values.astype(leaves[place].dtype)
            _at_edge(session, at, f"{session.subject.paths[place]} {edge}, {dtype}", skipped)
    if skipped:
        session.notes.append(f"E: left out, since the function is not finite there, or refuses: {', '.join(skipped)}")


def _replacements(session: Session, leaves: list) -> Iterator[tuple[int, str, np.ndarray]]:
    """Leaves at edge values: of its own, equal to another argument, and integers within their range."""
    paths = session.subject.paths
    for place, leaf in enumerate(leaves):
        if is_moving(leaf):
            yield from ((place, edge, values) for edge, values in edge_values(as_wide(leaf)))
            equals = [i for i in range(place) if is_moving(leaves[i]) and leaves[i].shape == leaf.shape and leaf.size]
            yield from ((place, f"equal to {paths[i]}", as_wide(leaves[i])) for i in equals)
        elif isinstance(leaf, np.ndarray) and leaf.size:
            yield from ((place, edge, values) for edge, values in _integer_edges(leaf))


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


def _at_edge(session: Session, leaves: list, where: str, skipped: dict[str, None]) -> None:
    output_bars = session.output_bars(leaves, "edges")
    try:
        value = session.value(leaves)
        exact, _ = session.reference_pull(widened(leaves), [as_wide(b) for b in output_bars])
    except RaisedError:  # a loud refusal of such values, when it runs: a solver's of a singular matrix
        skipped[where.rsplit(",", 1)[0]] = None
        return
    try:
        finite = all(np.isfinite(as_wide(a)).all() for a in exact) and not overflows(session, leaves, output_bars)
    except RaisedError:
        finite = True
    if not finite:
        if session.is_reference_given and not all(np.isfinite(as_wide(a)).all() for a in exact):
            _reference_overflows(session, value, where)
        skipped[where.rsplit(",", 1)[0]] = None
        return
    judge(session, "E", leaves, output_bars, where)


def _reference_overflows(session: Session, value: list, where: str) -> None:
    if all(np.isfinite(as_wide(a)).all() for a in value):
        text = "the reference's value is not finite there, the rule's is"
        session.failures.append(Failure("E", "", where, text, blame="reference"))


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
