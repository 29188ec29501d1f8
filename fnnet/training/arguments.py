"""The arguments of `fit` and `evaluate`: converted where their meaning is plain, else refused with what is needed."""

import functools
import inspect
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from fnnet.core.arguments import described
from fnnet.layers.protocol import function_name
from fnnet.training.history import History
from fnnet.training.placement import Batch

RATES = {"adam": 1e-3, "adamw": 1e-3, "momentum": 1e-2, "nadam": 1e-3, "rmsprop": 1e-3, "sgd": 1e-2}  # Keras' defaults
MOMENTUM = 0.9  # of "momentum", which is sgd with it
LOSSES = {
    **dict.fromkeys(("mse", "mean_squared_error", "squared_error", "l2"), "squared_error"),
    **dict.fromkeys(("bce", "binary_crossentropy"), "sigmoid_binary_cross_entropy"),
    **dict.fromkeys(("nll", "nll_loss"), "negative_log_likelihood"),
}
PAIRS = "the pair (xs, ys) of arrays, or an iterable of such pairs"


def at_least_one(function: str, argument: str, value: Any) -> None:
    """Raises ValueError where `value` is no integer of 1 or more; True is none."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{function}: {argument} (={value!r}) must be an integer of 1 or more")


def takes(function: Any, *args: Any, **keywords: Any) -> bool:
    """Whether a function can be called with such arguments, as far as Python knows."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*args, **keywords)
    except TypeError:
        return False
    return True


def as_network(function: str, net: Any, *, trains: bool = True) -> None:
    """Raises TypeError where `net` is no network, not hashable, or, if it `trains`, takes no key."""
    if isinstance(net, type):
        raise TypeError(f"{function}: net (={net.__name__}) is a class; write {net.__name__}(...)")
    if isinstance(net, list | tuple):
        raise TypeError(f"{function}: net is {described(net)}; write fnnet.Sequential(*layers)")
    if not (hasattr(net, "init") and hasattr(net, "apply")):
        raise TypeError(
            f"{function}: net must have init(key, shape) and apply(params, x, *, key), as fnnet.Sequential(...) has; "
            f"it is {described(net)}"
        )
    if not takes(net.apply, None, None):
        raise TypeError(f"{function}: net.apply must take apply(params, x, *, key=None), without a key in evaluation")
    if trains and not takes(net.apply, None, None, key=None):
        raise TypeError(f"{function}: net.apply must take apply(params, x, *, key=None), with a key in training")
    hashable(function, "net", net)


def as_loss(function: str, loss: Any) -> None:
    """Raises TypeError where `loss` is no function, or not hashable."""
    if isinstance(loss, type):
        raise TypeError(f"{function}: loss (={loss.__name__}) is a class; write {loss.__name__}()")
    if not callable(loss):
        meant = LOSSES.get(loss.lower(), "softmax_cross_entropy") if isinstance(loss, str) else "softmax_cross_entropy"
        raise TypeError(
            f"{function}: loss must be a function of outputs and ys, such as fnnet.{meant}, not {described(loss)}"
        )
    if not takes(loss, None, None):
        raise TypeError(f"{function}: loss must take two arguments, loss(outputs, ys); it is {described(loss)}")
    hashable(function, "loss", loss)


def refuse_pair(function: str, params: Any) -> None:
    """Raises TypeError where `params` is all that `fit` returns."""
    if isinstance(params, tuple) and len(params) == 2 and isinstance(params[1], History):
        raise TypeError(f"{function}: params is the pair (params, history) that fit returns; write params[0]")


def as_augment(function: str, augment: Any) -> None:
    """Raises TypeError where `augment` is no function of a key and an example, or not hashable."""
    if isinstance(augment, type) or not callable(augment):
        raise TypeError(
            f"{function}: augment must be a function augment(key, x), such as fnnet.data.Augment(shift=2), not "
            f"{described(augment)}"
        )
    if not takes(augment, None, None):
        raise TypeError(f"{function}: augment must take two arguments, augment(key, x); it is {described(augment)}")
    hashable(function, "augment", augment)


def hashable(function: str, argument: str, value: Any) -> None:
    """Raises TypeError where `value`, or one of several, is not hashable."""
    try:
        hash(value)
    except TypeError as error:
        raise TypeError(
            f"{function}: {argument} must be hashable, since compiled programs are kept by it: {error}"
        ) from None


def as_optimizer(function: str, optimizer: Any) -> Any:
    """An optax transformation as it is; one of the names in RATES as the optimiser of optax with that rate."""
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        return optimizer
    if isinstance(optimizer, str) and optimizer.lower() in RATES:
        return _named(optimizer.lower())
    import optax

    names = ", ".join(f'"{name}"' for name in RATES)
    name = optimizer.lower() if isinstance(optimizer, str) else function_name(optimizer)
    such = name if name.isidentifier() and callable(getattr(optax, name, None)) else "adam"
    raise TypeError(
        f"{function}: optimizer must be one of optax, such as optax.{such}(1e-3), or one of the names {names}, not "
        f"{described(optimizer)}"
    )


