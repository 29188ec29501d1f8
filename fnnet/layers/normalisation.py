"""`LayerNorm`, `RMSNorm` and `GroupNorm`: normalisation of one example, with a learned scale and bias."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_epsilon, axes_from_end, wide
from fnnet.core.geometry import integer
from fnnet.layers.answers import Call, Initializer, Layout, Parameter
from fnnet.layers.fields import check_initializers, hashable, set_fields, set_flags
from fnnet.layers.gram_norms import sums_of_squares
from fnnet.layers.kernels import entry, zeros
from fnnet.layers.protocol import Layer, Params
from fnnet.rules.batch_norm import group_norm
from fnnet.rules.layer_norm import layer_norm, rms_norm

ones = jax.nn.initializers.ones
NAMES = {"scale": "weight", "bias": "bias"}, {"scale": "scale", "bias": "bias"}  # PyTorch's and Flax's


class Norm(Layer):
    """What the three share."""

    epsilon: float
    scale: bool

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        flags = (field.name for field in dataclasses.fields(self) if field.type is bool)  # type: ignore[arg-type]
        set_flags(self, *flags)
        set_fields(self, epsilon=as_epsilon(type(self).__name__, self.epsilon))
        check_initializers(self)

    @property
    def entries(self) -> tuple[str, ...]:
        """scale and bias, those that it has."""
        return tuple(name for name in ("scale", "bias") if getattr(self, name, False))

    def parameter_axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The axes along which scale and bias lie, counted from the end, of an example of that shape."""
        raise NotImplementedError

    def normalised(self, params: Params, x: Any) -> Any:
        """The output for one example without scale and bias."""
        raise NotImplementedError

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """A number for each entry along the axes."""
        sizes = tuple(shape[axis] for axis in self.parameter_axes(shape))
        return {name: Parameter(sizes, getattr(self, f"{name}_init"), decayed=False) for name in self.entries}

    def parameter(self, params: Params, name: str, x: Any) -> jax.Array | None:
        """params[name], or None for a layer without it."""
        if name not in self.entries:
            return None
        return entry(self, params, name, tuple(x.shape[axis] for axis in self.parameter_axes(x.shape)))

    def insides(self, params: Params, x: Any) -> dict[str, Any]:
        """mean and deviation, the square root of variance + epsilon, of the entries that are normalised together."""
        (x,) = wide(x)
        together = self.together(x)
        mean, variance = together.mean(-1), together.var(-1)
        return {"mean": mean, "deviation": jnp.sqrt(variance + self.epsilon)}

    def together(self, x: Any) -> Any:
        """x with the entries that are normalised together along the last axis."""
        raise NotImplementedError

    @property
    def gain(self) -> None:
        """The next layer's: the output does not depend on the scale of the input."""
        return None

    def squared_gradient_norms(self, params: Params, x: Any, y_bar: Any) -> jax.Array:
        """By each example's sums s_bar = sum y_bar n and b_bar = sum y_bar: without the gradient of the input."""
        x, y_bar = wide(x, y_bar)
        n = jax.vmap(lambda x: self.normalised(params, x))(x)
        own = self.parameter_axes(x.shape[1:])
        others = tuple(axis for axis in range(1 - x.ndim, 0) if axis not in own)
        bars = {"scale": y_bar * n, "bias": y_bar}
        own_bars = [bars[name].sum(others) for name in bars if name in self.entries]
        return sum(map(sums_of_squares, own_bars), jnp.zeros(len(x), n.dtype))


