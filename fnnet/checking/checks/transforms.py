"""T: the transformations of JAX: jit, scan, remat, jacrev, a mesh of two devices; forward mode, where it is offered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking.checks.determinism import eager_pullback
from fnnet.checking.errors import RaisedError
from fnnet.checking.leaves import as_wide, jittered
from fnnet.checking.programs import mode, of_gradient_leaves, pull_of, vjp
from fnnet.checking.session import Session
from fnnet.checking.subject import inexact_leaves
from fnnet.checking.tolerance import compared
from fnnet.core.jax_messages import is_forward_mode_refused

COTANGENTS = 3


@dataclass(frozen=True, eq=False)
class Plain:
    """What plain calls of the rule give: cotangents for each of several output cotangents.

    Args:
        leaves: The arguments.
        output_bars: The output cotangents.
        bars: The cotangents.
        allowed: How far each may be off.
    """

    leaves: list
    output_bars: list[list]
    bars: list[list]
    allowed: list[float]


def check(session: Session) -> None:
    """Each against plain calls of the rule."""
    leaves = session.working
    output_bars = [session.output_bars(leaves, "transforms", n) for n in range(COTANGENTS)]
    bars = [session.pull(leaves, g)[1] for g in output_bars]
    plain = Plain(leaves, output_bars, bars, session.own_expected(leaves, output_bars[0]).bar_allowed)
    if not _jit(session, plain):
        return
    if all(isinstance(leaf, np.ndarray) for leaf in leaves):
        _scan(session, plain)
    _compare(session, plain, "jax.checkpoint", _checkpointed(session), (leaves, output_bars[0]), bars[0])
    _compare(session, plain, "jacrev", _rows(session), (leaves, _stacked(output_bars)), _stacked(bars))
    _mesh(session, plain)
    _forward_mode(session, leaves)


def _stacked(lists: list[list]) -> list[np.ndarray]:
    return [np.stack(arrays) for arrays in zip(*lists, strict=True)]


def _jit(session: Session, plain: Plain) -> bool:
    wide = session.can.takes_doubles
    program = session.programs.pull[wide]
    if program.untraceable:
        if session.programs.value[wide].untraceable:
            session.findings.note("T", "the function itself cannot be traced by jit")
        else:
            text = f"works outside jit, and under jit raises {program.untraceable}"
            session.findings.fail("T", text, circumstance="jit")
        return False
    with mode(wide):
        try:
            eager = eager_pullback(session, plain.leaves, plain.output_bars[0])()
        except Exception:  # check X says what
            return True
    _report(session, plain, "jit", plain.bars[0], eager)
    return True


def _scan(session: Session, plain: Plain) -> None:
    """Reverse mode through a scan of two steps whose body calls the rule."""
    subject = session.subject
    near = jittered(plain.leaves, session.options.rng("scan"))
    other = session.pull(near, plain.output_bars[1])[1]

    def run(steps: list, output_bars: list) -> list:
        def all_steps(*args: Any) -> Any:
            def body(carry: None, now: tuple) -> tuple:
                return carry, inexact_leaves(subject.function(*now))

            return jax.lax.scan(body, None, args)[1]

        _, pulled = vjp(subject, all_steps, steps)
        return list(pulled(output_bars))

    args = _stacked([plain.leaves, near]), _stacked(plain.output_bars[:2])
    _compare(session, plain, "scan", run, args, _stacked([plain.bars[0], other]))


def _checkpointed(session: Session) -> Callable:
    pull = pull_of(session.subject, jax.checkpoint(session.subject.function))
    return lambda leaves, output_bars: pull(leaves, output_bars)[1]


def _rows(session: Session) -> Callable:
    """Rows of a Jacobian: the pullback mapped over cotangents, as jacrev does."""

    def run(leaves: list, output_bars: list) -> list:
        _, pulled = vjp(session.subject, session.subject.function, leaves)
        return list(jax.vmap(pulled)(output_bars))

    return run


def _compare(session: Session, plain: Plain, what: str, function: Callable, args: tuple, expected: list) -> None:
    try:
        ours = session.programs.once(what, function, session.can.takes_doubles)(*args)
    except RaisedError as problem:
        session.findings.fail("T", f"raises {problem}", circumstance=what)
        return
    _report(session, plain, what, ours, expected)


def _report(session: Session, plain: Plain, what: str, ours: list, expected: list) -> None:
    for path, a, b, allowed in zip(session.subject.gradient_paths, ours, expected, plain.allowed, strict=True):
        entries = compared(as_wide(a), as_wide(b), allowed)
        if entries.are_wrong:
            text = "is not what plain calls of the rule give"
            session.findings.fail("T", text, argument=path, circumstance=what, entries=entries)


def _mesh(session: Session, plain: Plain) -> None:
    """Arrays with an even leading axis are split over two devices."""
    devices = jax.devices()
    if len(devices) < 2:
        session.findings.partly_not_run["T"] = f"a mesh of two devices: there is {len(devices)}"
        return
    mesh = jax.sharding.Mesh(np.array(devices[:2]), ("examples",))

    def split(a: Any) -> Any:
        axes = ("examples",) if np.ndim(a) and a.shape[0] and a.shape[0] % 2 == 0 else ()
        return jax.device_put(a, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)))

    with mode(session.can.takes_doubles):
        args = [split(a) for a in plain.leaves], [split(b) for b in plain.output_bars[0]]
    pull = pull_of(session.subject, session.subject.function)
    what = "a mesh of two devices"
    _compare(session, plain, what, lambda leaves, bars: pull(leaves, bars)[1], args, plain.bars[0])


def _forward_mode(session: Session, leaves: list) -> None:
    subject = session.subject

    def forward(leaves: list) -> Any:
        given = tuple(subject.select(leaves))
        function = of_gradient_leaves(subject, subject.function, leaves)
        return jax.jvp(function, given, tuple(jnp.ones_like(a) for a in given))[1]

    try:
        session.programs.once("forward mode", forward, session.can.takes_doubles)(leaves)
    except RaisedError as problem:
        is_refused = is_forward_mode_refused(problem.problem)
        text = "forward mode is refused by custom_vjp" if is_refused else f"forward mode raises {problem}"
        session.findings.note("T", text)
