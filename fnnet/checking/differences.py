"""Finite differences in double precision: independent of all automatic differentiation.

A central stencil of 4th order has the error h^4 f5 / 30, where f5 is the 5th derivative. Rounding adds about 3/2 of the
noise of the values over h. The step h balances the two. The result is conclusive if a second, smaller step agrees.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnnet.checking.kinds import Side
from fnnet.checking.leaves import all_wide
from fnnet.checking.tolerance import NINE_DIGITS

ATTEMPTS = 6
DOUBLE = float(np.finfo(np.float64).eps)
KINK = 1e-3  # relative difference of two one-sided slopes at a kink; it does not change with the step
Values = Callable[[float], list[np.ndarray]]  # t -> the output's leaves, double precision


@dataclass(frozen=True)
class Difference:
    """A derivative by finite differences.

    Args:
        value: The central difference.
        uncertainty: How far it may be from the derivative.
        conclusive: Whether two step sizes agree, and left and right agree: at a kink, a central difference is a mean.
        kink: Whether left and right differ.
        left: The slope from the left.
        right: The slope from the right.
        low: The smallest slope that a choice of sides for each output entry gives.
        high: The largest.
    """

    value: float
    uncertainty: float
    conclusive: bool
    kink: bool
    left: float
    right: float
    low: float
    high: float

    def agrees(self, value: Any, allowed: float) -> bool:
        """Whether `value` can be this derivative."""
        return bool(np.isfinite(value) and self.conclusive and abs(value - self.value) <= self.uncertainty + allowed)

    def scaled(self, by: float) -> "Difference":
        """The derivative in other units."""
        numbers = {n: getattr(self, n) * by for n in ("value", "uncertainty", "left", "right", "low", "high")}
        return dataclasses.replace(self, **numbers)

    def side(self, value: Any, allowed: float) -> Side:
        """Which slope at a kink `value` is."""
        slopes = {Side.LEFT: self.left, Side.RIGHT: self.right, Side.MEAN: (self.left + self.right) / 2}
        nearest = min(slopes, key=lambda side: abs(np.real(value) - slopes[side]))
        near = abs(np.real(value) - slopes[nearest]) <= allowed + 1e-5 * abs(self.left - self.right)
        return nearest if near else Side.BETWEEN

    def contains(self, value: Any, allowed: float) -> bool:
        """Whether `value` lies between the one-sided slopes of a kink."""
        return self.kink and bool(self.low - allowed <= np.real(value) <= self.high + allowed)


@dataclass(frozen=True)
class Slope:
    """A rule's slope along a direction of one argument, beside that of finite differences.

    Args:
        rule: The sum of cotangent times direction.
        difference: That of finite differences.
        slack: How far the rule may be off besides the uncertainty of the differences.
        moved: How many entries the direction moves.
    """

    rule: float
    difference: Difference
    slack: float
    moved: int

    @classmethod
    def of(cls, bar: np.ndarray, direction: np.ndarray, difference: Difference, allowed: float) -> "Slope":
        """The slope of a cotangent whose entries may each be off by `allowed`."""
        parts = bar * direction
        slack = allowed * float(np.abs(direction).sum()) + NINE_DIGITS * float(np.abs(parts).sum())
        return cls(float(np.sum(parts).real), difference, slack, int(np.count_nonzero(direction)))

    @property
    def error(self) -> float:
        """How far the two slopes are apart."""
        return abs(self.rule - self.difference.value)

    @property
    def allowed(self) -> float:
        """How far apart they may be."""
        return self.difference.uncertainty + self.slack

    @property
    def agrees(self) -> bool:
        """Whether finite differences confirm the rule."""
        return self.difference.conclusive and bool(self.error <= self.allowed)

    @property
    def is_wrong(self) -> bool:
        """Whether finite differences contradict the rule."""
        return self.difference.conclusive and not self.error <= self.allowed


def along(values: Values, bars: Sequence[np.ndarray], eps: float = DOUBLE) -> Difference:
    """The derivative at t = 0 of the sum over the output of bars * values(t); `eps` is the values' unit roundoff."""
    with np.errstate(all="ignore"):  # a step may leave the domain
        return _along(values, all_wide(bars), eps)


