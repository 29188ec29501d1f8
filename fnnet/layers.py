"""The layers: what a rule needs besides its arrays, as a frozen, hashable dataclass. All are of ONE example."""

import dataclasses
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.arguments import as_array, as_flag
from fnnet.formulations.windows import valid
from fnnet.geometry import Padding, Window, integer, per_axis, pooling_window, window
from fnnet.protocol import Layer, Params, check_entries, example_shape
from fnnet.rules.average_pooling import avg_pool
from fnnet.rules.convolution import conv
from fnnet.rules.linear import dense
from fnnet.rules.max_pooling import max_pool

Initializer = Callable[..., jax.Array]

glorot = jax.nn.initializers.glorot_uniform()
zeros = jax.nn.initializers.zeros

MINI_BATCH = "jax.vmap(net.apply, (None, 0)) takes a mini-batch"  # told where x may be one


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """x W + b, along the last axis of x.

    Args:
        features: Size of the output.
        bias: Whether there is one.
        kernel_init: An initialiser of `jax.nn.initializers`. None means Glorot (2010) (16), uniform with the variance
            2 / (fan in + fan out); `Sequential` puts He in its place before a ReLU.
        bias_init: The same for the bias.

    Parameters: kernel (inputs, features), bias (features,).
    """

    features: int
    _: dataclasses.KW_ONLY
    bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer = zeros

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        _set(self, features=integer("Dense", "features", self.features))
        _set_flags(self, "bias")

    @property
    def entries(self) -> tuple[str, ...]:
        """kernel, and bias if there is one."""
        return ("kernel", "bias") if self.bias else ("kernel",)

    def init(self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> dict[str, Any]:
        """Kernel and bias for one example of that shape."""
        shape = example_shape("Dense", shape)
        if not shape:
            raise ValueError("Dense: x of shape () must have one axis or more")
        return _kernel_and_bias(self, key, (shape[-1], self.features), dtype)

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> jax.Array:
        """(..., inputs) -> (..., features)."""
        check_entries(self, params)
        kernel, bias = _kernel(self, params, ("inputs", self.features)), _bias(self, params)
        x, inputs = as_array("Dense", "x", x), kernel.shape[0]
        if x.ndim == 1 and 0 < inputs < x.size and x.size % inputs == 0:
            raise ValueError(
                f'Dense: x of shape {x.shape} must have shape ({inputs},), as params["kernel"] of shape {kernel.shape} '
                f"says; if these are {x.size // inputs} examples made flat, {MINI_BATCH}"
            )
        return dense(x, kernel, bias)

    def flops(self, params: Params, x: Any) -> int:
        """A multiplication and an addition for each input of each output, an addition for its bias."""
        return math.prod(x.shape[:-1]) * self.features * (2 * x.shape[-1] + self.bias)


@dataclass(frozen=True, repr=False)
class Conv(Layer):
    """Convolution over the spatial axes of x (*image, channels); `fnnet.conv` has the equations.

    Args:
        features: Number of output channels.
        window: Size of the kernel's window; an integer means the same on each spatial axis of x.
        stride: Step between places, one for all axes or one an axis.
        padding: "SAME", "SAME_LOWER", "VALID", an integer, or for each axis an integer or a pair.
        dilation: Step between taps.
        groups: Number of groups of channels that do not mix.
        bias: Whether there is one.
        kernel_init: As for `Dense`; the fan counts the window's taps.
        bias_init: The same for the bias.

    Parameters: kernel (*window, inputs / groups, features), bias (features,).
    """

    features: int
    window: int | Sequence[int]
    _: dataclasses.KW_ONLY
    stride: int | Sequence[int] = 1
    padding: Padding = "SAME"
    dilation: int | Sequence[int] = 1
    groups: int = 1
    bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer = zeros

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        _set(self, features=integer("Conv", "features", self.features), groups=integer("Conv", "groups", self.groups))
        _set_flags(self, "bias")
        if self.features % self.groups:
            raise ValueError(f"Conv: groups (={self.groups}) must divide features (={self.features})")
        image = _image_for(self, "window", "stride", "padding", "dilation")
        if not 1 <= len(image) - 1 <= 3:
            raise ValueError(f"Conv: window (={self.window}) must have 1 to 3 entries, one for each spatial axis")
        self._place(image)

    @property
    def entries(self) -> tuple[str, ...]:
        """kernel, and bias if there is one."""
        return ("kernel", "bias") if self.bias else ("kernel",)

    def init(self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> dict[str, Any]:
        """Kernel and bias for one example of that shape."""
        shape = example_shape("Conv", shape)
        size = _window_on(self, shape)
        if shape[-1] % self.groups:
            raise ValueError(f"Conv: groups (={self.groups}) must divide x's {shape[-1]} channels, x of shape {shape}")
        return _kernel_and_bias(self, key, (*size, shape[-1] // self.groups, self.features), dtype)

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> jax.Array:
        """(*image, inputs) -> (*places, features)."""
        check_entries(self, params)
        _check_one_example(self, params, x.shape)
        kernel = _kernel(self, params, (*_window_on(self, x.shape), "inputs / groups", self.features))
        return conv(
            x,
            kernel,
            _bias(self, params),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def flops(self, params: Params, x: Any) -> int:
        """A multiplication and an addition for each tap inside the image, an addition for the bias of each output."""
        place = self._place(x.shape)
        products = int(valid(place).sum()) * (x.shape[-1] // self.groups) * self.features
        return 2 * products + self.bias * math.prod(place.out) * self.features

    def _place(self, shape: tuple[int, ...]) -> Window:
        size = _window_on(self, shape)
        return window("Conv", shape, size, stride=self.stride, dilation=self.dilation, padding=self.padding)


@dataclass(frozen=True, repr=False)
class MaxPool(Layer):
    """`fnnet.max_pool` over the spatial axes of x (*image, channels), an integer meaning the same on each of them."""

    window: int | Sequence[int]
    _: dataclasses.KW_ONLY
    stride: int | Sequence[int] | None = None
    padding: Padding = "VALID"
    dilation: int | Sequence[int] = 1
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        image = _image_for(self, "window", "stride", "padding", "dilation")
        size = _window_on(self, image)
        _set_flags(self, "ceil_mode")
        pooling_window("MaxPool", image, size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> jax.Array:
        """(*image, channels) -> (*places, channels)."""
        check_entries(self, params)
        return max_pool(
            x,
            _window_on(self, x.shape),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
        )


@dataclass(frozen=True, repr=False)
class AvgPool(Layer):
    """`fnnet.avg_pool` over the spatial axes of x (*image, channels), an integer meaning the same on each of them."""

    window: int | Sequence[int]
    _: dataclasses.KW_ONLY
    stride: int | Sequence[int] | None = None
    padding: Padding = "VALID"
    dilation: int | Sequence[int] = 1
    count_padding: bool = False
    divisor: float | int | None = None
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        image = _image_for(self, "window", "stride", "padding", "dilation")
        size = _window_on(self, image)
        _set_flags(self, "count_padding", "ceil_mode")
        pooling_window("AvgPool", image, size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> jax.Array:
        """(*image, channels) -> (*places, channels)."""
        check_entries(self, params)
        return avg_pool(
            x,
            _window_on(self, x.shape),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            count_padding=self.count_padding,
            divisor=self.divisor,
            ceil_mode=self.ceil_mode,
        )


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """All axes of the example as one, in row-major order."""

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> jax.Array:
        """(*shape) -> (size,)."""
        check_entries(self, params)
        return jnp.ravel(x)


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """With a key, each entry is 0 with probability `rate` and x / (1 - rate) otherwise; without one, the identity.

    Source: Srivastava et al., Dropout (2014), section 10, where evaluation is scaled; here training is, "inverted".
    """

    rate: float

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        try:
            _set(self, rate=float(self.rate))
        except (TypeError, ValueError):
            raise TypeError(f"Dropout: rate (={self.rate!r}) must be a number") from None
        if not 0 <= self.rate < 1:
            raise ValueError(f"Dropout: rate (={self.rate}) must be 0 or more and less than 1")

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """x, some entries dropped if there is a key."""
        check_entries(self, params)
        if key is None or self.rate == 0:
            return x
        kept = jax.random.bernoulli(key, 1 - self.rate, x.shape)
        return jnp.where(kept, x / (1 - self.rate), 0)


# Parameters.


def _kernel_and_bias(layer: Any, key: jax.Array, kernel: tuple[int, ...], dtype: Any) -> dict[str, Any]:
    of_kernel, of_bias = jax.random.split(key)
    params = {"kernel": (layer.kernel_init or glorot)(of_kernel, kernel, dtype)}
    if layer.bias:
        params["bias"] = layer.bias_init(of_bias, (layer.features,), dtype)
    return params


def _kernel(layer: Any, params: Params, wanted: tuple[int | str, ...]) -> jax.Array:
    return _checked(layer, params, "kernel", wanted)


def _bias(layer: Any, params: Params) -> jax.Array | None:
    return _checked(layer, params, "bias", (layer.features,)) if layer.bias else None


def _checked(layer: Layer, params: Params, entry: str, wanted: tuple[int | str, ...]) -> jax.Array:
    """params[entry], which must have the shape that `init` gives it; a size with a name may be any."""
    name = type(layer).__name__
    value = as_array(name, f'params["{entry}"]', params[entry])
    fits = [isinstance(w, str) or w == s for w, s in zip(wanted, value.shape, strict=False)]
    if value.ndim != len(wanted) or not all(fits):
        shape = str(wanted).replace("'", "")
        raise ValueError(f'{name}: params["{entry}"] of shape {value.shape} must have shape {shape}')
    return value


# Windows.


def _window_on(layer: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
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


def _check_one_example(layer: Conv, params: Params, shape: tuple[int, ...]) -> None:
    """Whether x has as many axes as the kernel is for: with one integer as the window, x alone would decide."""
    kernel = as_array("Conv", 'params["kernel"]', params["kernel"])
    rank = kernel.ndim - 2 if isinstance(layer.window, int) else len(layer.window)
    if not 1 <= rank <= 3 or len(shape) == rank + 1:
        return
    channels = kernel.shape[-2] * layer.groups if kernel.ndim == rank + 2 else "channels"
    wanted = ", ".join([*("depth", "height", "width")[-rank:], str(channels)])
    raise ValueError(
        f'Conv: x of shape {shape} must have shape ({wanted}), as params["kernel"] of shape {kernel.shape} says'
        + f"; {MINI_BATCH}" * (len(shape) > rank + 1)
    )


def _image_for(layer: Any, *names: str) -> tuple[int, ...]:
    """Makes these fields hashable; returns a shape of x, of their rank and with room for any window, to try them on."""
    values = {name: _hashable(getattr(layer, name)) for name in names}
    _set(layer, **values)
    rank = next((len(value) for value in values.values() if isinstance(value, tuple)), 1)
    per_axis(type(layer).__name__, "window", layer.window, rank)
    return (2**62,) * rank + (1,)


def _hashable(value: Any) -> Any:
    """Lists as tuples, NumPy's integers as Python's."""
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    return operator.index(value) if hasattr(value, "__index__") else value


def _set_flags(layer: Any, *names: str) -> None:
    _set(layer, **{name: as_flag(type(layer).__name__, name, getattr(layer, name)) for name in names})


def _set(layer: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(layer, name, value)