class NormAlongAxes(Norm):
    """What LayerNorm and RMSNorm share."""

    axes: int | Sequence[int]

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        super().__post_init__()
        set_fields(self, axes=hashable(self.axes))
        several = self.axes if isinstance(self.axes, tuple) else (self.axes,)
        if not several or not all(type(axis) is int for axis in several):  # which True is not
            raise TypeError(f"{type(self).__name__}: axes (={self.axes!r}) must be an integer, or several")

    def parameter_axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Those that are normalised."""
        return axes_from_end(type(self).__name__, "axes", self.axes, x=jax.ShapeDtypeStruct(shape, jnp.float32))

    def together(self, x: Any) -> Any:
        """Those along the axes."""
        axes = self.parameter_axes(x.shape)
        moved = jnp.moveaxis(x, axes, range(-len(axes), 0))
        return moved.reshape(*moved.shape[: x.ndim - len(axes)], -1)

    @property
    def by_row(self) -> bool:
        """Where the last axis alone is normalised."""
        return self.axes in (-1, (-1,))


@dataclass(frozen=True, repr=False)
class LayerNorm(NormAlongAxes):
    """Layer normalisation; `fnnet.layer_norm` has the equations. torch.nn.LayerNorm, flax.linen.LayerNorm.

    Args:
        axes: The axes of the mean and the variance of one example: the last, or several.
        epsilon: Added to the variance. Flax's is 1e-6.
        scale: Whether there is one.
        bias: Whether there is one.
        scale_init: An initialiser of `jax.nn.initializers`.
        bias_init: The same for the bias.

    Parameters: scale and bias, of the example's sizes along the axes: (features,).
    """

    _: dataclasses.KW_ONLY
    axes: int | Sequence[int] = -1
    epsilon: float = 1e-5
    scale: bool = True
    bias: bool = True
    scale_init: Initializer = ones
    bias_init: Initializer = zeros

    layout: ClassVar = Layout((1,), *NAMES, elementwise=True)

    def normalised(self, params: Params, x: Any) -> Any:
        """The output for one example without scale and bias."""
        return layer_norm(x, axes=self.axes, epsilon=self.epsilon)

    def call(self, params: Params, x: Any) -> Call:
        """An array of x's shape."""
        scale, bias = (self.parameter(params, name, x) for name in ("scale", "bias"))
        return Call(layer_norm, (x, scale, bias), {"axes": self.axes, "epsilon": self.epsilon})


@dataclass(frozen=True, repr=False)
class RMSNorm(NormAlongAxes):
    """RMS normalisation; `fnnet.rms_norm` has the equations. torch.nn.RMSNorm, flax.linen.RMSNorm.

    Args:
        axes: The axes of the mean square of one example: the last, or several.
        epsilon: Added to the mean square. Flax's is 1e-6, PyTorch's that of the dtype.
        scale: Whether there is one.
        scale_init: An initialiser of `jax.nn.initializers`.

    Parameters: scale, of the example's sizes along the axes: (features,).
    """

    _: dataclasses.KW_ONLY
    axes: int | Sequence[int] = -1
    epsilon: float = 1e-5
    scale: bool = True
    scale_init: Initializer = ones

    layout: ClassVar = Layout((1,), *NAMES, elementwise=True)

    def normalised(self, params: Params, x: Any) -> Any:
        """The output for one example without a scale."""
        return rms_norm(x, axes=self.axes, epsilon=self.epsilon)

    def insides(self, params: Params, x: Any) -> dict[str, Any]:
        """rms, the square root of the mean square + epsilon, of the entries that are normalised together."""
        (x,) = wide(x)
        return {"rms": jnp.sqrt(jnp.square(self.together(x)).mean(-1) + self.epsilon)}

    def call(self, params: Params, x: Any) -> Call:
        """An array of x's shape."""
        return Call(rms_norm, (x, self.parameter(params, "scale", x)), {"axes": self.axes, "epsilon": self.epsilon})


@dataclass(frozen=True, repr=False)
class GroupNorm(Norm):
    """Group normalisation of an image (*image, channels); `fnnet.group_norm` has the equations.

    PyTorch's torch.nn.GroupNorm and flax.linen.GroupNorm.

    Args:
        groups: Number of groups of neighbouring channels; as many as channels make it instance normalisation.
        epsilon: Added to the variance. Flax's is 1e-6.
        scale: Whether there is one.
        bias: Whether there is one.
        scale_init: An initialiser of `jax.nn.initializers`.
        bias_init: The same for the bias.

    Parameters: scale and bias, (channels,).
    """

    groups: int
    _: dataclasses.KW_ONLY
    epsilon: float = 1e-5
    scale: bool = True
    bias: bool = True
    scale_init: Initializer = ones
    bias_init: Initializer = zeros

    layout: ClassVar = Layout((1,), *NAMES)

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        super().__post_init__()
        set_fields(self, groups=integer("GroupNorm", "groups", self.groups))

    def parameter_axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The channels."""
        if not shape or shape[-1] % self.groups:
            raise ValueError(f"GroupNorm: groups (={self.groups}) must divide the last axis of x of shape {shape}")
        return (-1,)

    def normalised(self, params: Params, x: Any) -> Any:
        """The output for one example without scale and bias."""
        return group_norm(x, self.groups, epsilon=self.epsilon)

    def together(self, x: Any) -> Any:
        """Those of each group."""
        by_group = x.reshape(-1, self.groups, x.shape[-1] // self.groups)
        return by_group.swapaxes(0, 1).reshape(self.groups, -1)

    def call(self, params: Params, x: Any) -> Call:
        """An array of x's shape."""
        scale, bias = (self.parameter(params, name, x) for name in ("scale", "bias"))
        return Call(group_norm, (x, self.groups, scale, bias), {"epsilon": self.epsilon})