def _along(values: Values, bars: list[np.ndarray], eps: float) -> Difference:
    at_zero = values(0.0)
    noise = 4 * eps * sum(float(np.sum(np.abs(b) * np.abs(o))) for b, o in zip(bars, at_zero, strict=True))

    def paired(t: float) -> float:
        return sum(float(np.sum(b * o).real) for b, o in zip(bars, values(t), strict=True))

    value, uncertainty, conclusive = _central(paired, max(noise, 1e-300), eps)
    # A kink shows in steps that only double precision can take.
    unknown = False, np.nan, np.nan, -np.inf, np.inf
    kink, *slopes = _one_sided(values, at_zero, bars) if eps == DOUBLE else unknown
    return Difference(value, uncertainty, conclusive and not kink, kink, *slopes)


def _central(f: Callable[[float], float], noise: float, eps: float) -> tuple[float, float, bool]:
    h = _step(f, noise)
    best = (np.nan, np.inf, False)
    for _ in range(ATTEMPTS):
        coarse, fine = _stencil(f, h), _stencil(f, h / 2)
        rounding = 3 * (noise + eps * abs(fine)) / h  # of the values, and of the arguments
        difference = abs(coarse - fine)
        if np.isfinite(difference) and difference + rounding < best[1]:
            resolved = bool(difference <= 1e-5 * max(abs(fine), abs(coarse)) + 4 * rounding)
            best = (fine, difference + rounding, resolved)
            if resolved:
                return best
        h /= 8
    return best


def _stencil(f: Callable[[float], float], h: float) -> float:
    return (f(-2 * h) - 8 * f(-h) + 8 * f(h) - f(2 * h)) / (12 * h)


def _step(f: Callable[[float], float], noise: float) -> float:
    """The step at which truncation and rounding are equal, the 5th derivative taken from a wide stencil."""
    wide = 2.0**-5
    weights = {-3: -1, -2: 4, -1: -5, 1: 5, 2: -4, 3: 1}
    fifth = sum(w * f(k * wide) for k, w in weights.items()) / (2 * wide**5)
    if not np.isfinite(fifth):
        return 2.0**-10
    return float(np.clip((11 * noise / max(abs(fifth), 1e-300)) ** 0.2, 2.0**-16, 2.0**-5))


def _one_sided(
    values: Values, at_zero: list[np.ndarray], bars: list[np.ndarray]
) -> tuple[bool, float, float, float, float]:
    """Whether there is a kink, the slopes from left and right, and the range of all choices of a side."""
    low = high = from_left = from_right = 0.0
    scale = 1e-300
    kink = False
    for bar, *points in zip(bars, at_zero, *(values(t) for h in (2.0**-20, 2.0**-23) for t in (h, -h)), strict=True):
        zero, right, left, nearer_right, nearer_left = points
        far = (right - zero) * 2.0**20, (zero - left) * 2.0**20
        near = (nearer_right - zero) * 2.0**23, (zero - nearer_left) * 2.0**23
        if not all(np.isfinite(a).all() for a in (*far, *near)):
            return False, np.nan, np.nan, -np.inf, np.inf
        slopes = [np.real(bar * slope) for slope in near]
        from_right += float(slopes[0].sum())
        from_left += float(slopes[1].sum())
        noise = 32 * np.finfo(np.float64).eps * np.abs(zero) * 2.0**23
        unsettled = np.abs(bar) * (noise + sum(np.abs(a - b) for a, b in zip(near, far, strict=True)))
        low += float((np.minimum(*slopes) - unsettled).sum())
        high += float((np.maximum(*slopes) + unsettled).sum())
        gap = np.abs(near[0] - near[1])
        size = np.maximum(np.abs(near[0]), np.abs(near[1]))
        scale = max(scale, float(size.max(initial=0.0)))
        settled = (np.abs(near[0] - far[0]) <= gap / 4) & (np.abs(near[1] - far[1]) <= gap / 4)
        kink |= bool(((gap > KINK * size) & settled & (gap > 1e-6 * scale + noise)).any())
    return kink, from_left, from_right, low, high
