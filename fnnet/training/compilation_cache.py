"""Compiled programs kept in a directory for later processes: JAX's persistent compilation cache, for one call."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import jax

from fnnet.core.arguments import described

P = ParamSpec("P")
T = TypeVar("T")


@contextlib.contextmanager
def programs_kept(argument: str, directory: Any) -> Iterator[None]:
    """JAX takes compiled programs from a directory, and writes new ones there; None changes nothing.

    JAX's own directory and its least time of compilation are as before at the end, and its other settings throughout.

    Raises:
        TypeError: `directory` is no path.
        ValueError: It cannot be made. Both in the name of `argument`.
    """
    if directory is None:
        yield
        return
    settings = {
        "jax_compilation_cache_dir": _made(argument, directory),
        "jax_persistent_cache_min_compile_time_secs": 0.0,  # a training has many programs that compile quickly
    }
    before = {name: getattr(jax.config, name) for name in settings}
    try:
        _set(settings)
        yield
    finally:
        _set(before)


def keeping_programs(function: Callable[P, T]) -> Callable[P, T]:
    """The function, whose argument `compilation_cache` is the directory of `programs_kept`."""

    @functools.wraps(function)
    def kept(*args: P.args, **kwargs: P.kwargs) -> T:
        argument = f"{function.__name__}: compilation_cache"
        with programs_kept(argument, kwargs.get("compilation_cache")):
            return function(*args, **kwargs)

    return kept


def _set(settings: dict[str, Any]) -> None:
    from jax.experimental.compilation_cache import compilation_cache

    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # else JAX stays with the first directory of the process


def _made(argument: str, directory: Any) -> str:
    if not isinstance(directory, str | os.PathLike):
        raise TypeError(f'{argument} must be a directory, such as "~/.cache/fnnet", not {described(directory)}')
    path = Path(directory).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{argument} (={str(directory)!r}) must be a directory: {error.strerror}") from None
    return str(path)
