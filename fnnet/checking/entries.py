"""Two arrays side by side: which entries differ by more than is allowed, and the worst of them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Entries:
    """An array of the rule's beside the same of the reference's.

    Args:
        ours: The rule's.
        theirs: The reference's, of the same shape.
        wrong: Which entries are wrong.
        allowed: How far apart two entries may be.
    """

    ours: Any
    theirs: Any
    wrong: np.ndarray
    allowed: float

    @property
    def are_wrong(self) -> bool:
        """Whether any entry is."""
        return bool(self.wrong.any())

    @property
    def count(self) -> int:
        """How many are wrong."""
        return int(self.wrong.sum())

    @property
    def size(self) -> int:
        """How many there are."""
        return self.wrong.size

    def worst(self) -> tuple[int, ...]:
        """The index of the wrong entry that is furthest off."""
        return index_of(np.argmax(self._errors()), self.wrong.shape)

    def by_size(self, most: int) -> list[tuple[int, ...]]:
        """The indices of the wrong entries, the worst first; of more than `most`, evenly chosen ones."""
        order = np.argsort(self._errors(), axis=None, kind="stable")[::-1][: self.count]
        if order.size > most:
            order = order[np.linspace(0, order.size - 1, most).astype(int)]
        return [index_of(flat, self.wrong.shape) for flat in order]

    def multiple(self, index: tuple[int, ...]) -> float:
        """How many times the allowed error an entry is off."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            off = float(np.abs(self.ours[index] - self.theirs[index]))
            return off / self.allowed if self.allowed else math.inf

    def _errors(self) -> np.ndarray:
        with np.errstate(invalid="ignore", over="ignore"):
            off = np.nan_to_num(np.abs(self.ours - self.theirs), nan=np.inf, posinf=np.inf)
            return np.where(self.wrong, off, -1.0)


def index_of(flat: int | np.integer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index in an array of this shape of the entry with a flat number."""
    return tuple(map(int, np.unravel_index(flat, shape)))
