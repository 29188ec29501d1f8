"""One layer's cotangents beside those of autodiff and of finite differences, both in double precision.

Autodiff differentiates an independent forward where there is one (`fnnet.checking`'s references of fnnet's own rules),
else the layer's own forward without its custom backwards. It starts from the arrays of the trace, so that each layer is
judged alone: an error of the layer behind it does not count against it.

    allowed = 16 e + 16 eps (|b| + rms(b)) + 8 eps max|y_bar|

b is autodiff's cotangent, eps the dtype's, e the largest error that autodiff itself makes in that dtype. Entries whose
reference jumps when the layer's input moves by 2^-30 of itself stand at a kink or a tie: they are counted, not judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.checking.diagnosis.hypotheses import Diagnosis, Evidence, diagnose
from fnnet.checking.differences import DOUBLE
from fnnet.checking.errors import RaisedError
from fnnet.checking.leaves import as_wide
from fnnet.checking.tolerance import SMALL, nudge
from fnnet.core.primitives import is_inexact
from fnnet.tracing.layer_programs import LayerPrograms
from fnnet.tracing.numbers import rms

FEWER = (32, 8, 8, 8, 2, 2)  # entries that finite differences move together, where moving all of them meets kinks
STEP = 2.0**-20  # of a finite difference, relative to the leaf
AGREE = 1e-5  # of two step sizes


@dataclass(frozen=True)
class Agreement:
    """A cotangent beside autodiff's.

    Args:
        against: What was differentiated, in words.
        largest: The largest |a - b| / (|b| + rms(b)).
        at: Where.
        ours: The cotangent there.
        theirs: Autodiff's there.
        wrong: How many entries differ by more than is allowed.
        kinks: How many stand at a kink or a tie and are not judged.
        looks: What a wrong cotangent looks like; None for a right one.
        lost: How many entries are 0 here, and in autodiff smaller than the dtype's smallest normal number, but not 0.
    """

    against: str
    largest: float
    at: tuple[int, ...]
    ours: float
    theirs: float
    wrong: int
    kinks: int
    looks: Diagnosis | None
    lost: int


@dataclass(frozen=True)
class Slope:
    """A cotangent beside finite differences: the loss's slope along a random direction, both ways.

    Args:
        ours: The sum of cotangent times direction.
        theirs: The central difference of the sum of y_bar times the layer's forward.
        uncertainty: How far the differences of two step sizes, and of the left and the right, are apart.
        entries: How many entries the direction moves.
        conclusive: Whether these agree.
        wrong: Whether the two slopes differ though the finite difference is conclusive.
    """

    ours: float
    theirs: float
    uncertainty: float
    entries: int
    conclusive: bool
    wrong: bool


class Comparison:
    """A layer at its arguments, beside its reference.

    Args:
        programs: The layer's.
        leaves: Its arguments: the input, then the parameters.
        names: Of the arguments.
        y_bar: The incoming cotangent.
    """

    def __init__(self, programs: LayerPrograms, leaves: Sequence[Any], names: Sequence[str], y_bar: Any):
        """The reference is run."""
        self.programs, self.names, self.wide = programs, names, programs.wide
        self.leaves, self.y_bar = [np.asarray(a) for a in leaves], np.asarray(y_bar)
        self.places = programs.places(self.leaves)
        self.problem = ""
        try:
            self._theirs = self._pulled(self.wide)
            rounded = self._pulled(False) if self.wide else self._theirs
            near = [self._pulled(True, nudged=by) for by in (SMALL, -SMALL)] if self.wide else []
        except RaisedError as error:
            self.problem = str(error)
            return
        self._noise = {i: _largest(rounded[i] - self._theirs[i]) for i in self.places}
        self._jumps = {i: _jumps(self._theirs[i], [one[i] for one in near]) for i in self.places}

    def agreement(self, place: int, ours: Any) -> Agreement | None:
        """The cotangent of leaf `place` beside autodiff's; None where autodiff cannot."""
        if self.problem or place not in self.places:
            return None
        limits = jnp.finfo(ours.dtype)
        theirs, mine, eps = self._theirs[place], as_wide(ours), float(limits.eps)
        size = rms(theirs[np.isfinite(theirs)])
        allowed = 16 * self._noise[place] + 16 * eps * size + 8 * eps * _largest(as_wide(self.y_bar))
        jumps = self._jumps[place]
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            apart = np.abs(mine - theirs)
            known = np.isfinite(theirs) & (np.abs(theirs) <= float(limits.max) / 2) & ~jumps
            near = apart <= allowed + 16 * eps * np.abs(theirs) + float(limits.smallest_normal)
            scaled = np.where(known, apart / (np.abs(theirs) + size), 0.0)
            scaled = np.where(np.isnan(scaled), np.where(apart == 0, 0.0, np.inf), scaled)
        wrong = known & ~near
        at = np.unravel_index(int(scaled.argmax()), scaled.shape) if scaled.size else ()
        lost = (mine == 0) & (theirs != 0) & (np.abs(theirs) < float(limits.smallest_normal))
        return Agreement(
            self.programs.against,
            float(scaled.max(initial=0.0)),
            tuple(map(int, at)),
            float(mine[at]) if scaled.size else 0.0,
            float(theirs[at]) if scaled.size else 0.0,
            int(wrong.sum()),
            int(jumps.sum()),
            diagnose(self._evidence(place, mine, theirs, allowed)) if wrong.any() else None,
            int(lost.sum()),
        )

    def slope(self, place: int, ours: Any, rng: np.random.Generator) -> Slope | None:
        """The cotangent of leaf `place` along a random direction, beside finite differences; None where they cannot."""
        if self.problem or place not in self.places or not self.wide:
            return None
        mine = as_wide(ours)
        found, free = None, ~self._jumps[place]
        for number in (mine.size, *FEWER):
            direction = _direction(mine, free, number, rng)
            found = self._difference(place, mine, direction, float(jnp.finfo(ours.dtype).eps))
            if found is None or found.conclusive:
                break
        return found

    def column(self, place: int, index: tuple[int, ...]) -> np.ndarray:
        """The derivative of the whole output by one entry of leaf `place`."""
        leaves = self._leaves(self.wide)
        dot = np.zeros(leaves[place].shape, leaves[place].dtype)
        dot[index] = 1
        return as_wide(self.programs.push(place)(leaves, dot))

    def _difference(self, place: int, mine: Any, direction: Any, eps: float) -> Slope | None:
        leaves, bar = self._leaves(True), as_wide(self.y_bar)
        center = leaves[place]
        step = STEP * (rms(center[np.isfinite(center)]) or 1.0)

        def terms(by: float) -> np.ndarray:
            moved = [*leaves[:place], center + by * direction, *leaves[place + 1 :]]
            with np.errstate(invalid="ignore", over="ignore"):
                return np.asarray(bar * as_wide(self.programs.values(*moved)))

        try:
            far, near = (float(np.sum(terms(by))) for by in (step, -step))
            above, at_zero, below = (terms(by) for by in (step / 4, 0.0, -step / 4))
        except RaisedError:
            return None
        with np.errstate(invalid="ignore", over="ignore"):
            coarse, fine = (far - near) / (2 * step), float(np.sum(above - below)) / (step / 2)
            bend = float(np.sum(np.abs(above - 2 * at_zero + below))) / (step / 4)  # where left and right differ
            ours, size = float(np.sum(mine * direction)), float(np.sum(np.abs(mine * direction)))
            # What rounding leaves: of the values, over the step; and of the cotangent in its own dtype.
            room = 8 * DOUBLE * float(np.sum(np.abs(at_zero))) / step + AGREE * abs(fine)
            room += 64 * eps * float(np.sqrt(max(1, int(np.count_nonzero(direction))))) * (rms(mine) + _largest(bar))
            apart = max(abs(coarse - fine), bend)
            conclusive = bool(np.isfinite(coarse) and apart <= room and room <= 1e-2 * (size + abs(fine)))
            wrong = conclusive and not abs(ours - fine) <= 4 * room + 1e-3 * size * (eps > 1e-4)
        return Slope(ours, fine, apart, int(np.count_nonzero(direction)), conclusive, wrong)

    def _leaves(self, wide: bool) -> list:
        return [as_wide(leaf) if wide and is_inexact(leaf) else leaf for leaf in self.leaves]

    def _pulled(self, wide: bool, *, nudged: float = 0.0) -> dict[int, np.ndarray]:
        leaves = self._leaves(wide)
        if nudged:
            leaves = nudge(leaves, np.random.default_rng(0), nudged)
        bars = self.programs.pull[wide](leaves, as_wide(self.y_bar) if wide else self.y_bar)
        return {i: as_wide(bar) for i, bar in zip(self.places, bars, strict=True)}

    def _evidence(self, place: int, mine: np.ndarray, theirs: np.ndarray, allowed: float) -> Evidence:
        sizes = {"the batch size": self.y_bar.shape[0]} if self.y_bar.ndim else {}
        others = {f"the cotangent of {self.names[i]}": self._theirs[i] for i in self.places if i != place}
        inputs = {name: as_wide(leaf) for name, leaf in zip(self.names, self.leaves, strict=True) if is_inexact(leaf)}
        return Evidence(mine, theirs, allowed, sizes, others, inputs)


def _direction(mine: Any, free: Any, number: int, rng: np.random.Generator) -> np.ndarray:
    """A random direction along so many free entries; if not all, half of them by size, the rest by chance."""
    flat, at = np.zeros(mine.size), np.flatnonzero(free)
    if number < mine.size and at.size:
        first = at[np.argsort(-np.abs(mine.ravel()[at]), kind="stable")[: 4 * number]]
        picked = rng.choice(first, min(number // 2, first.size), replace=False)
        at = np.union1d(picked, rng.choice(at, min(number - number // 2, at.size), replace=False))
    flat[at] = rng.choice([-1.0, 1.0], len(at))
    return flat.reshape(mine.shape)


def _jumps(bar: Any, nudged: Sequence[Any]) -> np.ndarray:
    """Entries that a nudge changes by far more than itself."""
    finite = np.isfinite(bar)
    size = rms(bar[finite])
    with np.errstate(invalid="ignore"):
        stay = [np.abs(near - bar) <= 1e-4 * (np.abs(bar) + size) for near in nudged]
        return np.asarray(finite & ~np.all([np.ones_like(finite), *stay], axis=0))


def _largest(a: Any) -> float:
    sizes = np.abs(a[np.isfinite(a)])
    return float(sizes.max(initial=0.0))
