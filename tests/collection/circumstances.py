"""Where a wrong rule shows its error: each circumstance is one sort of disagreement with the reference."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Circumstance:
    """One of those below."""


@dataclass(frozen=True)
class Here(Circumstance):
    """At the example arguments, in that dtype, against the reference in f64."""

    dtype: str = "float64"


@dataclass(frozen=True)
class At(Circumstance):
    """At other arguments: an edge value, another shape."""

    args: Callable[[], tuple]
    dtype: str = "float64"


@dataclass(frozen=True)
class Mapped(Circumstance):
    """grad of vmap, these arguments mapped (True) or not, against a sum over a Python loop of the reference."""

    mapped: tuple[bool, ...]


@dataclass(frozen=True)
class SecondOrder(Circumstance):
    """The gradient of the gradient, in a random direction."""

    args: Callable[[], tuple] | None = None


@dataclass(frozen=True)
class Value(Circumstance):
    """The value under differentiation is not the undifferentiated value."""


@dataclass(frozen=True)
class Structure(Circumstance):
    """The raw backward raises, or a cotangent has not its argument's tree, shape or dtype, in that dtype."""

    dtype: str = "float32"
    args: Callable[[], tuple] | None = None


@dataclass(frozen=True)
class Repeated(Circumstance):
    """The same pullback, called twice, gives two results, or raises the second time."""


@dataclass(frozen=True)
class Interleaved(Circumstance):
    """Two forwards, then the first one's backward."""


@dataclass(frozen=True)
class Raises(Circumstance):
    """Works as it stands, and raises under that transformation."""

    transform: Callable[[Callable], Callable]


@dataclass(frozen=True)
class Kink(Circumstance):
    """At a kink: not the reference's value, but the mean of its values at arguments nudged off the kink."""

    args: Callable[[], tuple]
    nudged: Callable[[], list[tuple[Any, ...]]]
