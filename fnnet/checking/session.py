"""One run of the checker: the subject, its programs, what the caller asked for, and what was found so far."""

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fnnet.checking import differences, tolerance
from fnnet.checking.differences import Difference
from fnnet.checking.programs import TRACING, Program, Programs, RaisedError, as_wide, is_wide, widened
from fnnet.checking.report import Failure
from fnnet.checking.subject import GIVEN, WITHOUT, Subject, is_moving
from fnnet.checking.undecorated import has_rules

Leaves = Sequence[Any]
SINGLE_DIGITS = 1e-4  # of a value that is right in single precision
TINY = 2.0**-23  # a relative step; to both sides of a point, the mean of a smooth function's values stays the same


class NotRun(Exception):
    """A check cannot run here; the message is the reason."""


@dataclass(frozen=True)
class Options:
    """What the caller of `check` asked for."""

    dtypes: tuple[str, ...] = ("float64", "float32", "bfloat16", "float16")
    mapped: tuple[str, ...] | None = None
    second_order: bool | None = None
    ties: str = "any"
    seed: int = 0


@dataclass(frozen=True)
class Convention:
    """What the rule does at a kink or a tie, where the reference does something else."""

    argument: str
    rule: str
    reference: str
    circumstance: str
    count: int
    size: int


@dataclass(frozen=True)
class Slope:
    """A rule's slope along a random direction of one argument, beside that of finite differences."""

    difference: Difference
    rule: float
    slack: float

    @property
    def error(self) -> float:
        """How far the two are apart."""
        return abs(self.rule - self.difference.value)

    @property
    def allowed(self) -> float:
        """How far they may be."""
        return self.difference.uncertainty + self.slack

    @property
    def agrees(self) -> bool:
        """Whether finite differences confirm the rule."""
        return self.difference.conclusive and bool(self.error <= self.allowed)


