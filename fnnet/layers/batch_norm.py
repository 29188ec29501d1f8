"""`BatchNorm`: normalisation of each channel by the statistics of the mini-batch, or by stored ones."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from fnnet.core.arguments import as_floats, wide
from fnnet.layers.answers import Initializer, Layout, Parameter
from fnnet.layers.arguments import check_entries
from fnnet.layers.fields import hashable, set_fields
from fnnet.layers.kernels import entry, zeros
from fnnet.layers.normalisation import NAMES, Norm, ones
from fnnet.layers.protocol import Params
from fnnet.rules.batch_norm import batch_norm

STATISTICS = {"mean": zeros, "variance": ones}
PYTORCH = NAMES[0] | {"mean": "running_mean", "variance": "running_var"}
FLAX = NAMES[1] | {"mean": "mean", "variance": "var"}  # the last two in the collection "batch_stats"


@dataclass(frozen=True, repr=False)
class BatchNorm(Norm):
    """Batch normalisation of an example (*image, channels); `fnnet.batch_norm` has the equations.

    In training, which is `apply_batch` with keys, the mean and the variance of a channel are those of the mini-batch,
    over examples and image. In evaluation, which is `apply` or `apply_batch` without keys, they are the parameters
    "mean" and "variance". These two have no gradient: `fit` averages them over its steps, and `batch_statistics`
    computes them anew.

    Args:
        epsilon: Added to the variance.
        scale: Whether there is one.
        bias: Whether there is one.
        axis_name: The axes of the mesh, such as "data", over which the statistics are taken as well, in `shard_map` and
            in `fit(..., mesh=...)`; on one device it changes nothing. None: each device, and each chunk of
            `accumulate`, has its own.
        scale_init: An initialiser of `jax.nn.initializers`.
        bias_init: The same for the bias.

    Parameters: scale, bias, mean and variance, (channels,). The variance is divided by the number of entries less one,
    as PyTorch's running_var is. torch.nn.BatchNorm2d, flax.linen.BatchNorm.

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167, algorithms 1 and 2.
    """

    _: dataclasses.KW_ONLY
    epsilon: float = 1e-5
    scale: bool = True
    bias: bool = True
    axis_name: str | Sequence[str] | None = None
    scale_init: Initializer = ones
    bias_init: Initializer = zeros

    layout: ClassVar = Layout((1,), PYTORCH, FLAX, elementwise=True)

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        super().__post_init__()
        name = hashable(self.axis_name)
        several = name if isinstance(name, tuple) else (name,)
        if name is not None and not (several and all(isinstance(axis, str) for axis in several)):
            raise TypeError(f"BatchNorm: axis_name (={name!r}) must be the name of a mesh's axis, or several, or None")
        set_fields(self, axis_name=name)

    @property
    def entries(self) -> tuple[str, ...]:
        """scale and bias, those that it has, and the statistics."""
        return (*super().entries, *STATISTICS)

    def parameter_axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The channels."""
        if not shape:
            raise ValueError("BatchNorm: x of shape () must have channels as its last axis")
        return (-1,)

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """A number for each channel."""
        (channels,) = (shape[axis] for axis in self.parameter_axes(shape))
        drawn = {"scale": self.scale_init, "bias": self.bias_init} | STATISTICS
        return {name: Parameter((channels,), drawn[name], decayed=False) for name in self.entries}

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """s (x - mean) / sqrt(variance + epsilon) + b for one example, by the stored statistics.

        Raises:
            ValueError: There is a key: training needs the whole mini-batch.
        """
        check_entries(self, params)
        if key is not None:
            raise ValueError(
                "BatchNorm: in training it needs the whole mini-batch, not one example: "
                "ys, statistics = net.apply_batch(params, xs, keys=keys)"
            )
        scale, bias = (self.parameter(params, name, x) for name in ("scale", "bias"))
        x, scale, bias = as_floats("BatchNorm", x=x, scale=scale, bias=bias, optional=("scale", "bias"))
        return scaled(self.normalised(params, wide(x)[0]), scale, bias).astype(x.dtype)

    def normalised(self, params: Params, x: Any) -> Any:
        """(x - mean) / sqrt(variance + epsilon) for one example, by the stored statistics, in x's dtype."""
        stored = (lax.stop_gradient(entry(self, params, name, x.shape[-1:])) for name in STATISTICS)
        mean, variance = (array.astype(x.dtype) for array in stored)
        return (x - mean) * lax.rsqrt(variance + self.epsilon)

    def apply_batch(self, params: Params, xs: Any, *, keys: jax.Array | None = None) -> tuple[Any, dict[str, Any]]:
        """As `Layer.apply_batch`; with keys, whose values do not matter, by the statistics of the mini-batch.

        Raises:
            ValueError: The axis_name is not one of the mesh that shares the work.
        """
        check_entries(self, params)
        if keys is None:
            return super().apply_batch(params, xs)
        axes = tuple(range(xs.ndim - 1))
        scale, bias = (self.parameter(params, name, xs[0]) for name in ("scale", "bias"))
        devices = self._devices()
        entries = (devices or 1) * (xs.size // max(xs.shape[-1], 1))
        if devices is None:
            ys, mean, variance = batch_norm(xs, scale, bias, axes=axes, epsilon=self.epsilon)
        else:
            xs, scale, bias = as_floats("BatchNorm", x=xs, scale=scale, bias=bias, optional=("scale", "bias"))
            n, own_mean, own_variance = batch_norm(*wide(xs), axes=axes, epsilon=self.epsilon)
            mean = lax.pmean(own_mean, self.axis_name)
            variance = lax.pmean(own_variance + jnp.square(own_mean - mean), self.axis_name)
            inverse = lax.rsqrt(variance + self.epsilon)  # n goes back to x by its own statistics, then on by all
            wider = n * (jnp.sqrt(own_variance + self.epsilon) * inverse) + (own_mean - mean) * inverse
            ys = scaled(wider, scale, bias).astype(xs.dtype)
        return ys, {"mean": mean, "variance": variance * (entries / max(entries - 1, 1))}

    def insides(self, params: Params, x: Any) -> dict[str, Any]:
        """Nothing: the stored statistics are parameters."""
        return {}

    def insides_batch(self, params: Params, xs: Any, *, keys: jax.Array | None = None) -> dict[str, Any]:
        """In training mean and deviation, the square root of variance + epsilon, of each channel in the mini-batch."""
        if keys is None:
            return {}
        rows = wide(xs)[0].reshape(-1, xs.shape[-1])
        return {"mean": rows.mean(0), "deviation": jnp.sqrt(rows.var(0) + self.epsilon)}

    def _devices(self) -> int | None:
        """How many share the statistics; None without an axis_name, or where no `shard_map` or `vmap` has that axis."""
        try:
            return None if self.axis_name is None else lax.axis_size(self.axis_name)
        except NameError:
            axes = jax.sharding.get_abstract_mesh().manual_axes
            if axes:
                raise ValueError(f"BatchNorm: axis_name (={self.axis_name!r}) must be of the mesh: {axes}") from None
            return None

    @property
    def of_batch(self) -> bool:
        """Yes."""
        return True

    def statistics(self, params: Params) -> dict[str, Any]:
        """The mean and the variance are."""
        return {name: name in STATISTICS for name in params}


def scaled(n: Any, scale: Any, bias: Any) -> Any:
    """s n + b in n's dtype, where there are such."""
    y = n if scale is None else n * scale.astype(n.dtype)
    return y if bias is None else y + bias.astype(n.dtype)
