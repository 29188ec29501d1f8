"""Hints for layers used in another library's style: the error says what to write."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fnnet.core.habits import misfit_of

# Methods of other libraries' networks.
METHODS = {
    **dict.fromkeys(("forward", "call"), "net.apply(params, x) computes one example"),
    **dict.fromkeys(("predict", "predict_proba"), "jax.vmap(net.apply, (None, 0))(params, xs) computes a mini-batch"),
    "fit": "fnnet.fit(net, loss, optimizer, (xs, ys), key=0) trains it",
    "compile": "fnnet.fit(net, loss, optimizer, (xs, ys), key=0) trains it",
    "evaluate": "fnnet.evaluate(net, params, loss, (xs, ys)) does",
    "backward": "jax.grad computes gradients",
    "state_dict": "net.init(key, shape) returns the parameters, which the network does not hold",
    "get_weights": "net.init(key, shape) returns the parameters, which the network does not hold",
    "train": "net.apply with a key is in training",
    "eval": "net.apply without a key is in evaluation",
    "add": "a network is not changed; write fnnet.Sequential(*layers)",
    "append": "a network is not changed; write fnnet.Sequential(*layers)",
}


class Habits:
    """Base of `Layer`: errors for calls, arguments and attributes that a layer does not have."""

    def __new__(cls, *args: Any, **keywords: Any) -> Any:
        """Raises TypeError for an unknown argument, or too many; `copy` and `pickle` call this without arguments."""
        if args or keywords:
            misfit = misfit_of(cls.__name__, _parameters(cls.__init__), args, keywords, whole=False)
            if misfit is not None:
                raise misfit
        return super().__new__(cls)

    if not TYPE_CHECKING:  # or a type checker would take every attribute for one

        def __call__(self, *args: Any, **keywords: Any) -> None:
            """Raises TypeError: a layer holds no parameters."""
            raise TypeError(f"{type(self).__name__}: a layer holds no parameters; write layer.apply(params, x)")

        def __getattr__(self, name: str) -> Any:
            """Raises AttributeError, for a method of other libraries with what to write instead."""
            if name in METHODS:
                raise AttributeError(f"{type(self).__name__} has no {name}; {METHODS[name]}", name=name, obj=self)
            return object.__getattribute__(self, name)  # for Python's own error, or that of a property


@functools.lru_cache(maxsize=256)
def _parameters(constructor: Callable) -> Mapping[str, inspect.Parameter]:
    """Those of an __init__, without self."""
    return dict(list(inspect.signature(constructor).parameters.items())[1:])
