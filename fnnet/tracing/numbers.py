"""An array with what a reader wants first: how large it is, and how many entries are zero, NaN or infinite."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnnet.checking.leaves import as_wide, rms


@dataclass(frozen=True, eq=False)
class Numbers:
    """An array under the name that the equations give it.

    Args:
        name: Such as "kernel", or "x_bar".
        array: The array itself, in NumPy, bit for bit.
    """

    name: str
    array: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.array.shape

    @property
    def dtype(self) -> str:
        """Of the array, by name."""
        return self.array.dtype.name

    @property
    def bytes(self) -> int:
        """Size of the array in memory."""
        return self.array.nbytes

    @functools.cached_property
    def wide(self) -> np.ndarray:
        """The same numbers in double precision."""
        return as_wide(self.array)

    @functools.cached_property
    def _finite(self) -> np.ndarray:
        return self.wide[np.isfinite(self.wide)]

    @functools.cached_property
    def rms(self) -> float:
        """Root of the mean square of the finite entries; 0 if there are none."""
        return rms(self.wide)

    @property
    def whole_rms(self) -> float:
        """Root of the mean square of all entries: NaN if one of them is, else infinite if one is infinite."""
        return float("nan") if self.nans else float("inf") if self.infinities else self.rms

    @functools.cached_property
    def low(self) -> float:
        """The smallest finite entry; NaN if there is none."""
        return float(self._finite.min()) if self._finite.size else float("nan")

    @functools.cached_property
    def high(self) -> float:
        """The largest finite entry; NaN if there is none."""
        return float(self._finite.max()) if self._finite.size else float("nan")

    @functools.cached_property
    def zeros(self) -> float:
        """The share of entries that are 0."""
        return share(self.wide == 0)

    @functools.cached_property
    def nans(self) -> int:
        """How many entries are NaN."""
        return int(np.isnan(self.wide).sum())

    @functools.cached_property
    def infinities(self) -> int:
        """How many entries are infinite."""
        return int(np.isinf(self.wide).sum())

    @property
    def is_finite(self) -> bool:
        """Whether every entry is."""
        return not self.nans and not self.infinities

    @property
    def largest(self) -> float:
        """The largest finite entry by size; 0 if there is none."""
        return max(abs(self.low), abs(self.high)) if self._finite.size else 0.0

    def __repr__(self) -> str:
        """One line, without the array."""
        sizes = ",".join(map(str, self.shape))
        parts = [
            f"rms {self.whole_rms:.3g}",
            f"from {self.low:.3g} to {self.high:.3g}",
            f"{100 * self.zeros:.3g} % zero",
        ]
        parts += [f"{count} {what}" for count, what in ((self.nans, "NaN"), (self.infinities, "infinite")) if count]
        return f"{self.name} {self.dtype}[{sizes}]: {', '.join(parts)}"


def numbers(name: str, array: Any) -> Numbers:
    """Any array, of JAX too."""
    return Numbers(name, np.asarray(array))


def share(mask: Any) -> float:
    """How much of it is true; 0 of nothing."""
    return float(np.mean(mask)) if np.size(mask) else 0.0
