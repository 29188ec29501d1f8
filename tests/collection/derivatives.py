"""Derivatives of a case and of its reference, by `jax.vjp`, and how far apart they are."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, as_custom_vjp
from fnnet.core.registration import Rule


def function(case: Case) -> Callable:
    """The case as one differentiable function of its arguments."""
    if not isinstance(case.f, tuple):
        return functools.partial(case.f, **case.static)
    forward, backward = (functools.partial(part, **case.static) for part in case.f)
    return as_custom_vjp(lambda *args: forward(*args)[0], forward, backward)


def reference(case: Case) -> Callable:
    """The case's reference as a function of its arguments."""
    return functools.partial(undecorated(case), **case.static)


def undecorated(case: Case) -> Callable:
    """The case's reference; by default the primal, undecorated."""
    if case.reference is not None:
        return case.reference
    if isinstance(case.f, jax.custom_vjp):
        return case.f.fun
    forward, _ = parts(case) or (None, None)
    assert forward, f"{case} needs a reference"
    return lambda *args, **static: forward(*args, **static)[0]


def is_moving(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def cast(args: Any, dtype: str) -> Any:
    """Floating leaves in another dtype, complex ones in the complex dtype of that precision."""

    def one(leaf):
        if not is_moving(leaf):
            return leaf
        is_complex = jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating)
        return np.asarray(leaf).astype(
            {"float32": "complex64", "float64": "complex128"}[dtype] if is_complex else jnp.dtype(dtype)
        )

    return jax.tree.map(one, args)


def in_dtype(args: Any, dtype: str) -> Any:
    """Cast, unless they are of that narrow dtype already, or of several."""
    return args if dtype in narrow(args) else cast(args, dtype)


def narrow(args: Any) -> set[str]:
    return {str(leaf.dtype) for leaf in jax.tree.leaves(args)} & {"bfloat16", "float16"}


def split(args: Any) -> tuple[list, Callable]:
    """The leaves that have a gradient, and how to put them back."""
    leaves, tree = jax.tree.flatten(args)
    places = [i for i, leaf in enumerate(leaves) if is_moving(leaf)]

    def merge(moving: list) -> Any:
        merged = list(leaves)
        for i, leaf in zip(places, moving, strict=True):
            merged[i] = leaf
        return jax.tree.unflatten(tree, merged)

    return [leaves[i] for i in places], merge


def floats(output: Any) -> list:
    return [leaf for leaf in jax.tree.leaves(output) if is_moving(leaf)]


def of_moving(f: Callable, args: Any) -> tuple[Callable, list]:
    """f as a function of its floating leaves to its floating outputs, and those leaves."""
    moving, merge = split(args)
    return (lambda *leaves: floats(f(*merge(list(leaves))))), moving


def random_like(leaves: list, stream: int = 0) -> list:
    """Gaussian cotangents: ones would hide whatever sums over the output."""
    rng = np.random.default_rng([7, stream])

    def one(leaf):
        value = rng.normal(size=leaf.shape)
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            value = value + 1j * rng.normal(size=leaf.shape)
        return value.astype(leaf.dtype)

    return [one(leaf) for leaf in leaves]


def cotangents(f: Callable, args: Any, bars: list) -> list:
    g, moving = of_moving(f, args)
    return list(jax.vjp(g, *moving)[1](bars))


def error(ours: list, theirs: list, floor: float = 0.0) -> float:
    """The worst entry's error, relative to |theirs| + rms of theirs + floor; infinite if only one is finite."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        kind = np.complex128 if np.iscomplexobj(b) else np.float64
        a, b = np.asarray(a).astype(kind), np.asarray(b).astype(kind)
        if a.shape != b.shape:
            return np.inf
        if not b.size:
            continue
        both = np.isfinite(a) & np.isfinite(b)
        if not (both | (np.isnan(a) & np.isnan(b)) | (a == b)).all():
            return np.inf
        a, b = np.where(both, a, 0), np.where(both, b, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.abs(a - b) / (np.abs(b) + np.sqrt(np.mean(np.abs(b) ** 2)) + floor)
        worst = max(worst, float(np.nan_to_num(relative, nan=0.0, posinf=np.inf).max()))
    return worst


def parts(case: Case) -> tuple[Callable, Callable] | None:
    """The raw forward and backward; None where they are not to be had, or are not called as those of a rule are."""
    if isinstance(case.f, tuple):
        return case.f
    if isinstance(case.f, Rule):
        return case.f.forward, case.f.backward
    if isinstance(case.f, jax.custom_vjp) and not case.static and not case.f.symbolic_zeros:
        fwd, bwd = case.f.fwd, case.f.bwd
        assert fwd, case
        assert bwd, case
        return fwd, bwd
    return None


def raw(case: Case) -> tuple[Callable, Callable] | None:
    """The raw forward and backward, without their static arguments."""
    both = parts(case)
    return both and (functools.partial(both[0], **case.static), functools.partial(both[1], **case.static))


def dtype_of(case: Case) -> str:
    """The dtype to prove a right case in: f64, unless its arguments are of a narrow dtype on purpose."""
    return min(narrow(case.args()), default="float64")
