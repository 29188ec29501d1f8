"""X: the same call gives the same bits, and a pullback does not depend on what was called since.

It runs eagerly, one operation at a time, as at a prompt: what a rule keeps between its calls shows only there.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from fnnet.checking.entries import index_of
from fnnet.checking.leaves import Leaves, as_wide, jittered
from fnnet.checking.programs import TRACING, mode, vjp
from fnnet.checking.report import number
from fnnet.checking.session import Session
from fnnet.core.one_line import in_one_line


def check(session: Session) -> None:
    """Two pullbacks of one forward, and one after a forward with other arguments."""
    with mode(session.can.takes_doubles):  # as check T does: the same operations need not be compiled in another dtype
        _check(session)


def _check(session: Session) -> None:
    leaves, findings = session.working, session.findings
    near = jittered(leaves, session.options.rng("between"))
    output_bars = session.output_bars(leaves, "repetition")

    def forward(leaves: Leaves) -> Callable[[], list]:
        return eager_pullback(session, leaves, output_bars)

    failed = len(findings.failures)
    try:
        first = forward(leaves)
        once = first()
    except Exception as problem:
        if isinstance(problem, TRACING) or not findings.failures:
            findings.fail("X", f"raises when called eagerly, outside jit: {in_one_line(problem)}")
        return
    _same(session, "the same pullback, called a second time", once, first)
    if len(findings.failures) == failed:
        _same(session, "a second forward and backward at the same arguments", once, lambda: forward(leaves)())
    if len(findings.failures) > failed:
        return

    def after_another() -> list:
        held = forward(leaves)
        forward(near)()
        return held()

    what = "a pullback, after a forward and backward at other arguments: a residual is stale"
    _same(session, what, once, after_another)
    if len(findings.failures) == failed:
        what = "a call after a call at other arguments: something is kept between calls"
        _same(session, what, once, lambda: forward(leaves)())


def eager_pullback(session: Session, leaves: Leaves, output_bars: Leaves) -> Callable[[], list[np.ndarray]]:
    """A forward without jit; the function that pulls these cotangents back."""
    outs, pulled = vjp(session.subject, session.subject.function, [jnp.asarray(leaf) for leaf in leaves])
    bars = [jnp.asarray(b).astype(o.dtype) for b, o in zip(output_bars, outs, strict=True)]
    return lambda: [np.asarray(bar) for bar in pulled(bars)]


def _same(session: Session, what: str, once: list, again: Callable[[], list]) -> None:
    try:
        bars = again()
    except Exception as problem:
        session.findings.fail("X", f"{what}, raises {in_one_line(problem)}")
        return
    for path, a, b in zip(session.subject.gradient_paths, once, bars, strict=True):
        differs = ~((a == b) | ((a != a) & (b != b)))
        if differs.any():
            entry = index_of(np.flatnonzero(differs)[0], differs.shape)
            value, before = as_wide(b)[entry], as_wide(a)[entry]
            session.findings.fail(
                "X",
                f"{what}, gives other bits: {number(value)}, before {number(before)}",
                argument=path,
                entry=entry,
                rule=value.item(),
                wrong=int(differs.sum()),
                size=differs.size,
            )
