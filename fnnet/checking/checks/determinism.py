"""X: the same call gives the same bits, and a pullback does not depend on what was called since.

Run eagerly, one operation at a time, as a user at a prompt would: what a rule keeps between its calls shows only there.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking.programs import TRACING, as_wide, vjp
from fnnet.checking.report import Failure, number
from fnnet.checking.session import Session, jittered
from fnnet.core.one_line import in_one_line


def check(session: Session) -> None:
    """Two pullbacks of one forward, and one after a forward with other arguments."""
    leaves = session.example
    near = jittered(leaves, session.rng("between"))
    output_bars = [jnp.asarray(b) for b in session.output_bars(leaves, "repetition")]

    def forward(leaves: Sequence[Any]) -> Callable[[], list]:
        outs, pulled = vjp(session.subject, session.subject.function, [jnp.asarray(leaf) for leaf in leaves])
        return lambda: [
            np.asarray(b) for b in pulled([b.astype(o.dtype) for b, o in zip(output_bars, outs, strict=True)])
        ]

    failed = len(session.failures)
    try:
        first = forward(leaves)
        once = first()
    except Exception as problem:
        if isinstance(problem, TRACING) or not session.failures:
            session.failures.append(
                Failure("X", "", "", f"raises when called eagerly, outside jit: {in_one_line(problem)}")
            )
        return
    _same(session, "the same pullback, called a second time", once, first)
    if len(session.failures) == failed:
        _same(session, "a second forward and backward at the same arguments", once, lambda: forward(leaves)())
    if len(session.failures) > failed:
        return

    def after_another() -> list:
        held = forward(leaves)
        forward(near)()
        return held()

    _same(
        session, "a pullback, after a forward and backward at other arguments: a residual is stale", once, after_another
    )
    if len(session.failures) == failed:
        _same(
            session,
            "a call after a call at other arguments: something is kept between calls",
            once,
            lambda: forward(leaves)(),
        )


def _same(session: Session, what: str, once: list, again: Callable[[], list]) -> None:
    try:
        bars = again()
    except Exception as problem:
        session.failures.append(Failure("X", "", "", f"{what}, raises {in_one_line(problem)}"))
        return
    for path, a, b in zip(session.subject.moving_paths(), once, bars, strict=True):
        same = (a == b) | ((a != a) & (b != b))
        if not same.all():
            entry = tuple(int(i) for i in np.argwhere(~same)[0])
            text = f"{what}, gives other bits: {number(as_wide(b)[entry])}, before {number(as_wide(a)[entry])}"
            value, count = as_wide(b)[entry].item(), (int((~same).sum()), same.size)
            session.failures.append(Failure("X", path, "", text, entry, value, None, None, None, *count))


def eager_bars(session: Session, leaves: Sequence[Any], output_bars: Sequence[Any]) -> list[np.ndarray]:
    """The cotangents without jit."""
    outs, pulled = vjp(session.subject, session.subject.function, [jnp.asarray(leaf) for leaf in leaves])
    return [
        np.asarray(b)
        for b in jax.tree.leaves(
            pulled([jnp.asarray(b).astype(o.dtype) for b, o in zip(output_bars, outs, strict=True)])
        )
    ]
