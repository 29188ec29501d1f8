"""Layer and RMS normalisation: input x, scale s, bias b -> output y of x's shape.

layer normalisation
    forward     mu      = 1/m sum_i x_i                                (1)   i over the m entries that are normalised
                v       = 1/m sum_i (x_i - mu)^2                       (2)
                y_i     = s_i n_i + b_i,   n_i = (x_i - mu) r          (3)   r = 1 / sqrt(v + epsilon)
    backward    x_bar_i = r (s_i y_bar_i - c - n_i d)                  (4)
                c       = 1/m sum_i s_i y_bar_i                        (5)
                d       = 1/m sum_i s_i y_bar_i n_i                    (6)
                s_bar_i = sum y_bar_i n_i                              (7)   over all examples
                b_bar_i = sum y_bar_i                                  (8)
RMS normalisation
    forward     v       = 1/m sum_i x_i^2                              (9)
                y_i     = s_i n_i,   n_i = x_i r                       (10)
    backward    x_bar_i = r (s_i y_bar_i - n_i d)                      (11)

(2) is a second pass over x: E[x^2] - mu^2 is no faster on a CPU and loses all digits where mu is far from 0. What is
kept is x, the caller's array, and one or two numbers for each row; n is computed again. Autodiff keeps n and x - mu.
RMS normalisation gains least: with jax 0.10.2 and fnnet's compiler options, autodiff is about as fast.

Sources: Ba, Kiros and Hinton, Layer Normalization (2016), arXiv:1607.06450, (3) and (4); Zhang and Sennrich, Root Mean
Square Layer Normalization (2019), arXiv:1910.07467, (4). The epsilon under the root is PyTorch's.
Derivation: docs/derivations/normalisation.md
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.core.arguments import as_epsilon, as_floats, axes_from_end, wide
from fnnet.core.habits import hinted
from fnnet.core.registration import rule
from fnnet.formulations.reductions import sums_over_other_axes


@hinted
def layer_norm(
    x: Float[ArrayLike, "*shape"],
    scale: Float[ArrayLike, "*normalised"] | None = None,
    bias: Float[ArrayLike, "*normalised"] | None = None,
    *,
    axes: int | Sequence[int] = -1,
    epsilon: float = 1e-5,
) -> Float[Array, "*shape"]:
    """Layer normalisation: x to the mean 0 and the variance 1 along `axes`, then times scale, plus bias.

    Args:
        x: Any shape but ().
        scale: x's sizes along `axes`, in x's order: (features,) for the last axis. None: 1.
        bias: The same. None: 0.
        axes: The axes of the mean and the variance, one or several; negative ones count from the end.
        epsilon: Added to the variance, 0 or more.

    Returns:
        An array like x, in the arguments' promoted dtype. bf16 and f16 are computed in f32. Where all entries are
        equal, y is the bias, and (4) has n = 0 and r = 1 / sqrt(epsilon): finite, unless epsilon is 0.

    Raises:
        ValueError: x has no such axis, or one is named twice; scale or bias is of another shape; epsilon is negative.
        TypeError: An array is not floating, an axis not an integer, epsilon not a number.

    PyTorch: `torch.nn.functional.layer_norm`, where scale is weight. Flax: `flax.linen.LayerNorm`, with epsilon 1e-6.
    Source: Ba, Kiros and Hinton (2016), (4).
    """
    x, scale, bias = as_floats("layer_norm", x=x, scale=scale, bias=bias, optional=("scale", "bias"))
    axes = axes_from_end("layer_norm", "axes", axes, x=x)
    check_sizes("layer_norm", x, axes, scale=scale, bias=bias)
    return _layer_norm(x, scale, bias, axes=axes, epsilon=as_epsilon("layer_norm", epsilon))


def layer_norm_fwd(x, scale, bias, *, axes, epsilon):
    dtype, (x_wide,) = x.dtype, wide(x)
    mean = x_wide.mean(axes, keepdims=True)  # (1)
    variance = jnp.square(x_wide - mean).mean(axes, keepdims=True)  # (2)
    inverse = lax.rsqrt(variance + epsilon)
    y = scaled((x_wide - mean) * inverse, scale, bias, axes)  # (3)
    return y.astype(dtype), (x, mean, inverse, scale)  # n comes from these in one pass, so it is not kept


def layer_norm_bwd(residuals, y_bar, *, axes, epsilon):
    x, mean, inverse, scale = computed_again(*residuals)
    dtype, (y_bar,) = y_bar.dtype, wide(y_bar)
    n = (x - mean) * inverse
    c = mean_product(y_bar, scale, axes)  # (5)
    d = mean_product(y_bar * n, scale, axes)  # (6)
    x_bar = inverse * (scaled(y_bar, scale, None, axes) - c - n * d)  # (4)
    scale_bar = sums_over_other_axes(y_bar * n, axes)  # (7)
    bias_bar = sums_over_other_axes(y_bar, axes)  # (8)
    return x_bar.astype(dtype), scale_bar.astype(dtype), bias_bar.astype(dtype)


_layer_norm = rule(layer_norm_fwd, layer_norm_bwd, batched=("x",))


@hinted
def rms_norm(
    x: Float[ArrayLike, "*shape"],
    scale: Float[ArrayLike, "*normalised"] | None = None,
    *,
    axes: int | Sequence[int] = -1,
    epsilon: float = 1e-5,
) -> Float[Array, "*shape"]:
    """RMS normalisation: x divided by its root mean square along `axes`, then times scale.

    Arguments, dtypes and errors are those of `layer_norm`. Where all entries are 0, y is 0, and the gradient is
    scale * y_bar / sqrt(epsilon).

    PyTorch: `torch.nn.functional.rms_norm`, where eps is the dtype's. Flax: `flax.linen.RMSNorm`, with epsilon 1e-6.
    Source: Zhang and Sennrich (2019), (4).
    """
    x, scale = as_floats("rms_norm", x=x, scale=scale, optional=("scale",))
    axes = axes_from_end("rms_norm", "axes", axes, x=x)
    check_sizes("rms_norm", x, axes, scale=scale)
    return _rms_norm(x, scale, axes=axes, epsilon=as_epsilon("rms_norm", epsilon))


def rms_norm_fwd(x, scale, *, axes, epsilon):
    dtype, (x_wide,) = x.dtype, wide(x)
    inverse = lax.rsqrt(jnp.square(x_wide).mean(axes, keepdims=True) + epsilon)  # (9)
    y = scaled(x_wide * inverse, scale, None, axes)  # (10)
    return y.astype(dtype), (x, inverse, scale)


def rms_norm_bwd(residuals, y_bar, *, axes, epsilon):
    x, inverse, scale = computed_again(*residuals)
    dtype, (y_bar,) = y_bar.dtype, wide(y_bar)
    n = x * inverse
    d = mean_product(y_bar * n, scale, axes)  # (6)
    x_bar = inverse * (scaled(y_bar, scale, None, axes) - n * d)  # (11)
    scale_bar = sums_over_other_axes(y_bar * n, axes)  # (7)
    return x_bar.astype(dtype), scale_bar.astype(dtype)


_rms_norm = rule(rms_norm_fwd, rms_norm_bwd, batched=("x",))


def computed_again(*kept):
    """The arrays in the dtype of sums, so that what is computed from them is not kept since the forward.

    Without the barrier, XLA finds n in the forward, too, and keeps it instead of x.
    """
    return [None if array is None else wide(lax.optimization_barrier(array))[0] for array in kept]


def scaled(n, scale, bias, axes):
    """s n + b."""
    y = n if scale is None else n * along(scale, axes, n.ndim)
    return y if bias is None else y + along(*wide(bias), axes, n.ndim)


def along(parameter, axes, ndim):
    """A parameter whose sizes are those of `axes`, broadcastable against an array of `ndim` axes."""
    return jnp.expand_dims(*wide(parameter), [axis for axis in range(-ndim, 0) if axis not in axes])


def mean_product(a, scale, axes):
    """1/m sum_i s_i a_i, as a product with s: on a CPU faster than the sum of products, and without a."""
    if scale is None:
        return a.mean(axes, keepdims=True)
    summed = tuple(axis % a.ndim for axis in axes)
    contracted = (summed, tuple(range(scale.ndim))), ((), ())
    sums = lax.dot_general(a, scale, contracted, precision=lax.Precision.HIGHEST)
    return jnp.expand_dims(sums, summed) / scale.size


def check_sizes(function: str, x: Array, axes: tuple[int, ...], **parameters: Array | None) -> None:
    """Whether each parameter has x's sizes along these axes."""
    wanted = tuple(x.shape[axis] for axis in axes)
    for name, parameter in parameters.items():
        if parameter is not None and parameter.shape != wanted:
            raise ValueError(
                f"{function}: {name} of shape {parameter.shape} must be {wanted}, the sizes of x of shape {x.shape} "
                f"along axes {axes}"
            )