@dataclass(eq=False)
class Session:
    """The state of one run.

    `settled` are the cotangents that failed check R at the example itself: later checks do not ask what is wrong.
    `compared`: the cotangents of which entries were compared with the reference's or with finite differences.
    `is_single`: in double precision too, the rule computes in single precision. `is_confirmed`: a failure was seen that
    is not the compiler's. `is_alone`: one was, so that the checks go on operation by operation.
    """

    subject: Subject
    options: Options
    programs: Programs
    failures: list[Failure] = field(default_factory=list)
    conventions: list[Convention] = field(default_factory=list)
    shared: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    settled: dict[int, Failure] = field(default_factory=dict)
    not_conclusive: set[str] = field(default_factory=set)
    not_finite: set[int] = field(default_factory=set)
    partly_not_run: dict[str, str] = field(default_factory=dict)
    power: Any = None
    has_reference: bool = False
    compared: set[int] = field(default_factory=set)
    takes_doubles: bool = False
    is_single: bool = False
    is_confirmed: bool = False
    is_alone: bool = False
    _slopes: list["Slope"] | None = None

    @property
    def is_reference_given(self) -> bool:
        """Whether the caller named the reference: then it can be to blame."""
        return self.has_reference and self.subject.origin == GIVEN

    @property
    def example(self) -> list:
        """The example's leaves, as given."""
        return list(self.subject.leaves)

    @property
    def working(self) -> list:
        """The example in double precision, where the rule takes it."""
        return widened(self.example) if self.takes_doubles else self.example

    def empty_paths(self) -> list[str]:
        """Arguments without entries, where no check compared a cotangent at another shape."""
        places = enumerate(self.subject.places)
        return [self.subject.paths[i] for k, i in places if k not in self.compared and not self.subject.leaves[i].size]

    def rng(self, *stream: Any) -> np.random.Generator:
        """Random numbers of this stream, always the same."""
        return np.random.default_rng([self.options.seed, *(zlib.crc32(str(s).encode()) for s in stream)])

    def prepare(self) -> None:
        """Find out whether the rule takes double precision, and whether the reference can be differentiated."""
        outs = self.out_shapes(self.example)
        if not self.subject.places:
            raise ValueError(f"check: {self.subject.name} has no floating argument, so there is no gradient to check")
        if not outs:
            raise ValueError(f"check: {self.subject.name} has no floating output, so there is no gradient to check")
        doubles = widened(self.example)
        try:
            wide = self.programs.value[True].shape(doubles)
            bars = [np.zeros(o.shape, o.dtype) for o in wide]
            self.programs.pull[True].shape(doubles, bars)
            self.takes_doubles = all(np.dtype(o.dtype) in (np.float64, np.complex128) for o in wide)
        except RaisedError:  # check D says what it raises
            self.takes_doubles = False
        if self.takes_doubles and not is_wide(self.example) and self.subject.origin != GIVEN:
            self._notice_single_precision(doubles)
        if self.programs.reference_pull is None:
            return
        try:
            values = self.programs.reference_in[True].shape(doubles)
            if [v.shape for v in values] != [o.shape for o in outs]:
                ours, theirs = ([tuple(s.shape) for s in shapes] for shapes in (outs, values))
                raise ValueError(f"ValueError: its output has the shapes {theirs}, the rule's has {ours}")
            self.programs.reference_pull.shape(doubles, [np.zeros(o.shape) for o in outs])
            self.has_reference = True
            if self.takes_doubles and self.is_reference_given and not is_wide(self.example):
                self._notice_single_precision(doubles)
            if self.subject.origin == WITHOUT and not has_rules(
                self.subject.function, self.subject.merge(self.example)
            ):
                self.notes.append(
                    f"R: {self.subject.name} has no backward of its own, and is its own reference: only finite "
                    "differences are independent of it"
                )
        except (RaisedError, ValueError) as problem:
            said = f"{self.subject.origin} cannot be differentiated: {problem}"
            if self.subject.origin == GIVEN:
                self.failures.append(Failure("R", "", "", said, blame="reference"))
            self.notes.append(said)

    def _notice_single_precision(self, doubles: Leaves) -> None:
        """Some rules compute in f32 whatever they are given: then there is no digit more to check in f64.

        It shows beside a reference that was given; without one, in how coarsely the value follows tiny steps.
        """
        try:
            if "f32[" not in str(self.programs.value[True].jaxpr(doubles)):
                return
        except TRACING:
            return
        if self.is_reference_given:
            other = self.programs.reference_in[True](doubles)
        else:
            rng = self.rng("tiny step")
            steps = [TINY * a * rng.normal(size=a.shape) if is_moving(a) else 0 for a in doubles]
            sides = (self.value([a + side * s for a, s in zip(doubles, steps, strict=True)]) for side in (1, -1))
            other = [(a + b) / 2 for a, b in zip(*sides, strict=True)]
        pairs = zip(self.value(doubles), other, strict=True)
        errors = [float(np.abs(a - b).max(initial=0)) / (float(np.abs(b).max(initial=0)) or 1) for a, b in pairs]
        if tolerance.NINE_DIGITS < max(errors) < SINGLE_DIGITS:
            self.takes_doubles, self.is_single = False, True
            said = "in f64 it computes in single precision"
            said += ", where the reference has double" if self.is_reference_given else ""
            self.notes.append(f"{said}: checked in the example's dtype alone")

    def reference_stops_gradients(self) -> bool:
        """Whether there is a stop_gradient in the reference: somebody wants another gradient than the derivative."""
        return "stop_gradient" in str(self.programs.reference_in[True].jaxpr(widened(self.example)))

    def out_shapes(self, leaves: Leaves) -> list:
        """Shapes and dtypes of the floating outputs at these leaves."""
        try:
            return self.programs.value[is_wide(leaves)].shape(leaves)
        except RaisedError as raised:
            problem = raised.problem
            problem.add_note(f"check: {self.subject.name} raises at the arguments {describe(self.subject, leaves)}")
            raise problem from None

    def output_bars(self, leaves: Leaves, *stream: Any) -> list[np.ndarray]:
        """Gaussian cotangents for these leaves, in the output's dtypes: ones would hide what sums over the output."""
        return gaussians(self.out_shapes(leaves), self.rng("cotangent", *stream))

    def pull(self, leaves: Leaves, output_bars: Leaves) -> tuple[list, list]:
        """The rule's outputs and cotangents."""
        return self.programs.pull[is_wide(leaves)](list(leaves), list(output_bars))

    def value(self, leaves: Leaves) -> list:
        """The undifferentiated value."""
        return self.programs.value[is_wide(leaves)](list(leaves))

    @property
    def reference_pull(self) -> Program:
        """The reference's outputs and cotangents; NotRun without one."""
        if not self.has_reference or self.programs.reference_pull is None:
            raise NotRun("there is no reference that JAX can differentiate")
        return self.programs.reference_pull

    def narrow_reference_bars(self, leaves: Leaves, output_bars: Leaves) -> list:
        """The reference's cotangents in the dtype of the leaves; RaisedError where it does not take it."""
        if self.programs.narrow_reference_pull is None:
            raise NotRun("there is no reference")
        return self.programs.narrow_reference_pull(list(leaves), list(output_bars))[1]

    @property
    def compiled_reference_pull(self) -> Program:
        """The same, for sweeps of many calls; NotRun where the rule cannot be compiled."""
        if any(program.untraceable for program in self.programs.pull.values()):
            raise NotRun("the rule cannot be compiled")
        return self.reference_pull

    def expected(self, leaves: Leaves, output_bars: Leaves) -> tolerance.Expected:
        """What the reference gives there, with allowances."""
        return tolerance.expected(self.reference_pull, leaves, output_bars, self.rng("perturbations"))

    def own_expected(self, leaves: Leaves, output_bars: Leaves) -> tolerance.Expected:
        """What the rule itself gives there, with the allowances of its own conditioning."""
        program = self.programs.pull[is_wide(self.working)]
        return tolerance.expected(program, leaves, output_bars, self.rng("perturbations"))

    # Finite differences.

    def difference(self, leaves: Leaves, output_bars: Leaves, directions: dict[int, np.ndarray]) -> Difference:
        """The derivative of <output_bars, f> along directions of some of the leaves that have a gradient."""
        # In double precision; by the reference's value where the rule's does not take it.
        in_doubles = self.takes_doubles or (self.has_reference and (self.is_reference_given or not self.is_single))
        primal = self.programs.reference_in[True] if in_doubles and not self.takes_doubles else self.value
        leaves = widened(leaves) if in_doubles else list(leaves)

        def values(t: float) -> list[np.ndarray]:
            moved = list(leaves)
            for number, direction in directions.items():
                place = self.subject.places[number]
                moved[place] = (leaves[place] + t * direction).astype(leaves[place].dtype)
            try:
                return [as_wide(a) for a in primal(moved)]
            except RaisedError:  # the step leaves the domain of a function that refuses aloud
                return [np.full(np.shape(b), np.nan) for b in output_bars]

        return differences.along(values, output_bars, differences.DOUBLE if in_doubles else tolerance.precision(leaves))

    def entry_difference(
        self, leaves: Leaves, output_bars: Leaves, number: int, entry: tuple[int, ...], unit: int | complex = 1
    ) -> Difference:
        """The partial derivative by one entry, in the units of that entry."""
        start = as_wide(leaves[self.subject.places[number]])
        scale = max(float(abs(start[entry])), rms(start)) or 1.0
        direction = np.zeros_like(start)
        direction[entry] = scale * unit
        found = self.difference(leaves, output_bars, {number: direction})
        return found.scaled(1 / scale)

    @functools.cached_property
    def smooth_point(self) -> list:
        """The example in double precision; moved a little where it stands on a kink or a tie."""
        leaves = self.working
        output_bars = self.output_bars(leaves, "smooth point")
        expected = (self.expected if self.has_reference else self.own_expected)(leaves, output_bars)
        if not any(jumps.any() for jumps in expected.jumps):
            return leaves
        rng, moved = self.rng("off the kinks"), []
        for leaf in leaves:
            wide = as_wide(leaf) if is_moving(leaf) else leaf
            step = 0.05 * (rms(wide) or 1.0) * rng.normal(size=leaf.shape) if is_moving(leaf) else 0
            moved.append(np.where(np.isfinite(wide), wide + step, wide).astype(leaf.dtype) if is_moving(leaf) else leaf)
        return moved if all(np.isfinite(as_wide(o)).all() for o in self.value(moved)) else leaves

    def undecided(self) -> list[str]:
        """Cotangents of which nothing can be told: finite differences do not settle, nor does the reference."""
        if not self.has_reference:
            return [
                path
                for path, slope in zip(self.subject.moving_paths(), self.slopes(), strict=True)
                if not slope.difference.conclusive
            ]
        leaves = self.smooth_point
        expected = self.expected(leaves, self.output_bars(leaves, "smooth point"))
        found = zip(self.subject.moving_paths(), self.slopes(), expected.hopeless, expected.jumps, strict=True)
        return [
            path
            for path, slope, hopeless, jumps in found
            if not slope.difference.conclusive and (hopeless or jumps.mean() > 0.5)
        ]

    def slopes(self) -> list[Slope]:
        """For each cotangent, its slope along one random direction; found once."""
        if self._slopes is None:
            leaves, rng = self.smooth_point, self.rng("directions")
            output_bars = self.output_bars(leaves, "directions")
            _, bars = self.pull(leaves, output_bars)
            expected = (self.expected if self.has_reference else self.own_expected)(leaves, output_bars)
            self._slopes = []
            for k, (place, bar) in enumerate(zip(self.subject.places, bars, strict=True)):
                leaf = as_wide(leaves[place])
                finite = np.where(np.isfinite(leaf), leaf, 0)
                direction = np.abs(finite) + (0.1 * rms(leaf) or 1.0)
                direction = np.where(np.isfinite(leaf), direction * rng.normal(size=leaf.shape), 0).astype(leaf.dtype)
                found = self.difference(leaves, output_bars, {k: direction})
                parts = as_wide(bar) * direction
                slack = expected.bar_allowed[k] * float(np.abs(direction).sum())
                slack += tolerance.NINE_DIGITS * float(np.abs(parts).sum())
                self._slopes.append(Slope(found, float(np.sum(parts).real), slack))
        return self._slopes

    def sizes(self, leaves: Leaves, output_bars: Leaves) -> dict[str, int]:
        """The numbers that a wrong factor may be."""
        batches = {b.shape[0] for b in output_bars if b.ndim}
        sizes: dict[str, int] = {}
        for path, leaf in zip(self.subject.paths, leaves, strict=True):
            for axis, n in enumerate(np.shape(leaf)):
                name = (
                    "the batch size"
                    if axis == 0 and batches == {n} and np.ndim(leaf) > 1
                    else f"the size of axis {axis} of {path}"
                )
                sizes.setdefault(name, n)
        for path, leaf in zip(self.subject.paths, leaves, strict=True):
            sizes.setdefault(f"the number of entries of {path}", np.size(leaf))
        return sizes | {"the number of entries of the output": sum(b.size for b in output_bars)}


