"""S: the tree, the shapes and the exact dtypes of what the raw backward returns; nothing is computed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking.errors import RaisedError
from fnnet.checking.leaves import Leaves, is_wide
from fnnet.checking.programs import Program
from fnnet.checking.session import Session
from fnnet.checking.subject import Subject
from fnnet.core.primitives import is_inexact
from fnnet.core.shape_differences import shape_difference


class Mismatch(NamedTuple):
    """What is wrong with a cotangent's structure, or with that of all.

    Attributes:
        path: Of the argument; "" for all.
        text: What is wrong.
        is_raised: Whether forward or backward raised an exception instead.
    """

    path: str
    text: str
    is_raised: bool = False


def check(session: Session) -> None:
    """Forward and backward under eval_shape; each cotangent is compared with its argument."""
    bars = [np.zeros(o.shape, o.dtype) for o in session.programs.out_shapes(session.example)]
    for path, text, _ in mismatches(session, session.example, bars):
        session.findings.fail("S", text, argument=path)


def mismatches(session: Session, leaves: list, output_bars: list) -> list[Mismatch]:
    """Each mismatch, once."""
    found = _directly(session.subject, leaves, output_bars) or _through_jax(session, leaves, output_bars)
    return list(dict.fromkeys(found))


def _directly(subject: Subject, leaves: list, output_bars: list) -> list[Mismatch]:
    """What the raw forward and backward return, if the subject has them."""
    found: list[Mismatch] = []
    forward, backward = subject.forward, subject.backward
    if forward is None or backward is None:
        return found

    def trace(leaves: list, output_bars: list) -> list:
        args = subject.merge(leaves)
        result = forward(*args)
        if not (isinstance(result, tuple | list) and len(result) == 2):
            text = f"its forward must return the pair (output, residuals), not {type(result).__name__}"
            found.append(Mismatch("", text))
            return []
        output, residuals = result
        output_bar = _with_integers(output, output_bars)
        found.extend(_cotangents(subject, args, backward(residuals, output_bar)))
        return []

    try:
        Program(trace, is_wide(leaves)).shape(leaves, output_bars)
    except RaisedError as problem:
        found.append(_raised(problem))
    return found


def _through_jax(session: Session, leaves: list, output_bars: list) -> list[Mismatch]:
    subject = session.subject
    try:
        _, bars = session.programs.pull[is_wide(leaves)].shape(leaves, output_bars)
    except RaisedError as problem:
        return [_raised(problem)]
    pairs = zip(subject.with_gradient, bars, strict=True)
    return [found for i, bar in pairs for found in _leaf(subject.paths[i], leaves[i], bar)]


def _raised(problem: RaisedError) -> Mismatch:
    return Mismatch("", f"under differentiation raises {problem}", is_raised=True)


def _with_integers(output: Any, bars: Leaves) -> Any:
    """The cotangent of an output: the given ones for floats, float0 zeros for integers."""
    rest = list(bars)

    def one(leaf: Any) -> Any:
        return rest.pop(0) if is_inexact(leaf) else np.zeros(jnp.shape(leaf), jax.dtypes.float0)

    return jax.tree.map(one, output)


def _cotangents(subject: Subject, args: tuple, cotangents: Any) -> list[Mismatch]:
    names = subject.names
    if not isinstance(cotangents, tuple | list) or len(cotangents) != len(args):
        is_several = isinstance(cotangents, tuple | list)
        got = f"{len(cotangents)} cotangents" if is_several else f"one {type(cotangents).__name__}"
        text = f"backward returns {got}; it must return a tuple of {len(args)}, for {', '.join(names)}"
        return [Mismatch("", text)]
    found = []
    for name, arg, cotangent in zip(names, args, cotangents, strict=True):
        pairs, tree = jax.tree.flatten_with_path(arg)
        if cotangent is None or not pairs:
            continue  # JAX takes None for zero; check R sees whether it is zero
        try:
            bars = tree.flatten_up_to(cotangent)  # type: ignore[attr-defined]
        except (ValueError, TypeError):
            text = f"has the structure {jax.tree.structure(cotangent)}; its argument has {tree}"
            found.append(Mismatch(name, text))
            continue
        for (path, leaf), bar in zip(pairs, bars, strict=True):
            found += _leaf(name + jax.tree_util.keystr(path), leaf, bar)
    return found


def _leaf(path: str, leaf: Any, bar: Any) -> list[Mismatch]:
    if bar is None:
        return []
    if not hasattr(bar, "dtype") and not isinstance(bar, int | float | complex):
        return [Mismatch(path, f"is a {type(bar).__name__}, not an array")]
    dtype = bar.dtype if hasattr(bar, "dtype") else jnp.result_type(bar)
    if jnp.shape(bar) != jnp.shape(leaf):
        why = shape_difference(jnp.shape(bar), jnp.shape(leaf))
        return [Mismatch(path, f"has shape {jnp.shape(bar)}; {path} has {jnp.shape(leaf)}{why}")]
    if not is_inexact(leaf):
        is_right = dtype == jax.dtypes.float0
        return [] if is_right else [Mismatch(path, f"is {dtype} for an integer; it must be None, or of dtype float0")]
    return [] if dtype == leaf.dtype else [Mismatch(path, f"has dtype {dtype}; {path} has {leaf.dtype}")]
