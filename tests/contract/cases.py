"""What a row of the table is, and a case drawn from it."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

import fnnet

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Draw:
    """One configuration: static keywords, and a function that draws arrays of its shapes.

    `arrays` may be called more than once, for several examples of one shape.
    """

    static: dict[str, Any]
    arrays: Callable[[np.random.Generator], Arrays]
    features: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Row:
    """A public rule, an independent reference, and how to draw configurations.

    Args:
        name: Name of the rule.
        function: function(**arrays, **static).
        reference: The same from jax.lax, jax.nn, jax.numpy or optax alone; JAX differentiates it.
        sample: sample(generator) -> Draw. Floating arrays are rounded to float32 and served in every dtype.
        differentiable: Arrays with a gradient.
        covers: Features that the drawn cases must show.
        tiny: A static configuration and arrays small enough for a whole Hessian.
        heavy: Whether each case compiles a program of its own.
        cancels: Whether gradients are differences of numbers near each other, as of a saturated sigmoid: then rounding
            of the incoming cotangent's size is no error, in the reference neither.
    """

    name: str
    function: Callable
    reference: Callable
    sample: Callable[[np.random.Generator], Draw]
    differentiable: tuple[str, ...]
    tiny: Draw
    covers: frozenset[str] = frozenset()
    heavy: bool = False
    cancels: bool = False

    def case(self, index: int) -> "Case":
        """The case of that number: always the same."""
        draw = self.sample(np.random.default_rng([*self.name.encode(), index]))
        return Case(self, index, draw)

    def tiny_case(self) -> "Case":
        """The case for whole Hessians."""
        return Case(self, -1, self.tiny)


@dataclass(frozen=True, eq=False)
class Case:
    """A row's configuration of a given number."""

    row: Row
    index: int
    draw: Draw = field(repr=False)

    @property
    def static(self) -> tuple[tuple[str, Any], ...]:
        """The static keywords and their values."""
        return tuple(self.draw.static.items())

    def generator(self, stream: int) -> np.random.Generator:
        """Random numbers of this case; streams are independent."""
        return np.random.default_rng([*self.row.name.encode(), self.index + 1, stream])

    @functools.cached_property
    def arrays(self) -> Arrays:
        """The arrays of the first example."""
        return self.example(0)

    def example(self, number: int) -> Arrays:
        """The arrays of another example of the same shapes."""
        drawn = self.draw.arrays(self.generator(1000 + number))
        return {name: _as_float32_values(array) for name, array in drawn.items()}

    @property
    def differentiable(self) -> tuple[str, ...]:
        """The arrays here that have a gradient."""
        given = (name for name in self.row.differentiable if name in self.arrays)
        return tuple(name for name in given if np.issubdtype(self.arrays[name].dtype, np.floating))

    @property
    def function(self) -> Callable:
        """The rule as a function of `variables` alone, in their order."""
        return self._of_variables(self.row.function)

    @property
    def reference(self) -> Callable:
        """The same of the reference."""
        return self._of_variables(self.row.reference)

    def _of_variables(self, function: Callable) -> Callable:
        fixed = self.draw.static | {n: a for n, a in self.arrays.items() if n not in self.variables}
        names = tuple(self.variables)

        def of_variables(*arrays: Any) -> Any:
            return function(**dict(zip(names, arrays, strict=True)), **fixed)

        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
        of_variables.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return of_variables

    @property
    def variables(self) -> Arrays:
        """The arrays that a checker may change: all but floating ones without a gradient, such as class weights."""
        return {n: a for n, a in self.arrays.items() if a.dtype.kind != "f" or n in self.row.differentiable}

    def in_dtype(self, dtype: str) -> Arrays:
        """The variables, the floating ones in `dtype`."""
        return cast(self.variables, dtype)

    def check(self, letters: str, dtype: str = "float64", **options: Any) -> list[str]:
        """What `fnnet.check` finds wrong; that a check could not be run too."""
        arrays = self.in_dtype(dtype).values()
        report = fnnet.check(
            self.function, *arrays, reference=self.reference, checks=letters, name=self.row.name, **options
        )
        return [*map(str, report.failures), *(f"{check} is not run: {why}" for check, why in report.not_run.items())]

    def __str__(self) -> str:
        arrays = ", ".join(f"{name}{list(array.shape)}" for name, array in self.arrays.items())
        static = ", ".join(f"{name}={value!r}" for name, value in self.static)
        return f"{self.row.name} case {self.index}: {arrays}; {static}"


def cast(arrays: dict, dtype: str) -> dict:
    """The arrays with the floating ones in `dtype`."""
    return {n: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a for n, a in arrays.items()}


def _as_float32_values(array: Any) -> np.ndarray:
    """Doubles that are float32 numbers too, so that one reference in double precision serves both."""
    array = np.asarray(array)
    return array.astype(np.float32).astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array
