"""The fields of a layer: how they are read when it is made."""

import dataclasses
import math
import operator
from typing import Any

from fnnet.core.arguments import as_flag
from fnnet.core.geometry import per_axis
from fnnet.layers.protocol import MINI_BATCH

AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def window_on(layer: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The layer's window, one entry for each spatial axis of an example of that shape."""
    size = window_of(layer)
    if len(shape) == len(size) + 1:
        return size
    name, axes = type(layer).__name__, ", ".join([*AXES[len(size)], "channels"])
    if isinstance(layer.window, int):
        raise ValueError(f"{name}: x of shape {shape} must have shape ({axes}){_likely(layer.window, shape)}")
    raise ValueError(
        f"{name}: x of shape {shape} must have rank {len(size) + 1}, ({axes}), as window {size} says"
        + (f"; {MINI_BATCH}" if len(shape) > len(size) + 1 else _with_channels(shape, len(size)))
    )


def window_of(layer: Any) -> tuple[int, ...]:
    """The layer's window: an integer means two axes."""
    return (layer.window,) * 2 if isinstance(layer.window, int) else layer.window


def _likely(window: int, shape: tuple[int, ...]) -> str:
    """A hint for an example whose rank is not an image's."""
    if len(shape) == 2:
        return f"{_with_channels(shape, 2)}; window=({window},) is for a sequence (length, channels)"
    if len(shape) == 4:
        return f"; {MINI_BATCH}, and window={(window,) * 3} is for a volume"
    side = math.isqrt(math.prod(shape))
    if len(shape) == 1 and 1 < side == math.prod(shape) / side:
        return f", such as ({side}, {side}, 1)"
    return f"; {MINI_BATCH}" if len(shape) > 4 else ""


def _with_channels(shape: tuple[int, ...], rank: int) -> str:
    return f", such as {(*shape, 1)}, which x[..., None] has" if len(shape) == rank else ""


def image_for(layer: Any, *names: str) -> tuple[int, ...]:
    """Makes these fields hashable; returns a shape of x, of their rank and with room for any window, to try them on."""
    set_fields(layer, **{name: hashable(getattr(layer, name)) for name in names})
    rank = len(layer.window) if isinstance(layer.window, tuple) else 2
    per_axis(type(layer).__name__, "window", layer.window, rank)
    return (2**62,) * rank + (1,)


def hashable(value: Any) -> Any:
    """Lists as tuples, NumPy's integers as Python's."""
    if isinstance(value, list | tuple):
        return tuple(map(hashable, value))
    is_integer = hasattr(value, "__index__") and not isinstance(value, bool)  # a check refuses True and False
    return operator.index(value) if is_integer else value


def set_flags(layer: Any, *names: str) -> None:
    """Read these fields as True or False."""
    set_fields(layer, **{name: as_flag(type(layer).__name__, name, getattr(layer, name)) for name in names})


def check_initializers(layer: Any) -> None:
    """Whether the layer's initialisers can be called; None is one where it is the default."""
    for field in dataclasses.fields(layer):
        value = getattr(layer, field.name)
        if field.name.endswith("_init") and not callable(value) and (value is not None or field.default is not None):
            or_none = ", or None" if field.default is None else ""
            raise TypeError(
                f"{type(layer).__name__}: {field.name} (={value!r}) must be an initialiser of jax.nn.initializers"
                + or_none
            )


def set_fields(layer: Any, **values: Any) -> None:
    """Set fields of a frozen layer, while it is made."""
    for name, value in values.items():
        object.__setattr__(layer, name, value)