def gaussians(shapes: Sequence[Any], rng: np.random.Generator) -> list[np.ndarray]:
    """Normal numbers of these shapes and dtypes."""

    def one(shape: Any) -> np.ndarray:
        values = rng.normal(size=shape.shape)
        if np.dtype(shape.dtype).kind == "c":
            values = values + 1j * rng.normal(size=shape.shape)
        return np.asarray(values).astype(shape.dtype)

    return [one(shape) for shape in shapes]


def jittered(leaves: Leaves, rng: np.random.Generator, by: float = 0.2) -> list:
    """Leaves like these: every number shrunk by up to `by` of itself, so that signs, zeros and bounds stay."""

    def one(leaf: Any) -> Any:
        if not is_moving(leaf):
            return leaf
        factors = 1 - by * rng.random(leaf.shape)
        finite = np.isfinite(as_wide(leaf))
        return np.where(finite, np.where(finite, as_wide(leaf), 0) * factors, leaf).astype(leaf.dtype)

    return [one(leaf) for leaf in leaves]


def rms(a: Any) -> float:
    """Root mean square of the finite entries."""
    finite = np.abs(a[np.isfinite(a)])
    return float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0


def describe(subject: Subject, leaves: Leaves) -> str:
    """The leaves in words: x f32[2, 5], labels i32[2]."""
    return ", ".join(f"{path} {leaf_type(leaf)}" for path, leaf in zip(subject.paths, leaves, strict=True))


def leaf_type(leaf: Any) -> str:
    """A leaf's dtype and shape, shortly."""
    short = {"float": "f", "bfloat": "bf", "int": "i", "uint": "u", "complex": "c"}
    name = str(leaf.dtype)
    kind = name.rstrip("0123456789")
    return f"{short.get(kind, kind)}{name[len(kind) :]}[{','.join(map(str, leaf.shape))}]"
