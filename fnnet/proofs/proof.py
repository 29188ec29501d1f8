"""`Proof`: what has to be shown of a rule. `Configuration` and `Case`: the arguments at which it is shown."""

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core.partials import innermost
from fnnet.core.registration import Rule

Arrays = dict[str, Any]
NO_FEATURES: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Configuration:
    """Static keywords of a rule, and a function that draws arrays of the shapes that go with them.

    Args:
        arrays: arrays(generator) -> the arrays by name, in the order of the function's parameters. It may be called
            more than once, for several examples of the same shapes. Floating arrays are rounded to float32.
        static: Values of the keywords that are not arrays.
        title: What is particular about this configuration, in words.
        features: What it shows, for `Proof.covers`.
    """

    arrays: Callable[[np.random.Generator], Arrays]
    static: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    features: frozenset[str] = NO_FEATURES


@dataclass(frozen=True, eq=False)
class Proof:
    """What has to be shown of a rule: `fnnet check`, `fnnet.trace` and the tests of all rules derive from it.

    Args:
        function: The rule, or the public function around it: function(**arrays, **static).
        reference: The same from jax.lax, jax.nn and jax.numpy alone; JAX differentiates it.
        examples: The configurations at which `fnnet check` runs every check, the most usual one first.
        parameters: The arrays that never carry batch axes, such as a kernel.
        differentiated: The arrays that have a gradient; all floating ones by default. The other floating arrays are
            fixed, as static values are.
        sample: sample(generator) -> a random configuration, for the contract tests; by default one of `examples`.
        covers: Features that the drawn configurations must show.
        tiny: A configuration that is small enough for a whole Hessian; by default the first example.
        forms: More configurations, of one example without a batch axis, each computed in another way: by them the
            batch is shared among devices.
        refused: For an argument, the values that the function must refuse with an error that names it, at the first
            example. Arrays refuse what is no array without being told.
        is_heavy: Whether each drawn configuration compiles a program of its own: then fewer are drawn.
        cancels: Whether gradients are differences of numbers near each other, as those of a saturated sigmoid: then
            rounding of the incoming cotangent's size is no error, in the reference neither.
        loops: Whether it is a loop on any platform, over steps that need each other or blocks of rows.
        call: call(function, **arguments) -> one array with the batch axes in front, for a function that takes or
            returns several arrays in one argument or output; None: function(**arguments).
    """

    function: Callable
    reference: Callable
    examples: Sequence[Configuration]
    parameters: tuple[str, ...] = ()
    differentiated: tuple[str, ...] | None = None
    sample: Callable[[np.random.Generator], Configuration] | None = None
    covers: frozenset[str] = NO_FEATURES
    tiny: Configuration | None = None
    forms: Sequence[Configuration] = ()
    refused: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    is_heavy: bool = False
    cancels: bool = False
    loops: bool = False
    call: Callable | None = None

    @property
    def name(self) -> str:
        """The function's name."""
        return innermost(self.function).__name__

    @property
    def page(self) -> str:
        """The name of the module that defines the function: tests of everyday take one rule of each page."""
        function = innermost(self.function)
        return (function.forward if isinstance(function, Rule) else function).__module__.rpartition(".")[2]

    def called(self, function: Callable, arrays: Arrays, static: Mapping[str, Any]) -> Any:
        """What the function or the reference gives; the first arguments by place, which may have other names."""
        if self.call is not None:
            return self.call(function, **arrays, **static)
        signature = self.function.signature if isinstance(self.function, Rule) else inspect.signature(self.function)
        first = list(itertools.takewhile(arrays.__contains__, signature.parameters))
        first = [n for n in first if signature.parameters[n].kind is not inspect.Parameter.KEYWORD_ONLY]
        others = {name: array for name, array in arrays.items() if name not in first}
        return function(*(arrays[name] for name in first), **others, **static)

    def at_examples(self) -> list["Case"]:
        """A case for each example."""
        return [Case(self, example, self._key(example.title)) for example in self.examples]

    def at_forms(self) -> list["Case"]:
        """A case for each of `forms`; where there is none, for the first example."""
        return [Case(self, form, self._key(form.title)) for form in self.forms or self.examples[:1]]

    def case(self, index: int) -> "Case":
        """The drawn case of that number: always the same."""
        generator = np.random.default_rng([*self._key(), index])
        sample = self.sample or (lambda rng: self.examples[int(rng.integers(len(self.examples)))])
        return Case(self, sample(generator), (*self._key(), index + 1))

    def tiny_case(self) -> "Case":
        """The case for whole Hessians."""
        return Case(self, self.tiny or self.examples[0], (*self._key(), 0))

    def _key(self, title: str = "") -> tuple[int, ...]:
        return *self.name.encode(), *title.encode()


