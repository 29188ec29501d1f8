"""Which program a platform gets: the plain function as a rule's page has it, or a faster form for CPUs."""

import functools
from collections.abc import Callable
from typing import Any

from jax import lax


def on_cpu(fast: Callable) -> Callable[[Callable], Callable]:
    """Decorator: a CPU computes `fast` instead of the function, from the same arguments; GPUs and TPUs the function.

    The choice is made when the program is lowered, so each platform gets one of the two only. Keywords are static.
    """

    def decorate(plain: Callable) -> Callable:
        @functools.wraps(plain)
        def of_platform(*arrays: Any, **static: Any) -> Any:
            functions = (functools.partial(function, **static) for function in (fast, plain))
            return _chosen(*functions, *arrays)

        return of_platform

    return decorate


def _chosen(fast: Callable, plain: Callable, *arrays: Any) -> Any:
    return lax.platform_dependent(*arrays, cpu=fast, default=plain)
