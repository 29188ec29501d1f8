"""A network of the user's own that `--net package.module:name` or `--net file.py:name` names."""

import inspect
from pathlib import Path
from typing import Any

from fnnet.core.importing import found
from fnnet.core.one_line import in_one_line

CLASSES = ("classes", "num_classes", "n_classes")
SHAPE = ("shape", "input_shape", "image_shape")


def is_own(net: str) -> bool:
    """Whether the name is one of a user's network rather than of a preset."""
    return ":" in net


def placed(net: str) -> str:
    """The name as any directory finds it: a file by its whole path."""
    place, _, name = net.rpartition(":")
    return f"{Path(place).resolve()}:{name}" if place.endswith(".py") else net


def short(net: str) -> str:
    """The name without its module or file, for titles and run directories."""
    return net.rpartition(":")[2]


def own_network(net: str, classes: int, shape: tuple[int, ...]) -> Any:
    """The network, or what the function of that name makes of `classes` and `shape`, as far as it takes them.

    Raises:
        ValueError: There is no such thing, it raises, or it is no network.
    """
    where = f"network {net}"
    value = found(where, net)
    if isinstance(value, type) or not _is_network(value):
        value = _made(where, value, classes, shape)
    if not _is_network(value):
        raise ValueError(f"{where} is {type(value).__name__}; it must be a network, or a function that returns one")
    try:
        hash(value)
    except TypeError as error:
        raise ValueError(f"{where} must be hashable: {error}") from None
    return value


def _is_network(value: Any) -> bool:
    return all(callable(getattr(value, name, None)) for name in ("init", "apply"))


def _made(where: str, function: Any, classes: int, shape: tuple[int, ...]) -> Any:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise ValueError(
            f"{where} is {type(function).__name__}; it must be a network, or a function that returns one"
        ) from None
    known = dict.fromkeys(CLASSES, classes) | dict.fromkeys(SHAPE, shape)
    varied = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    parameters = [p for p in signature.parameters.values() if p.kind not in varied]
    if unknown := [p.name for p in parameters if p.default is p.empty and p.name not in known]:
        raise ValueError(f"{where} takes {', '.join(unknown)}; its arguments may be `classes` and `shape`")
    by_position = [p for p in parameters if p.kind is p.POSITIONAL_ONLY]
    args = [known.get(p.name, p.default) for p in by_position]
    keywords = {p.name: known[p.name] for p in parameters if p.name in known and p not in by_position}
    try:
        return function(*args, **keywords)
    except Exception as error:
        raise ValueError(f"{where} raises {in_one_line(error)}") from None