@dataclass(frozen=True, eq=False)
class Case:
    """A rule at one configuration, with random numbers of its own.

    Args:
        proof: Of the rule.
        configuration: The shapes and static values.
        key: The seed of its random numbers.
    """

    proof: Proof
    configuration: Configuration
    key: tuple[int, ...]

    @property
    def title(self) -> str:
        """The rule, and what is particular about the configuration."""
        return ", ".join(filter(None, (self.proof.name, self.configuration.title)))

    @property
    def static(self) -> tuple[tuple[str, Any], ...]:
        """The static keywords and their values."""
        return tuple(self.configuration.static.items())

    def generator(self, stream: int) -> np.random.Generator:
        """Random numbers of this case; streams are independent."""
        return np.random.default_rng([*self.key, stream])

    @functools.cached_property
    def arrays(self) -> Arrays:
        """The arrays of the first draw: floating ones in float64, at numbers that float32 has too."""
        return self.draw(0)

    def draw(self, number: int) -> Arrays:
        """Other arrays of the same shapes."""
        drawn = self.configuration.arrays(self.generator(1000 + number))
        return {name: _as_float32_values(array) for name, array in drawn.items()}

    @property
    def differentiated(self) -> tuple[str, ...]:
        """The arrays that have a gradient."""
        named = self.arrays if self.proof.differentiated is None else self.proof.differentiated
        return tuple(name for name in named if name in self.arrays and self.arrays[name].dtype.kind == "f")

    @property
    def variables(self) -> Arrays:
        """The arrays that a checker may change: all but floating ones without a gradient, such as class weights."""
        return {n: a for n, a in self.arrays.items() if a.dtype.kind != "f" or n in self.differentiated}

    def in_dtype(self, dtype: str) -> Arrays:
        """The variables, the floating ones in `dtype`."""
        return cast(self.variables, dtype)

    @property
    def function(self) -> Callable:
        """The rule as a function of `variables` alone, in their order."""
        return self._of_variables(self.proof.function)

    @property
    def reference(self) -> Callable:
        """The same of the reference."""
        return self._of_variables(self.proof.reference)

    def _of_variables(self, function: Callable) -> Callable:
        names = tuple(self.variables)
        fixed = {n: a for n, a in self.arrays.items() if n not in names}

        def of_variables(*arrays: Any) -> Any:
            given = dict(zip(names, arrays, strict=True)) | fixed
            return self.proof.called(function, given, self.configuration.static)

        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
        of_variables.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return of_variables

    def __str__(self) -> str:
        """The title, the arrays' shapes, the static values, and the seed's last number."""
        arrays = ", ".join(f"{name}{list(array.shape)}" for name, array in self.arrays.items())
        static = ", ".join(f"{name}={value!r}" for name, value in self.static)
        return f"{self.title}: {arrays}; {static}; key {self.key[-1]}"


def cast(arrays: Arrays, dtype: str) -> Arrays:
    """The arrays with the floating ones in `dtype`."""
    return {n: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a for n, a in arrays.items()}


def _as_float32_values(array: Any) -> Any:
    """Doubles that are float32 numbers too, so that one reference in double precision serves both."""
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    return array.astype(np.float32).astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array
