"""What the two functions of a rule may take and return: docs/rules.md. Errors name the rule and the argument."""

import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core import primitives
from fnnet.core.shape_differences import shape_difference


def arrays(forward: Callable, signature: inspect.Signature) -> tuple[str, ...]:
    """The positional arguments of a forward; an error for arguments that a rule cannot have."""
    name, parameters = forward.__name__, signature.parameters.values()
    if {p.kind for p in parameters} & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        raise TypeError(f"rule: {name} must name its arguments, without * and **")
    if "out_sharding" in signature.parameters:
        raise ValueError(f"rule: {name} must not name an argument out_sharding: every rule has one")
    return tuple(p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY)


def static(rule: str, name: str, value: Any) -> Hashable:
    """A static value, with tuples for lists; TypeError for an array and for what is not hashable."""
    if isinstance(value, list):
        value = tuple(static(rule, name, v) for v in value)
    if isinstance(value, jax.Array | np.ndarray):
        raise TypeError(f"rule {rule}: the static argument {name} is an array; an array must be a positional argument")
    try:
        hash(value)
    except TypeError:
        raise TypeError(f"rule {rule}: the static argument {name} (={value!r}) must be hashable") from None
    return value


def pair(rule: str, result: Any) -> tuple[Any, Any]:
    """What a forward returned: TypeError if it is not the pair (output, residuals)."""
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(f"rule {rule}: forward must return the pair (output, residuals), not {type(result).__name__}")
    return result


def without_axes(rule: str, batched: Sequence[str], out_tree: Any, number: int, what: str) -> ValueError:
    """The error for an output that lacks the leading axes; `what` says how it is seen."""
    (path, _) = jax.tree.leaves_with_path(jax.tree.unflatten(out_tree, range(out_tree.num_leaves)))[number]
    return ValueError(
        f"rule {rule}: the output{jax.tree_util.keystr(path)} {what}; every output must carry the leading axes of "
        f"{', '.join(batched)} in front"
    )


def no_collectives(rule: str, part: str, found: set[str]) -> None:
    """ValueError if a part of the rule, forward or backward, runs these collective operations."""
    if found:
        raise ValueError(
            f"rule {rule}: its {part} runs {', '.join(sorted(found))}; a rule must not communicate between "
            "devices: do that outside, and its gradient follows"
        )


def cotangents(rule: str, arguments: Sequence[str], primals: Sequence, bars: Any) -> list:
    """What a backward returned as flat leaves, None for integers; `primals` are the types of the arguments.

    Raises:
        ValueError: A cotangent is missing, or has another structure or shape than its argument.
        TypeError: A cotangent is no array, or has another dtype than its argument.
    """
    if not isinstance(bars, tuple | list) or len(bars) != len(arguments):
        got = f"{len(bars)}" if isinstance(bars, tuple | list) else f"one {type(bars).__name__}"
        raise ValueError(
            f"rule {rule}: backward must return a tuple of {len(arguments)} cotangents, for {', '.join(arguments)}; it "
            f"returned {got}"
        )
    found: list = []
    for name, primal, bar in zip(arguments, primals, bars, strict=True):
        leaves, tree = jax.tree.flatten_with_path(primal, is_leaf=lambda leaf: leaf is None)
        try:
            leaf_bars = [None] * len(leaves) if bar is None else tree.flatten_up_to(bar)  # type: ignore[attr-defined]
        except (TypeError, ValueError):
            raise ValueError(
                f"rule {rule}: the cotangent of {name} has the structure {jax.tree.structure(bar)}; it must have "
                f"{name}'s structure {tree}"
            ) from None
        for (path, aval), leaf_bar in zip(leaves, leaf_bars, strict=True):
            if aval is not None:  # where the argument is None, its cotangent is not used
                found.append(_cotangent(rule, name + jax.tree_util.keystr(path), aval, leaf_bar))
    return found


def _cotangent(rule: str, argument: str, aval: Any, bar: Any) -> Any:
    if not primitives.is_inexact(aval):
        return None
    if bar is None:
        raise ValueError(
            f"rule {rule}: backward gave no cotangent for {argument}, {aval.str_short()}; None is for integers"
        )
    try:
        bar = jnp.asarray(bar)
    except (TypeError, ValueError):
        raise TypeError(
            f"rule {rule}: the cotangent of {argument} must be an array, not {type(bar).__name__}"
        ) from None
    for of, kind in (("shape", ValueError), ("dtype", TypeError)):
        ours, wanted = getattr(bar, of), getattr(aval, of)
        if ours != wanted:
            right = f"{argument}'s {of} {wanted}{shape_difference(ours, wanted) if of == 'shape' else ''}"
            raise kind(f"rule {rule}: the cotangent of {argument} has {of} {ours}; it must have {right}")
    return bar
