"""How large an error may be: measured on the reference, not guessed.

Perturb inputs and cotangent by half a unit in the last place of the tested dtype, four times. With J the largest
change of a cotangent leaf, a rule may differ by 16 J + 8 eps max|output_bar|; in double precision by 16 J + 128 eps
max|output_bar|: no error is so small, and a gradient that is zero but for rounding has no J. A badly conditioned point
has a large J, and a rule cannot do better than its inputs allow. To this comes eps max|x| of the leaf's largest
cotangent: so much does an exponential of x lose, where another way round J does not show it.

An entry at a kink or a tie changes by a jump however small the perturbation, on one side of it at least. Such entries
are told apart by that, and left out of J.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.checking.programs import as_wide, widened
from fnnet.checking.subject import is_moving

PERTURBATIONS = 4
CHANGES_ALLOWED = 16
ULPS_ALLOWED, ULPS_ALLOWED_IN_DOUBLES = 8, 128
SMALL, SMALLER = 2.0**-30, 2.0**-36
NINE_DIGITS = 1e-9  # what finite differences confirm is right with so many, whatever rounding explains
EIGHT_DIGITS = 1e-8  # the same beside autodiff of the function itself: what it computes may be an approximation
Leaves = Sequence[Any]


@dataclass(frozen=True)
class Expected:
    """What the reference gives at some arguments, in double precision, and how far a rule may be from it.

    Args:
        outs: The output's leaves.
        bars: The cotangents.
        out_allowed: An allowance for each output leaf.
        bar_allowed: An allowance for each cotangent leaf.
        jumps: For each cotangent leaf, where it jumps near these arguments.
        hopeless: For each cotangent leaf, whether half an ulp changes all of it: then no digit of it is known.
    """

    outs: list[np.ndarray]
    bars: list[np.ndarray]
    out_allowed: list[float]
    bar_allowed: list[float]
    jumps: list[np.ndarray]
    hopeless: list[bool]


def expected(pull: Callable, leaves: Leaves, output_bars: Leaves, rng: np.random.Generator) -> Expected:
    """The reference at these leaves and output cotangents, both given in the dtypes under test."""
    wide_leaves, wide_bars = widened(leaves), [as_wide(b) for b in output_bars]

    def run(leaves: Leaves, bars: Leaves) -> tuple[list, list]:
        outs, pulled = pull(leaves, bars)
        return [as_wide(a) for a in outs], [as_wide(a) for a in pulled]

    outs, bars = run(wide_leaves, wide_bars)
    seed = int(rng.integers(2**31))  # one direction, and the opposite one
    there, closer, back, closer_back = (
        run(nudge(wide_leaves, np.random.default_rng(seed), by), wide_bars)[1]
        for by in (SMALL, SMALLER, -SMALL, -SMALLER)
    )
    sides = (zip(bars, there, closer, strict=True), zip(bars, back, closer_back, strict=True))
    jumps = [a | b for a, b in zip(*([_jumps(*three) for three in side] for side in sides), strict=True)]
    perturbed = []
    for _ in range(PERTURBATIONS):
        near = [half_ulp(a, rng) for a in leaves]
        perturbed.append(run(near, [half_ulp(b, rng) for b in output_bars]))
        # Along the perturbation itself: where it crosses a kink or breaks a tie, its change says nothing of rounding.
        nearer = [run(_towards(leaves, near, by), wide_bars)[1] for by in (SMALL, SMALLER)]
        jumps = [np.asarray(j | _jumps(*three)) for j, *three in zip(jumps, bars, *nearer, strict=True)]
    out_changes, bar_changes = [0.0] * len(outs), [0.0] * len(bars)
    for near_outs, near_bars in perturbed:
        out_changes = [max(c, _largest(n - o)) for c, n, o in zip(out_changes, near_outs, outs, strict=True)]
        bar_changes = [
            max(c, _largest((n - b)[~j])) for c, n, b, j in zip(bar_changes, near_bars, bars, jumps, strict=True)
        ]
    eps = precision([*leaves, *output_bars])
    bar_changes = [
        max(c, eps / 2 * _largest(b)) for c, b in zip(bar_changes, bars, strict=True)
    ]  # its own rounding at least
    ulps = ULPS_ALLOWED if eps > np.finfo(np.float64).eps else ULPS_ALLOWED_IN_DOUBLES
    reach = max((_largest(as_wide(a)) for a in leaves if is_moving(a)), default=0.0)  # exp(x) loses eps |x| of itself
    size = max((_largest(b) for b in wide_bars), default=0.0)
    return Expected(
        outs,
        bars,
        [CHANGES_ALLOWED * c + ULPS_ALLOWED * eps * _largest(o) for c, o in zip(out_changes, outs, strict=True)],
        [
            CHANGES_ALLOWED * c + eps * (ulps * size + reach * _largest(b))
            for c, b in zip(bar_changes, bars, strict=True)
        ],
        jumps,
        [CHANGES_ALLOWED * c > _largest(b) and c > eps**0.5 * size for c, b in zip(bar_changes, bars, strict=True)],
    )


def wrong_entries(ours: Any, theirs: Any, allowed: float, dtype: Any = np.float64) -> np.ndarray:
    """Where a leaf of that dtype differs by more than is allowed; where the reference is not finite, anything goes."""
    limits = jnp.finfo(dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.abs(ours - theirs) <= allowed + float(limits.smallest_normal)
        known = np.isfinite(theirs) & (np.abs(theirs) <= float(limits.max) / 2)
    return np.asarray(known & ~near)


def precision(leaves: Leaves) -> float:
    """The unit roundoff of the least precise floating leaf."""
    return max((float(jnp.finfo(a.dtype).eps) for a in leaves if is_moving(a)), default=float(np.finfo(np.float64).eps))


def half_ulp(leaf: Any, rng: np.random.Generator) -> Any:
    """The numbers of a leaf, each half an ulp up or down, as f64; f64 itself a whole ulp, half of the time."""
    if not is_moving(leaf):
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
    """The leaves with every number moved by about `by` of itself in the direction in which `near` lies."""

    def one(leaf: Any, moved: Any) -> Any:
        if not is_moving(leaf):
            return leaf
        wide = as_wide(leaf)
        half = float(jnp.finfo(leaf.dtype).eps) / 2
        same = (moved == wide) | ~np.isfinite(wide)
        return np.where(same, wide, wide + np.where(same, 0, moved - wide) * (by / half))

    return [one(leaf, moved) for leaf, moved in zip(leaves, near, strict=True)]


def nudge(leaves: Leaves, rng: np.random.Generator, by: float) -> list:
    """The leaves, every number moved by about `by`, relative to itself or, at zero, to its leaf; no tie remains."""

    def one(leaf: Any) -> Any:
        if not is_moving(leaf):
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
        jump = (close > far / 8) & (close > 1e-10 * (np.abs(bar) + _largest(bar)))
    return np.asarray(np.where(np.isfinite(far) & np.isfinite(close), jump, True) & np.isfinite(bar))


def _largest(a: Any) -> float:
    size = np.abs(a[np.isfinite(a)])
    return float(size.max(initial=0.0))
