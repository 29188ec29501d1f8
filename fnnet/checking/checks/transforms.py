"""T: the transformations of JAX: jit, scan, remat, jacrev, a mesh of two devices; forward mode, where it is offered."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking.checks.determinism import eager_bars
from fnnet.checking.programs import RaisedError, as_wide, mode, pull_of, vjp
from fnnet.checking.report import Failure
from fnnet.checking.session import Session, jittered
from fnnet.checking.subject import moving_leaves
from fnnet.checking.tolerance import wrong_entries
from fnnet.core.jax_messages import is_forward_mode_refused

COTANGENTS = 3


def check(session: Session) -> None:
    """Each against plain calls of the rule."""
    leaves = session.working
    output_bars = [session.output_bars(leaves, "transforms", n) for n in range(COTANGENTS)]
    plain = [session.pull(leaves, g)[1] for g in output_bars]
    allowed = session.own_expected(leaves, output_bars[0]).bar_allowed
    if not _jit(session, leaves, output_bars[0], plain[0], allowed):
        return
    near = jittered(leaves, session.rng("scan"))
    other = session.pull(near, output_bars[1])[1]
    steps = [np.stack(pair) for pair in zip(leaves, near, strict=True)] if _stackable(leaves) else None
    pairs = [np.stack(pair) for pair in zip(output_bars[0], output_bars[1], strict=True)]
    if steps is not None:
        expected = [np.stack(pair) for pair in zip(plain[0], other, strict=True)]
        _compare(session, "scan", _scanned(session), (steps, pairs), expected, allowed)
    _compare(session, "jax.checkpoint", _checkpointed(session), (leaves, output_bars[0]), plain[0], allowed)
    every = [np.stack(bars) for bars in zip(*output_bars, strict=True)]
    expected = [np.stack(bars) for bars in zip(*plain, strict=True)]
    _compare(session, "jacrev", _rows(session), (leaves, every), expected, allowed)
    _mesh(session, leaves, output_bars[0], plain[0], allowed)
    _forward_mode(session, leaves)


def _jit(session: Session, leaves: list, output_bars: list, compiled: list, allowed: list[float]) -> bool:
    program = session.programs.pull[session.takes_doubles]
    if program.untraceable:
        text = f"works outside jit, and under jit raises {program.untraceable}"
        if session.programs.value[session.takes_doubles].untraceable:
            session.notes.append("T: the function itself cannot be traced by jit")
        else:
            session.failures.append(Failure("T", "", "jit", text))
        return False
    with mode(session.takes_doubles):
        try:
            eager = eager_bars(session, leaves, output_bars)
        except Exception:
            return True
    _report(session, "jit", compiled, eager, allowed)
    return True


def _stackable(leaves: list) -> bool:
    return all(isinstance(leaf, np.ndarray) for leaf in leaves)


def _scanned(session: Session) -> Callable:
    """Reverse mode through a scan whose body calls the rule."""
    subject = session.subject

    def run(steps: list, output_bars: list) -> list:
        def all_steps(*args: Any) -> Any:
            def body(carry: None, now: tuple) -> tuple:
                return carry, moving_leaves(subject.function(*now))

            return jax.lax.scan(body, None, args)[1]

        _, pulled = vjp(subject, all_steps, steps)
        return list(pulled(output_bars))

    return run


def _checkpointed(session: Session) -> Callable:
    pull = pull_of(session.subject, jax.checkpoint(session.subject.function))
    return lambda leaves, output_bars: pull(leaves, output_bars)[1]


def _rows(session: Session) -> Callable:
    """Rows of a Jacobian: the pullback mapped over cotangents, as jacrev does."""

    def run(leaves: list, output_bars: list) -> list:
        _, pulled = vjp(session.subject, session.subject.function, leaves)
        return list(jax.vmap(pulled)(output_bars))

    return run


def _compare(
    session: Session, what: str, function: Callable, args: tuple, expected: list, allowed: list[float]
) -> None:
    try:
        ours = session.programs.once(what, function, session.takes_doubles)(*args)
    except RaisedError as problem:
        session.failures.append(Failure("T", "", what, f"raises {problem}"))
        return
    _report(session, what, ours, expected, allowed)


def _report(session: Session, what: str, ours: list, expected: list, allowed: list[float]) -> None:
    for path, a, b, tolerance in zip(session.subject.moving_paths(), ours, expected, allowed, strict=True):
        a, b = as_wide(a), as_wide(b)
        wrong = wrong_entries(a, b, tolerance)
        if wrong.any():
            text = "is not what plain calls of the rule give"
            session.failures.append(Failure.entrywise("T", path, what, text, a, b, wrong, tolerance))


def _mesh(session: Session, leaves: list, output_bars: list, plain: list, allowed: list[float]) -> None:
    """What has an even leading axis is laid across two devices."""
    devices = jax.devices()
    if len(devices) < 2:
        session.partly_not_run["T"] = f"a mesh of two devices: there is {len(devices)}"
        return
    mesh = jax.sharding.Mesh(np.array(devices[:2]), ("examples",))

    def place(a: Any) -> Any:
        axes = ("examples",) if np.ndim(a) and a.shape[0] and a.shape[0] % 2 == 0 else ()
        return jax.device_put(a, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)))

    with mode(session.takes_doubles):
        spread = [place(a) for a in leaves], [place(b) for b in output_bars]
    pull = pull_of(session.subject, session.subject.function)
    _compare(session, "a mesh of two devices", lambda leaves, bars: pull(leaves, bars)[1], spread, plain, allowed)


def _forward_mode(session: Session, leaves: list) -> None:
    subject = session.subject

    def forward(leaves: list) -> Any:
        def of_moving(*moving: Any) -> list:
            merged = list(leaves)
            for i, leaf in zip(subject.places, moving, strict=True):
                merged[i] = leaf
            return moving_leaves(subject.function(*subject.merge(merged)))

        moving = tuple(leaves[i] for i in subject.places)
        return jax.jvp(of_moving, moving, tuple(jnp.ones_like(a) for a in moving))[1]

    try:
        session.programs.once("forward mode", forward, session.takes_doubles)(leaves)
    except RaisedError as problem:
        if is_forward_mode_refused(problem.problem):
            session.notes.append("T: forward mode is refused by custom_vjp")
        else:
            session.notes.append(f"T: forward mode raises {problem}")