@functools.cache
def _named(name: str) -> Any:
    """One object for each name: compiled programs are kept by it."""
    import optax

    if name == "momentum":
        return optax.sgd(RATES[name], momentum=MOMENTUM)
    return getattr(optax, name)(RATES[name])


def as_data(function: str, data: Any, argument: str = "data") -> Batch | Iterable[Batch]:
    """The pair (xs, ys) of arrays, or an iterable of mini-batches as it is.

    Raises TypeError or ValueError, in the name of `function`, for what is neither.
    """
    pair = _pair(function, data)
    if pair is not None:
        return pair
    needed = f"{function}: {argument} must be {PAIRS}"
    if isinstance(data, Mapping):
        given = list(data)[:2]
        such = f"; write ({', '.join(f'{argument}[{name!r}]' for name in given)})" if len(data) == 2 else ""
        raise TypeError(f"{needed}, not {described(data)}{such}")
    if isinstance(data, str | bytes | os.PathLike):
        raise TypeError(f"{needed}, not {described(data)}; fnnet.data.load(...).train is such a pair")
    if hasattr(data, "train") and hasattr(data, "test"):
        raise TypeError(f"{needed}, not {described(data)}; write {argument}.train")
    if hasattr(data, "shape"):
        raise TypeError(f"{needed}, not {described(data)}")
    if callable(data) and not hasattr(data, "__iter__"):
        raise TypeError(
            f"{needed}, not {described(data)}; what a generator function gives is used up after one epoch: write a "
            "class with this function as its __iter__, or a list"
        )
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise TypeError(f"{needed}, not {described(data)}")
    if isinstance(data, tuple | list) and any(hasattr(part, "shape") for part in data):
        if len(data) == 2:
            name, part = ("xs", data[0]) if hasattr(data[1], "shape") else ("ys", data[1])
            raise TypeError(f"{function}: {name} must be an array, not {described(part)}")
        weighted = len(data) == 3 and np.ndim(data[2]) == 1
        more = "; weights of the examples are sample_weight" if weighted else ""
        raise TypeError(f"{needed}, not ({', '.join(map(described, data[:3]))}{', ...' * (len(data) > 3)}){more}")
    return data


def as_batch(function: str, batch: Any) -> Batch:
    """One mini-batch of an iterable."""
    pair = _pair(function, batch)
    if pair is None:
        raise TypeError(f"{function}: an iterable must give mini-batches (xs, ys), not {described(batch)}")
    return pair


def is_pair(data: Any) -> bool:
    """Whether `data`, as `as_data` returns it, is (xs, ys) rather than an iterable of such pairs."""
    return isinstance(data, tuple | list) and len(data) == 2 and all(hasattr(a, "shape") for a in data)


def _pair(function: str, data: Any) -> Batch | None:
    """(xs, ys) as arrays of numbers, where `data` is a tuple or list of these two; lists are made arrays."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        return None
    if not all(hasattr(part, "shape") or _is_list_of_examples(part) for part in data):
        return None
    if not is_pair(data) and all(map(_is_batch, data)):
        return None  # two mini-batches
    xs, ys = (_numbers(function, name, part) for name, part in zip(("xs", "ys"), data, strict=True))
    return xs, ys


def _is_list_of_examples(part: Any) -> bool:
    return isinstance(part, list | tuple) and len(part) > 0 and not any(isinstance(one, Mapping) for one in part)


def _is_batch(part: Any) -> bool:
    """Whether a list or tuple is itself (xs, ys)."""
    if not isinstance(part, list | tuple) or len(part) != 2 or not is_pair(part):
        return False
    return all(np.ndim(one) > 0 for one in part) and len(part[0]) == len(part[1])


def _numbers(function: str, name: str, array: Any) -> Any:
    """An array of numbers; a list or a table is made one."""
    if isinstance(array, list | tuple):
        try:
            array = np.asarray(array)
        except ValueError:
            raise ValueError(
                f"{function}: {name} is a list of examples of different shapes; they must have one shape"
            ) from None
    elif hasattr(array, "to_numpy"):  # of pandas and polars
        array = array.to_numpy()
    dtype = getattr(array, "dtype", None)
    if dtype is not None and not hasattr(dtype, "kind") and not isinstance(array, jax.Array):  # of PyTorch, TensorFlow
        try:
            array = np.asarray(array)
        except Exception:
            raise TypeError(
                f"{function}: {name} of shape {tuple(array.shape)} and dtype {dtype} must be an array that np.asarray "
                "can read"
            ) from None
    if getattr(getattr(array, "dtype", None), "kind", "-") not in "OSUTM":
        return array
    if array.dtype.kind == "O" and array.size and not isinstance(array.flat[0], str):
        raise TypeError(f"{function}: {name} of dtype object must be numbers, of one shape for all examples")
    classes = "; np.unique(ys, return_inverse=True) gives the classes and their integers" if name == "ys" else ""
    raise TypeError(f"{function}: {name} of shape {array.shape} and dtype {array.dtype} must be numbers{classes}")
