"""A cotangent of the rule beside the reference's, at some arguments: what `judgement` judges."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.checking.differences import Difference
from fnnet.checking.entries import Entries
from fnnet.checking.leaves import Leaves, as_wide
from fnnet.checking.report import Failure
from fnnet.checking.session import Session
from fnnet.checking.tolerance import Expected, compared


@dataclass(frozen=True, eq=False)
class Trial:
    """Arguments and output cotangents at which a check compares the rule with the reference.

    Args:
        check: Letter of the check.
        leaves: The arguments.
        output_bars: The cotangents of the output.
        circumstance: What is particular about them, in words: a dtype, a shape, an edge value; "" at the example.
        previous: The arguments of the call before, if a stale residual would show there.
    """

    check: str
    leaves: Leaves
    output_bars: Leaves
    circumstance: str = ""
    previous: Leaves | None = None

    @property
    def where(self) -> str:
        """The circumstance, in words."""
        return self.circumstance or "the example"


@dataclass(frozen=True, eq=False)
class Cotangent:
    """One cotangent of a trial.

    Args:
        session: Of the rule.
        trial: Where.
        number: Its number among the cotangents.
        ours: The rule's, in double precision.
        expected: What the reference gives.
    """

    session: Session
    trial: Trial
    number: int
    ours: np.ndarray
    expected: Expected

    @property
    def path(self) -> str:
        """Path of its argument."""
        return self.session.subject.gradient_paths[self.number]

    @property
    def leaf(self) -> Any:
        """Its argument."""
        return self.trial.leaves[self.session.subject.with_gradient[self.number]]

    @property
    def theirs(self) -> np.ndarray:
        """The reference's."""
        return self.expected.bars[self.number]

    @property
    def allowed(self) -> float:
        """How far an entry may be off."""
        return self.expected.bar_allowed[self.number]

    @property
    def jumps(self) -> np.ndarray:
        """Which entries stand at a kink or a tie."""
        return self.expected.jumps[self.number]

    @property
    def is_real(self) -> bool:
        """Whether it is not complex: only real functions have kinks."""
        return np.isrealobj(self.ours)

    def compared(self) -> Entries:
        """Its entries beside the reference's. Next to a masked argument, -inf, any finite value will do."""
        entries = compared(self.ours, self.theirs, self.allowed, self.leaf.dtype)
        return self.entries(entries.wrong & (np.isfinite(as_wide(self.leaf)) | ~np.isfinite(self.ours)))

    def entries(self, wrong: Any) -> Entries:
        """The same with other entries wrong."""
        return Entries(self.ours, self.theirs, np.asarray(wrong), self.allowed)

    def is_between_slopes(self, entry: tuple[int, ...], difference: Difference) -> bool:
        """Whether the rule's entry lies between the one-sided slopes of a kink."""
        return self.is_real and difference.contains(self.ours[entry], self.allowed)

    def is_rough(self, entry: tuple[int, ...], difference: Difference) -> bool:
        """Whether the function is too rough at this entry for finite differences to settle."""
        unsettled = not difference.conclusive and not difference.kink
        return bool(self.jumps[entry] and np.isfinite(self.ours[entry]) and unsettled)

    def is_turned(self, entry: tuple[int, ...]) -> bool:
        """Whether the error at this entry is in the imaginary part rather than in the real part."""
        error = (self.ours - self.theirs)[entry]
        return bool(np.iscomplexobj(self.ours) and abs(error.imag) > abs(error.real))

    def difference(self, entry: tuple[int, ...], *, turned: bool = False) -> Difference:
        """Finite differences at one entry."""
        trial, unit = self.trial, 1j if turned else 1
        return self.session.entry_difference(trial.leaves, trial.output_bars, self.number, entry, unit)

    def narrow_reference(self) -> np.ndarray:
        """Autodiff of the reference in the dtype under test; RaisedError if the reference does not take it."""
        return as_wide(self.session.narrow_reference_bars(self.trial.leaves, self.trial.output_bars)[self.number])

    def is_underflow(self, size: float) -> bool:
        """Whether a cotangent of this size is underflow, beside the output's."""
        tiny = float(jnp.finfo(self.leaf.dtype).eps) ** 3
        return size <= tiny * max(float(np.abs(as_wide(b)).max(initial=0.0)) for b in self.trial.output_bars)

    def note(self, text: str) -> None:
        """Note something of it."""
        self.session.findings.note(self.trial.check, f"{self.path}, {self.trial.where}: {text}")

    def failure(self, diagnosis: str, entries: Entries | None = None, **details: Any) -> Failure:
        """A failure of it."""
        given = self.trial.check, self.path, self.trial.circumstance, diagnosis
        return Failure(*given, **details) if entries is None else Failure.of_entries(*given, entries, **details)
