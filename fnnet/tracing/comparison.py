"""One layer's cotangents beside those of autodiff and of finite differences, by the checker's tolerances.

Autodiff differentiates an independent forward if there is one (the references of `fnnet.proofs`), else the layer's own
forward without its custom backwards. It starts from the arrays of the trace, so that each layer is judged alone: an
error of the layer behind it does not count. Entries at a kink or a tie are counted, not judged.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.checking import differences, tolerance
from fnnet.checking.diagnosis.hypotheses import Diagnosis, Evidence, diagnose
from fnnet.checking.differences import Slope
from fnnet.checking.entries import Entries
from fnnet.checking.errors import RaisedError
from fnnet.checking.leaves import all_wide, as_wide, largest, replaced, rms, widened
from fnnet.core.primitives import is_inexact
from fnnet.tracing.layer_programs import LayerPrograms

FEWER = (32, 8, 8, 8, 2, 2)  # entries that finite differences move together, if moving all of them meets kinks
PERTURBATIONS = 2


@dataclass(frozen=True)
class Agreement:
    """A cotangent beside autodiff's.

    Args:
        against: What was differentiated, in words.
        largest: The largest |a - b| / (|b| + rms(b)).
        at: Its index.
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
        self.programs, self.names = programs, names
        self.leaves, self.y_bar = [np.asarray(a) for a in leaves], np.asarray(y_bar)
        self.numbers = {i: k for k, i in enumerate(programs.with_gradient(self.leaves))}
        self.problem = ""

        def pull(leaves: Sequence[Any], bars: Sequence[Any]) -> tuple[list, list]:
            return [], list(programs.pull(leaves, *bars))

        rng = np.random.default_rng(0)
        try:
            self._expected = tolerance.expected(pull, self.leaves, [self.y_bar], rng, PERTURBATIONS)
        except RaisedError as error:
            self.problem = str(error)

    def agreement(self, index: int, ours: Any) -> Agreement | None:
        """The cotangent of leaf `index` beside autodiff's; None if autodiff cannot."""
        if self.problem or index not in self.numbers:
            return None
        k = self.numbers[index]
        theirs, jumps = self._expected.bars[k], self._expected.jumps[k]
        mine, tiny = as_wide(ours), float(jnp.finfo(ours.dtype).smallest_normal)

        def compared(allowed: float) -> Entries:
            found = tolerance.compared(mine, theirs, allowed, ours.dtype)
            return Entries(mine, theirs, found.wrong & ~jumps, allowed)

        entries = compared(self._expected.bar_allowed[k])
        if entries.are_wrong:
            lost = largest((self._rounded[k] - theirs)[~jumps])
            entries = compared(max(entries.allowed, tolerance.CHANGES_ALLOWED * lost))
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            apart = np.abs(mine - theirs)
            scaled = np.where(np.isfinite(theirs) & ~jumps, apart / (np.abs(theirs) + rms(theirs)), 0.0)
            scaled = np.where(np.isnan(scaled), np.where(apart == 0, 0.0, np.inf), scaled)
        at = np.unravel_index(int(scaled.argmax()), scaled.shape) if scaled.size else ()
        underflown = (mine == 0) & (theirs != 0) & (np.abs(theirs) < tiny)
        return Agreement(
            against=self.programs.against,
            largest=float(scaled.max(initial=0.0)),
            at=tuple(map(int, at)),
            ours=float(mine[at]) if scaled.size else 0.0,
            theirs=float(theirs[at]) if scaled.size else 0.0,
            wrong=entries.count,
            kinks=int(jumps.sum()),
            looks=diagnose(self._evidence(index, entries)) if entries.are_wrong else None,
            lost=int(underflown.sum()),
        )

    def autodiff(self, index: int) -> np.ndarray | None:
        """Autodiff's cotangent of leaf `index`, in double precision; None if it has none."""
        return None if self.problem or index not in self.numbers else self._expected.bars[self.numbers[index]]

    @functools.cached_property
    def _rounded(self) -> list[np.ndarray]:
        """Autodiff's cotangents in the dtype of the trace: what roundings inside a layer of many products may cost."""
        return all_wide(list(self.programs.pull(self.leaves, self.y_bar)))

    def slope(self, index: int, ours: Any, rng: np.random.Generator) -> Slope | None:
        """The cotangent of leaf `index` along a random direction, beside finite differences; None if they cannot."""
        if self.problem or index not in self.numbers or not self.programs.wide:
            return None
        k, mine, leaves = self.numbers[index], as_wide(ours), widened(self.leaves)
        size = rms(leaves[index]) or 1.0
        found = None
        for count in (mine.size, *FEWER):
            direction = size * _direction(mine, ~self._expected.jumps[k], count, rng)

            def values(t: float, direction: np.ndarray = direction) -> list[np.ndarray]:
                moved = replaced(leaves, [index], [leaves[index] + t * direction])
                return all_wide([self.programs.values(*moved)])

            try:
                difference = differences.along(values, [self.y_bar])
            except RaisedError:
                return None
            found = Slope.of(mine, direction, difference, self._expected.bar_allowed[k])
            if difference.conclusive:
                break
        return found

    def column(self, index: int, entry: tuple[int, ...]) -> np.ndarray:
        """The derivative of the whole output by one entry of leaf `index`."""
        dot = np.zeros(self.leaves[index].shape)
        dot[entry] = 1
        return self.pushed(index, dot)

    def pushed(self, index: int, dot: np.ndarray) -> np.ndarray:
        """The derivative of the whole output along `dot`, a direction of leaf `index`."""
        leaves = self._exact
        return as_wide(self.programs.push(index)(leaves, dot.astype(leaves[index].dtype)))

    @functools.cached_property
    def _exact(self) -> list[Any]:
        """The leaves in double precision, if the layer can run in it."""
        return widened(self.leaves) if self.programs.wide else self.leaves

    def row(self, entry: tuple[int, ...]) -> dict[int, np.ndarray]:
        """The derivative of one entry of the output by each leaf that has one, by the leaf's index."""
        bar = np.zeros(self.y_bar.shape, np.float64 if self.programs.wide else self.y_bar.dtype)
        bar[entry] = 1
        rows = self.programs.pull(self._exact, bar)
        return {i: as_wide(rows[k]) for i, k in self.numbers.items()}

    @functools.cached_property
    def at_zero(self) -> np.ndarray | None:
        """The output where the input is 0 (for integers, where the parameters are); None if it is not affine in it.

        Affine along a random ray, that is: f(2r) - f(0) = 2 (f(r) - f(0)), which ReLU and max-pooling also satisfy.
        """
        leaves = self._exact
        inputs = [0] if 0 in self.numbers else list(self.numbers)
        rng = np.random.default_rng(0)
        ray = [np.asarray(rng.normal(size=leaves[i].shape)).astype(leaves[i].dtype) for i in inputs]
        try:
            at = [as_wide(self.programs.values(*replaced(leaves, inputs, [t * r for r in ray]))) for t in (0, 1, 2)]
        except RaisedError:
            return None
        apart = largest(at[2] - 2 * at[1] + at[0])
        finite = all(np.isfinite(values).all() for values in at)
        return at[0] if finite and apart <= self.rounding * largest(at[1] - at[0]) else None

    @property
    def rounding(self) -> float:
        """Relative errors that roundings of the trace's dtype can make in a long sum."""
        return float(jnp.finfo(self.y_bar.dtype).eps) ** 0.5

    def columns(self, index: int, dots: np.ndarray) -> np.ndarray:
        """The derivative of the whole output along each of `dots`, directions of leaf `index`."""
        leaves = self._exact
        return as_wide(self.programs.pushes(index)(leaves, dots.astype(leaves[index].dtype)))

    def _evidence(self, index: int, entries: Entries) -> Evidence:
        bars = {self.names[i]: self._expected.bars[k] for i, k in self.numbers.items()}
        return Evidence(
            ours=entries.ours,
            theirs=entries.theirs,
            allowed=entries.allowed,
            sizes={"the batch size": self.y_bar.shape[0]} if self.y_bar.ndim else {},
            others={f"the cotangent of {name}": bar for name, bar in bars.items() if name != self.names[index]},
            inputs={n: as_wide(leaf) for n, leaf in zip(self.names, self.leaves, strict=True) if is_inexact(leaf)},
        )


def _direction(mine: Any, free: Any, count: int, rng: np.random.Generator) -> np.ndarray:
    """A random direction along so many free entries; if not all, half of them by size, the rest by chance."""
    flat, at = np.zeros(mine.size), np.flatnonzero(free)
    if count < mine.size and at.size:
        first = at[np.argsort(-np.abs(mine.ravel()[at]), kind="stable")[: 4 * count]]
        picked = rng.choice(first, min(count // 2, first.size), replace=False)
        at = np.union1d(picked, rng.choice(at, min(count - count // 2, at.size), replace=False))
    flat[at] = rng.choice([-1.0, 1.0], len(at))
    return flat.reshape(mine.shape)
