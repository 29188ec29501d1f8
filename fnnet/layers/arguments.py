"""Arguments of every layer: its parameters' entries, and an example's shape."""

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from fnnet.core.arguments import described


def check_entries(layer: Any, params: Mapping[str, Any]) -> None:
    """Whether `params` has the layer's entries and no others; what is in them is not looked at."""
    name = type(layer).__name__
    if not isinstance(params, Mapping):
        pair = "; fit returns the pair (params, history)" if isinstance(params, tuple) and len(params) == 2 else ""
        raise TypeError(f"{name}: params must be a dictionary of parameters, not {type(params).__name__}{pair}")
    for entry in layer.entries:
        if entry not in params:
            raise ValueError(f'{name}: params lacks "{entry}"')
    for entry in params:
        if entry not in layer.entries:
            takes = ", ".join(f'"{e}"' for e in layer.entries) or "no parameters"
            raise ValueError(f'{name}: params has "{entry}"; it takes {takes}')


def example_shape(function: str, shape: Any) -> tuple[int, ...]:
    """The shape of one example as a tuple of positive integers."""
    if hasattr(shape, "dtype") and np.ndim(shape) != 1:
        raise TypeError(f"{function}: shape must be one example's shape, not {described(shape)}; write x.shape")
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        raise TypeError(f"{function}: shape (={shape!r}) must be one example's shape, such as (28, 28, 1)") from None
    if any(size < 1 for size in sizes):
        raise ValueError(f"{function}: shape (={sizes}) must have sizes of 1 or more")
    return sizes
