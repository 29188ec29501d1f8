"""`functools.partial`: the one wrapper that fnnet looks into, since what it computes is known from what it binds.

`jax.jit`, `jax.vmap`, `functools.wraps` and their like set `__wrapped__`, which does not say what the wrapper computes.
"""

import functools
from typing import Any

import jax


def is_partial(function: Any) -> bool:
    """Whether `function` calls function.func with function.args and function.keywords."""
    return isinstance(function, functools.partial) or (type(function) is _BOX and hasattr(function, "func"))


def innermost(function: Any) -> Any:
    """The function under all partials."""
    while is_partial(function):
        function = function.func
    return function


def arguments_bound(function: Any) -> dict[Any, Any]:
    """What the partials around a function bind, by keyword, or by position in the partial; the outer ones count."""
    found: dict[Any, Any] = {}
    while is_partial(function):
        found = dict(enumerate(function.args)) | function.keywords | found
        function = function.func
    return found


# jax.tree_util.Partial puts a partial into a box, which has its func, args and keywords.
_BOX = type(jax.tree_util.Partial(functools.partial(is_partial)).func)
