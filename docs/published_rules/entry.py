"""What an entry is: a published function, arguments to try it at, and what people should know who read the table."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Entry:
    """A published function with a gradient of its own, or built on such.

    Args:
        package: The distribution that has it.
        name: What it is called there.
        make: make() -> (f, *example arguments); imports the package.
        reference: A plain JAX function of the same signature; None where f without its custom rule is one.
        documented: What the package itself says about a difference, where it says so.
        said: Why the verdict is what it is, where the report alone does not tell.
        fault: Key of the fault in reproduced.py, where it is wrong.
        x64: Whether double precision is enabled.
        options: Further options of `fnnet.check`.
    """

    package: str
    name: str
    make: Callable[[], tuple]
    reference: Callable | None = None
    documented: str = ""
    said: str = ""
    fault: str = ""
    x64: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def single(f: Callable, *args: Any) -> Any:
    """f in single precision, whatever it is given."""
    narrow = [a if a.dtype == bool else a.astype(np.float32) for a in args]
    return f(*narrow).astype(args[0].dtype)


def normal(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Gaussian numbers, always the same."""
    return np.asarray(scale * np.random.default_rng([11, seed]).normal(size=shape), np.float32)


def uniform(seed: int, *shape: int, low: float = 0.1, high: float = 0.9) -> np.ndarray:
    """Numbers between two bounds, always the same."""
    return np.asarray(np.random.default_rng([12, seed]).uniform(low, high, size=shape), np.float32)
