"""The fields of a layer: how they are read when it is made."""

import operator
from typing import Any

from fnnet.core.arguments import as_flag
from fnnet.core.geometry import per_axis
from fnnet.layers.protocol import MINI_BATCH


def window_on(layer: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The layer's window, one entry for each spatial axis of an example of that shape."""
    name, rank = type(layer).__name__, len(shape) - 1
    if isinstance(layer.window, int):
        if not 1 <= rank <= 3:
            raise ValueError(f"{name}: x of shape {shape} must have 1 to 3 spatial axes, then channels")
        return (layer.window,) * rank
    if rank != len(layer.window):
        raise ValueError(
            f"{name}: x of shape {shape} must have rank {len(layer.window) + 1}: the spatial axes of window "
            f"{layer.window}, then channels" + f"; {MINI_BATCH}" * (rank > len(layer.window))
        )
    return layer.window


def image_for(layer: Any, *names: str) -> tuple[int, ...]:
    """Makes these fields hashable; returns a shape of x, of their rank and with room for any window, to try them on."""
    values = {name: hashable(getattr(layer, name)) for name in names}
    set_fields(layer, **values)
    rank = next((len(value) for value in values.values() if isinstance(value, tuple)), 1)
    per_axis(type(layer).__name__, "window", layer.window, rank)
    return (2**62,) * rank + (1,)


def hashable(value: Any) -> Any:
    """Lists as tuples, NumPy's integers as Python's."""
    if isinstance(value, list | tuple):
        return tuple(map(hashable, value))
    return operator.index(value) if hasattr(value, "__index__") else value


def set_flags(layer: Any, *names: str) -> None:
    """Read these fields as True or False."""
    set_fields(layer, **{name: as_flag(type(layer).__name__, name, getattr(layer, name)) for name in names})


def set_fields(layer: Any, **values: Any) -> None:
    """Set fields of a frozen layer, while it is made."""
    for name, value in values.items():
        object.__setattr__(layer, name, value)
