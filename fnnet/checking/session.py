"""One run of the checker: the subject, its programs, the caller's options, and what was found so far."""

import dataclasses
import functools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fnnet.checking import differences, tolerance
from fnnet.checking.differences import Difference, Slope
from fnnet.checking.errors import NotRun, RaisedError
from fnnet.checking.findings import Findings
from fnnet.checking.kinds import Origin, Ties
from fnnet.checking.leaves import Leaves, all_wide, are_finite, as_wide, gaussians, is_wide, replaced, rms, widened
from fnnet.checking.programs import Program, Programs
from fnnet.checking.subject import Subject
from fnnet.core.jaxprs import all_equations
from fnnet.core.primitives import is_inexact


@dataclass(frozen=True)
class Options:
    """The options of `check`."""

    dtypes: tuple[str, ...] = ("float64", "float32", "bfloat16", "float16")
    mapped: tuple[str, ...] | None = None
    second_order: bool | None = None
    ties: Ties = Ties.ANY
    seed: int = 0

    def rng(self, *stream: Any) -> np.random.Generator:
        """Random numbers of this stream, always the same."""
        return np.random.default_rng([self.seed, *(zlib.crc32(str(s).encode()) for s in stream)])


@dataclass(frozen=True)
class Capabilities:
    """What rule and reference can do, found before any check.

    Args:
        takes_doubles: Whether the rule computes in double precision.
        has_reference: Whether there is a reference that JAX can differentiate.
        reference_problem: Why JAX cannot differentiate the reference; "" if it can, or if there is none.
        is_single: Whether the rule computes in single precision in 64-bit mode too.
    """

    takes_doubles: bool = False
    has_reference: bool = False
    reference_problem: str = ""
    is_single: bool = False

    def but(self, **changes: Any) -> "Capabilities":
        """These, but for some."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, eq=False)
class Session:
    """A rule under the checks."""

    subject: Subject
    options: Options
    programs: Programs
    can: Capabilities
    findings: Findings = field(default_factory=Findings)

    @property
    def is_reference_given(self) -> bool:
        """Whether the caller gave the reference: then it can be to blame."""
        return self.can.has_reference and self.subject.origin == Origin.GIVEN

    @property
    def example(self) -> list:
        """The example's leaves, as given."""
        return list(self.subject.leaves)

    @property
    def working(self) -> list:
        """The example, in double precision if the rule computes in it."""
        return widened(self.example) if self.can.takes_doubles else self.example

    def without_entries(self) -> list[str]:
        """Paths of the arguments without entries, if no check compared their cotangent at another shape."""
        subject = self.subject
        indices = [i for k, i in enumerate(subject.with_gradient) if k not in self.findings.compared]
        return [subject.paths[i] for i in indices if not subject.leaves[i].size]

    # Evaluation.

    def output_bars(self, leaves: Leaves, *stream: Any) -> list[np.ndarray]:
        """Gaussian cotangents for these leaves, in the output's dtypes: ones would hide a sum over the output."""
        return gaussians(self.programs.out_shapes(leaves), self.options.rng("cotangent", *stream))

    def pull(self, leaves: Leaves, output_bars: Leaves) -> tuple[list, list]:
        """The rule's outputs and cotangents."""
        return self.programs.pull[is_wide(leaves)](list(leaves), list(output_bars))

    def value(self, leaves: Leaves) -> list:
        """The undifferentiated value."""
        return self.programs.value[is_wide(leaves)](list(leaves))

    def value_overflows(self, leaves: Leaves, output_bars: Leaves) -> bool:
        """Whether the value is not finite in this dtype, but finite in double precision: f16 ends at 65504."""
        outs, _ = self.pull(leaves, output_bars)
        exact, _ = self.reference_program(widened(leaves), all_wide(output_bars))
        return any(
            (~np.isfinite(a) & np.isfinite(b)).any() for a, b in zip(all_wide(outs), all_wide(exact), strict=True)
        )

    @property
    def reference_program(self) -> Program:
        """The reference's outputs and cotangents, in double precision."""
        if self.programs.reference_pull is None:
            raise NotRun("there is no reference")
        return self.programs.reference_pull

    def need_reference(self, *, compiled: bool = False) -> None:
        """NotRun without a reference; with `compiled`, for sweeps of many calls, also if jit refuses the rule."""
        if compiled and any(program.untraceable for program in self.programs.pull.values()):
            raise NotRun("the rule cannot be compiled")
        if not self.can.has_reference:
            raise NotRun("there is no reference that JAX can differentiate")

    def narrow_reference_bars(self, leaves: Leaves, output_bars: Leaves) -> list:
        """The reference's cotangents in the dtype of the leaves; RaisedError if it does not take this dtype."""
        if self.programs.narrow_reference_pull is None:
            raise NotRun("there is no reference")
        return self.programs.narrow_reference_pull(list(leaves), list(output_bars))[1]

    def reference_stops_gradients(self) -> bool:
        """Whether the reference has a stop_gradient: its author wants another gradient than the derivative."""
        closed = self.programs.reference_in[True].jaxpr(widened(self.example))
        return any(equation.primitive.name == "stop_gradient" for equation in all_equations(closed.jaxpr))

    def expected(self, leaves: Leaves, output_bars: Leaves) -> tolerance.Expected:
        """What the reference gives there, with allowances."""
        self.need_reference()
        return tolerance.expected(self.reference_program, leaves, output_bars, self.options.rng("perturbations"))

    def own_expected(self, leaves: Leaves, output_bars: Leaves) -> tolerance.Expected:
        """What the rule itself gives there, with the allowances of its own conditioning."""
        program = self.programs.pull[is_wide(self.working)]
        return tolerance.expected(program, leaves, output_bars, self.options.rng("perturbations"))

    def best_expected(self, leaves: Leaves, output_bars: Leaves) -> tolerance.Expected:
        """What the reference gives there; without a reference, the rule."""
        return (self.expected if self.can.has_reference else self.own_expected)(leaves, output_bars)

    # Finite differences.

    def difference(self, leaves: Leaves, output_bars: Leaves, directions: Mapping[int, np.ndarray]) -> Difference:
        """The derivative of <output_bars, f> along directions of some cotangents' leaves, by their numbers."""
        # In double precision; if the rule does not compute in it, by the reference's value.
        can = self.can
        in_doubles = can.takes_doubles or (can.has_reference and (self.is_reference_given or not can.is_single))
        primal = self.programs.reference_in[True] if in_doubles and not can.takes_doubles else self.value
        leaves = widened(leaves) if in_doubles else list(leaves)
        indices = [self.subject.with_gradient[k] for k in directions]

        def values(t: float) -> list[np.ndarray]:
            moved = [
                (leaves[i] + t * d).astype(leaves[i].dtype) for i, d in zip(indices, directions.values(), strict=True)
            ]
            try:
                return all_wide(primal(replaced(leaves, indices, moved)))
            except RaisedError:  # the step leaves the domain of a function that raises outside it
                return [np.full(np.shape(b), np.nan) for b in output_bars]

        return differences.along(values, output_bars, differences.DOUBLE if in_doubles else tolerance.precision(leaves))

    def entry_difference(
        self, leaves: Leaves, output_bars: Leaves, number: int, entry: tuple[int, ...], unit: int | complex = 1
    ) -> Difference:
        """The partial derivative by one entry, in the units of that entry."""
        start = as_wide(leaves[self.subject.with_gradient[number]])
        scale = max(float(abs(start[entry])), rms(start)) or 1.0
        direction = np.zeros_like(start)
        direction[entry] = scale * unit
        return self.difference(leaves, output_bars, {number: direction}).scaled(1 / scale)

    @functools.cached_property
    def smooth_point(self) -> list:
        """The example in double precision; moved a little if it stands on a kink or a tie."""
        leaves = self.working
        expected = self.best_expected(leaves, self.output_bars(leaves, "smooth point"))
        if not any(jumps.any() for jumps in expected.jumps):
            return leaves
        rng, moved = self.options.rng("off the kinks"), []
        for leaf in leaves:
            wide = as_wide(leaf) if is_inexact(leaf) else leaf
            step = 0.05 * (rms(wide) or 1.0) * rng.normal(size=leaf.shape) if is_inexact(leaf) else 0
            moved.append(
                np.where(np.isfinite(wide), wide + step, wide).astype(leaf.dtype) if is_inexact(leaf) else leaf
            )
        return moved if are_finite(self.value(moved)) else leaves

    @functools.cached_property
    def slopes(self) -> list[Slope]:
        """For each cotangent, its slope along one random direction beside that of finite differences."""
        leaves, rng = self.smooth_point, self.options.rng("directions")
        output_bars = self.output_bars(leaves, "directions")
        _, bars = self.pull(leaves, output_bars)
        expected = self.best_expected(leaves, output_bars)
        found = []
        for k, (i, bar) in enumerate(zip(self.subject.with_gradient, bars, strict=True)):
            leaf = as_wide(leaves[i])
            direction = np.abs(np.where(np.isfinite(leaf), leaf, 0)) + (0.1 * rms(leaf) or 1.0)
            direction = np.where(np.isfinite(leaf), direction * rng.normal(size=leaf.shape), 0).astype(leaf.dtype)
            difference = self.difference(leaves, output_bars, {k: direction})
            found.append(Slope.of(as_wide(bar), direction, difference, expected.bar_allowed[k]))
        return found

    def undecided(self) -> list[str]:
        """Paths of the cotangents that nothing can judge: finite differences do not settle, nor does the reference."""
        pairs = zip(self.subject.gradient_paths, self.slopes, strict=True)
        open_ones = [(k, path) for k, (path, slope) in enumerate(pairs) if not slope.difference.conclusive]
        if not self.can.has_reference or not open_ones:
            return [path for _, path in open_ones]
        leaves = self.smooth_point
        expected = self.expected(leaves, self.output_bars(leaves, "smooth point"))
        return [path for k, path in open_ones if expected.hopeless[k] or expected.jumps[k].mean() > 0.5]

    def sizes(self, leaves: Leaves, output_bars: Leaves) -> dict[str, int]:
        """The numbers that a wrong factor may be."""
        batches = {b.shape[0] for b in output_bars if b.ndim}
        sizes: dict[str, int] = {}
        for path, leaf in zip(self.subject.paths, leaves, strict=True):
            for axis, n in enumerate(np.shape(leaf)):
                is_batch = axis == 0 and batches == {n} and np.ndim(leaf) > 1
                sizes.setdefault("the batch size" if is_batch else f"the size of axis {axis} of {path}", n)
        for path, leaf in zip(self.subject.paths, leaves, strict=True):
            sizes.setdefault(f"the number of entries of {path}", np.size(leaf))
        return sizes | {"the number of entries of the output": sum(b.size for b in output_bars)}
