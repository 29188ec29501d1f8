"""Nested dictionaries by the paths of their entries, such as "residual_2/conv_0/kernel"."""

from collections.abc import Iterable
from typing import Any


def nested_dictionary(entries: Iterable[tuple[str, Any]], separator: str = "/") -> dict[str, Any]:
    """The dictionary of dictionaries that has these values at these paths.

    Raises:
        ValueError: A path is given twice, or goes through the value of another path.
    """
    whole: dict[str, Any] = {}
    for path, value in entries:
        *parents, last = path.split(separator)
        inner = whole
        for key in parents:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{path}: {key} is an array already")
        if last in inner:
            raise ValueError(
                f"{path} has arrays below it" if isinstance(inner[last], dict) else f"{path} is given twice"
            )
        inner[last] = value
    return whole


def merged(tree: Any, part: Any) -> Any:
    """The nested dictionary with the values of `part`, nested like it, in the place of its own."""
    if not isinstance(part, dict):
        return part
    return {**tree, **{key: merged(tree[key], value) for key, value in part.items()}}


def entry(tree: Any, path: str, separator: str = "/") -> Any:
    """What stands at a path; an empty dictionary where nothing does."""
    for key in path.split(separator):
        tree = tree.get(key, {})
    return tree
