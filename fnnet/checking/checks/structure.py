"""S: the tree, the shapes and the exact dtypes of what the raw backward returns; nothing is computed."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking.programs import Program, RaisedError, is_wide, pull_of
from fnnet.checking.report import Failure
from fnnet.checking.session import Session
from fnnet.checking.subject import Subject, is_moving

RAISES = "under differentiation raises "


def check(session: Session, leaves: Sequence[Any] | None = None, check: str = "S", circumstance: str = "") -> bool:
    """Call forward and backward under eval_shape, and compare each cotangent with its argument. True if right."""
    leaves = session.example if leaves is None else list(leaves)
    found = faults(session.subject, leaves, [np.zeros(o.shape, o.dtype) for o in session.out_shapes(leaves)])
    session.failures += [Failure(check, path, circumstance, text) for path, text in found]
    return not found


def faults(subject: Subject, leaves: list, output_bars: list) -> list[tuple[str, str]]:
    """(path, what is wrong) for each fault."""
    seen = _directly(subject, leaves, output_bars) or _through_jax(subject, leaves, output_bars)
    return list(dict.fromkeys(seen))


def _directly(subject: Subject, leaves: list, output_bars: list) -> list[tuple[str, str]]:
    """What the raw forward and backward return, where the subject has them."""
    seen: list[tuple[str, str]] = []
    forward, backward = subject.forward, subject.backward
    if forward is None or backward is None:
        return seen

    def trace(leaves: list, output_bars: list) -> list:
        args = subject.merge(leaves)
        result = forward(*args)
        if not (isinstance(result, tuple | list) and len(result) == 2):
            seen.append(("", f"its forward must return the pair (output, residuals), not {type(result).__name__}"))
            return []
        output, residuals = result
        output_bar = _with_integers(output, output_bars)
        seen.extend(_cotangents(subject, args, backward(residuals, output_bar)))
        return []

    try:
        Program(trace, is_wide(leaves)).shape(leaves, output_bars)
    except RaisedError as problem:
        seen.append(("", f"{RAISES}{problem}"))
    return seen


def _through_jax(subject: Subject, leaves: list, output_bars: list) -> list[tuple[str, str]]:
    try:
        _, bars = Program(pull_of(subject, subject.function), is_wide(leaves)).shape(leaves, output_bars)
    except RaisedError as problem:
        return [("", f"{RAISES}{problem}")]
    return [
        fault
        for place, bar in zip(subject.places, bars, strict=True)
        for fault in _leaf(subject.paths[place], leaves[place], bar)
    ]


def _with_integers(output: Any, bars: list) -> Any:
    """The cotangent of an output: the given ones for floats, float0 zeros for integers."""
    rest = list(bars)

    def one(leaf: Any) -> Any:
        return rest.pop(0) if is_moving(leaf) else np.zeros(jnp.shape(leaf), jax.dtypes.float0)

    return jax.tree.map(one, output)


def _cotangents(subject: Subject, args: tuple, cotangents: Any) -> list[tuple[str, str]]:
    names = subject.names
    if not isinstance(cotangents, tuple | list) or len(cotangents) != len(args):
        got = (
            f"{len(cotangents)} cotangents"
            if isinstance(cotangents, tuple | list)
            else f"one {type(cotangents).__name__}"
        )
        return [("", f"backward returns {got}; it must return a tuple of {len(args)}, for {', '.join(names)}")]
    found = []
    for name, arg, cotangent in zip(names, args, cotangents, strict=True):
        pairs, tree = jax.tree.flatten_with_path(arg)
        if cotangent is None or not pairs:
            continue  # JAX takes None for zero; whether it is zero, R says
        try:
            bars = tree.flatten_up_to(cotangent)  # type: ignore[attr-defined]
        except (ValueError, TypeError):
            found.append((name, f"has the structure {jax.tree.structure(cotangent)}; its argument has {tree}"))
            continue
        for (path, leaf), bar in zip(pairs, bars, strict=True):
            found += _leaf(name + jax.tree_util.keystr(path), leaf, bar)
    return found


def _leaf(path: str, leaf: Any, bar: Any) -> list[tuple[str, str]]:
    if bar is None:
        return []
    if not hasattr(bar, "dtype") and not isinstance(bar, int | float | complex):
        return [(path, f"is a {type(bar).__name__}, not an array")]
    dtype = bar.dtype if hasattr(bar, "dtype") else jnp.result_type(bar)
    if jnp.shape(bar) != jnp.shape(leaf):
        return [(path, f"has shape {jnp.shape(bar)}; {path} has {jnp.shape(leaf)}")]
    if not is_moving(leaf):
        is_right = dtype == jax.dtypes.float0
        return [] if is_right else [(path, f"is {dtype} for an integer; it must be None, or of dtype float0")]
    if dtype != leaf.dtype:
        return [(path, f"has dtype {dtype}; {path} has {leaf.dtype}")]
    return []
