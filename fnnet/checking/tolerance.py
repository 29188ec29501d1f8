"""How large an error may be: measured on the reference, not guessed.

Inputs and cotangent are perturbed by half a unit in the last place of the tested dtype, four times. J is the largest
change of a cotangent leaf. A rule may differ by 16 J + 8 eps max|output_bar|, in double precision by 16 J + 128 eps
max|output_bar|: no error is so small, and a gradient that is zero but for rounding has J = 0. A badly conditioned point
has a large J, and no rule can be better than its inputs allow. The allowance also has eps max|x| times the leaf's
largest cotangent: an exponential of x loses that much, and J does not always show it.

At a kink or a tie an entry jumps, however small the perturbation, on at least one side. Such entries are recognised by
the jump and left out of J.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.checking.entries import Entries
from fnnet.checking.leaves import Leaves, all_wide, as_wide, largest, widened
from fnnet.core.primitives import is_inexact

PERTURBATIONS = 4
CHANGES_ALLOWED = 16
ULPS_ALLOWED, ULPS_ALLOWED_IN_DOUBLES = 8, 128
SMALL, SMALLER = 2.0**-30, 2.0**-36
NINE_DIGITS = 1e-9  # if finite differences confirm a value, it is right with this relative error
EIGHT_DIGITS = 1e-8  # the same beside autodiff of the function itself, which may compute an approximation


@dataclass(frozen=True)
class Expected:
    """What the reference gives at some arguments, in double precision, and how far a rule may be from it.

    Args:
        outs: The output's leaves.
        bars: The cotangents.
        out_allowed: An allowance for each output leaf.
        bar_allowed: An allowance for each cotangent leaf.
        jumps: For each cotangent leaf, which entries jump near these arguments.
        hopeless: For each cotangent leaf, whether half an ulp changes all of it: then no digit of it is known.
    """

    outs: list[np.ndarray]
    bars: list[np.ndarray]
    out_allowed: list[float]
    bar_allowed: list[float]
    jumps: list[np.ndarray]
    hopeless: list[bool]


def expected(
    pull: Callable, leaves: Leaves, output_bars: Leaves, rng: np.random.Generator, perturbations: int = PERTURBATIONS
) -> Expected:
    """The reference at these leaves and output cotangents, both given in the dtypes under test."""
    wide_leaves, wide_bars = widened(leaves), all_wide(output_bars)

    def run(leaves: Leaves, bars: Leaves) -> tuple[list, list]:
        outs, pulled = pull(leaves, bars)
        return all_wide(outs), all_wide(pulled)

    outs, bars = run(wide_leaves, wide_bars)
    seed = int(rng.integers(2**31))  # one direction, and the opposite one
    there, closer, back, closer_back = (
        run(nudge(wide_leaves, np.random.default_rng(seed), by), wide_bars)[1]
        for by in (SMALL, SMALLER, -SMALL, -SMALLER)
    )
    sides = (zip(bars, there, closer, strict=True), zip(bars, back, closer_back, strict=True))
    jumps = [a | b for a, b in zip(*([_jumps(*three) for three in side] for side in sides), strict=True)]
    perturbed = []
    for _ in range(perturbations):
        near = [half_ulp(a, rng) for a in leaves]
        perturbed.append(run(near, [half_ulp(b, rng) for b in output_bars]))
        # Along the perturbation itself: if it crosses a kink or breaks a tie, its change says nothing about rounding.
        nearer = [run(_towards(leaves, near, by), wide_bars)[1] for by in (SMALL, SMALLER)]
        jumps = [np.asarray(j | _jumps(*three)) for j, *three in zip(jumps, bars, *nearer, strict=True)]
    out_changes, bar_changes = [0.0] * len(outs), [0.0] * len(bars)
    for near_outs, near_bars in perturbed:
        out_changes = [max(c, largest(n - o)) for c, n, o in zip(out_changes, near_outs, outs, strict=True)]
        bar_changes = [
            max(c, largest((n - b)[~j])) for c, n, b, j in zip(bar_changes, near_bars, bars, jumps, strict=True)
        ]
    eps = precision([*leaves, *output_bars])
    bar_changes = [
        max(c, eps / 2 * largest(b)) for c, b in zip(bar_changes, bars, strict=True)
    ]  # its own rounding at least
    ulps = ULPS_ALLOWED if eps > np.finfo(np.float64).eps else ULPS_ALLOWED_IN_DOUBLES
    reach = max((largest(as_wide(a)) for a in leaves if is_inexact(a)), default=0.0)  # exp(x) loses eps |x| of itself
    size = max((largest(b) for b in wide_bars), default=0.0)
    return Expected(
        outs,
        bars,
        [CHANGES_ALLOWED * c + ULPS_ALLOWED * eps * largest(o) for c, o in zip(out_changes, outs, strict=True)],
        [
            CHANGES_ALLOWED * c + eps * (ulps * size + reach * largest(b))
            for c, b in zip(bar_changes, bars, strict=True)
        ],
        jumps,
        [CHANGES_ALLOWED * c > largest(b) and c > eps**0.5 * size for c, b in zip(bar_changes, bars, strict=True)],
    )


def compared(ours: Any, theirs: Any, allowed: float, dtype: Any = np.float64) -> Entries:
    """Two leaves of that dtype; an entry is wrong if it differs by more than `allowed` from a finite reference."""
    limits = jnp.finfo(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(ours - theirs) <= allowed + float(limits.smallest_normal)
        known = np.isfinite(theirs) & (np.abs(theirs) <= float(limits.max) / 2)
    return Entries(ours, theirs, np.asarray(known & ~near), allowed)


def precision(leaves: Leaves) -> float:
    """The unit roundoff of the least precise floating leaf."""
    return max(
        (float(jnp.finfo(a.dtype).eps) for a in leaves if is_inexact(a)), default=float(np.finfo(np.float64).eps)
    )


def half_ulp(leaf: Any, rng: np.random.Generator) -> Any:
    """The numbers of a leaf, each half an ulp up or down, as f64; f64 itself by a whole ulp, half of the time."""
    if not is_inexact(leaf):
        return leaf
    if np.iscomplexobj(leaf):
        return half_ulp(leaf.real.copy(), rng) + 1j * half_ulp(leaf.imag.copy(), rng)
    wide = np.asarray(leaf).astype(np.float64)
    up = rng.integers(0, 2, wide.shape) * 2.0 - 1
    if leaf.dtype == np.float64:
        moved = np.where(rng.integers(0, 2, wide.shape), np.nextafter(wide, up * np.inf), wide)
        return np.where(wide == 0, wide, moved)
    exponent = np.floor(np.log2(np.abs(np.where(wide == 0, 1, wide)), where=np.isfinite(wide), out=np.zeros_like(wide)))
    step = float(jnp.finfo(leaf.dtype).eps) / 2 * np.exp2(exponent)
    return np.where((wide == 0) | ~np.isfinite(wide), wide, wide + up * step)


def _towards(leaves: Leaves, near: Leaves, by: float) -> list:
    """The leaves with every number moved by about `by` of itself, in the direction of `near`."""

    def one(leaf: Any, moved: Any) -> Any:
        if not is_inexact(leaf):
            return leaf
        wide = as_wide(leaf)
        half = float(jnp.finfo(leaf.dtype).eps) / 2
        same = (moved == wide) | ~np.isfinite(wide)
        return np.where(same, wide, wide + np.where(same, 0, moved - wide) * (by / half))

    return [one(leaf, moved) for leaf, moved in zip(leaves, near, strict=True)]


def nudge(leaves: Leaves, rng: np.random.Generator, by: float) -> list:
    """The leaves, every number moved by about `by`, relative to itself or, at zero, to its leaf; no tie remains."""

    def one(leaf: Any) -> Any:
        if not is_inexact(leaf):
            return leaf
        leaf = as_wide(leaf)
        finite = np.isfinite(leaf)
        size = np.sqrt(np.mean(np.abs(leaf[finite]) ** 2)) if finite.any() else 1.0
        scale = np.where(leaf == 0, size or 1.0, np.abs(np.where(finite, leaf, 0)))
        moves = rng.choice([-1.0, 1.0], leaf.shape) * rng.uniform(0.5, 1.0, leaf.shape)
        return np.where(finite, leaf + by * scale * moves, leaf)

    return [one(leaf) for leaf in leaves]


def _jumps(bar: np.ndarray, near: np.ndarray, nearer: np.ndarray) -> np.ndarray:
    """Entries that change as much under a nudge 64 times smaller, or that are finite at one of the two only."""
    with np.errstate(invalid="ignore"):
        far, close = np.abs(near - bar), np.abs(nearer - bar)
        jump = (close > far / 8) & (close > 1e-10 * (np.abs(bar) + largest(bar)))
    return np.asarray(np.where(np.isfinite(far) & np.isfinite(close), jump, True) & np.isfinite(bar))
