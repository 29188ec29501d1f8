"""Batch and group normalisation: input x, scale s, bias b, one of each for a channel -> output y of x's shape.

One channel k, and the m entries i over which its statistics are taken: in batch normalisation those of the channel in
the whole batch, in group normalisation those of all channels of its group in one image.

    forward     mu       = 1/m sum_i x_i                                  (1)
                v        = 1/m sum_i (x_i - mu)^2                         (2)
                y_i      = s_k n_i + b_k,   n_i = (x_i - mu) r            (3)   r = 1 / sqrt(v + epsilon)
    backward    b_bar_k  = sum_i y_bar_i                                  (4)   over the entries of channel k
                s_bar_k  = sum_i y_bar_i n_i                              (5)   over the entries of channel k
    batch       x_bar_i  = s_k r (y_bar_i - b_bar_k / m - n_i s_bar_k / m)    (6)
                x_bar_i += (mu_bar + 2 v_bar (x_i - mu)) / m              (7)   mu and v are outputs too
    group       x_bar_i  = r (s_k y_bar_i - c - n_i d)                    (8)
                c        = 1/m sum_k s_k sum_i y_bar_i                    (9)   k over the channels of the group
                d        = 1/m sum_k s_k sum_i y_bar_i n_i                (10)

What is kept is x, the caller's array, and the two statistics; batch normalisation of f32 or f64 keeps x - mu on a CPU,
where that is in memory anyway (fnnet/formulations/centring.py). The sums of (4) and (5), two numbers for each channel,
serve all three gradients. Group normalisation sums channel by channel first: a loop over few channels is slow.

Sources: Ioffe and Szegedy, Batch Normalization (2015), arXiv:1502.03167, algorithm 1 and the equations of section 3; Wu
and He, Group Normalization (2018), arXiv:1803.08494, (1), (2) and (7).
Derivation: docs/derivations/normalisation.md
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.core.arguments import as_epsilon, as_floats, axes_from_end, wide
from fnnet.core.geometry import integer
from fnnet.core.habits import hinted
from fnnet.core.registration import rule
from fnnet.formulations.centring import centred, centred_again
from fnnet.formulations.reductions import merged
from fnnet.rules.layer_norm import check_sizes, computed_again


@hinted
def batch_norm(
    x: Float[ArrayLike, "*shape"],
    scale: Float[ArrayLike, "*channels"] | None = None,
    bias: Float[ArrayLike, "*channels"] | None = None,
    *,
    axes: int | Sequence[int],
    epsilon: float = 1e-5,
) -> tuple[Float[Array, "*shape"], Float[Array, "*others"], Float[Array, "*others"]]:
    """Batch normalisation by the statistics of x itself, as in training: a whole batch, not one example.

    Args:
        x: The batch, usually (batch, *image, channels).
        scale: x's sizes along the other axes, in x's order, or along the last of them: (channels,). None: 1.
        bias: The same. None: 0.
        axes: The axes of the mean and the variance: those of the batch and the image.
        epsilon: Added to the variance, 0 or more.

    Returns:
        y: An array like x, in the arguments' promoted dtype.
        mean: Of x's sizes along the other axes; f32 for bf16 and f16, whose statistics are computed in f32.
        variance: The same, divided by the number of entries m. PyTorch's running variance is m / (m - 1) times it.

        All three have gradients. Where a channel is constant, y is the bias, and (6) has n = 0 and r = 1 /
        sqrt(epsilon). Under `jax.vmap` each batch has its own statistics; under `shard_map` each device's part has.

    Raises:
        ValueError: x has no such axis, or one is named twice; scale or bias is of another shape; epsilon is negative.
        TypeError: An array is not floating, an axis not an integer, epsilon not a number.

    PyTorch: `torch.nn.functional.batch_norm(..., training=True)`, where scale is weight. Flax: `flax.linen.BatchNorm`.
    Source: Ioffe and Szegedy (2015), algorithm 1.
    """
    x, scale, bias = as_floats("batch_norm", x=x, scale=scale, bias=bias, optional=("scale", "bias"))
    axes = axes_from_end("batch_norm", "axes", axes, x=x)
    others = [axis for axis in range(-x.ndim, 0) if axis not in axes]
    rank = max((parameter.ndim for parameter in (scale, bias) if parameter is not None), default=1)
    channels = tuple(others[max(len(others) - max(rank, 1), 0) :])
    check_sizes("batch_norm", x, channels, scale=scale, bias=bias)
    return _batch_norm(x, scale, bias, axes=axes, kept=len(channels), epsilon=as_epsilon("batch_norm", epsilon))


def batch_norm_fwd(x, scale, bias, *, axes, kept, epsilon):
    over, (rows,) = merged(axes, x)
    mean = means(*wide(rows), over)  # (1)
    stored, from_mean = centred(rows, mean, over=over)
    variance = means(jnp.square(from_mean), over)  # (2)
    y = channelwise(from_mean, lax.rsqrt(variance + epsilon), scale, bias, over)  # (3)
    return (y.reshape(x.shape).astype(x.dtype), mean, variance), (stored.reshape(x.shape), mean, variance, scale)


def batch_norm_bwd(residuals, bars, *, axes, kept, epsilon):
    stored, mean, variance, scale = residuals
    y_bar, mean_bar, variance_bar = bars
    over, (stored, y_bar_rows) = merged(axes, stored, *wide(y_bar))
    from_mean, inverse, m = centred_again(stored, mean, over=over), lax.rsqrt(variance + epsilon), count(stored, over)
    bias_bar = y_bar_rows.sum(over)  # (4)
    scale_bar = (y_bar_rows * from_mean).sum(over) * inverse  # (5)
    a = inverse if scale is None else inverse * wide(scale)[0]
    b = (2 * variance_bar - a * inverse * scale_bar) / m
    c = (mean_bar - a * bias_bar) / m
    a, b, c = (jnp.expand_dims(each, over) for each in (a, b, c))
    x_bar = a * y_bar_rows + b * from_mean + c  # (6), (7)
    scale_bar, bias_bar = (of_all_batches(bar, kept).astype(y_bar.dtype) for bar in (scale_bar, bias_bar))
    return x_bar.reshape(y_bar.shape).astype(y_bar.dtype), scale_bar, bias_bar


_batch_norm = rule(batch_norm_fwd, batch_norm_bwd, batched=("x",))


@hinted
def group_norm(
    x: Float[ArrayLike, "*batch_and_image channels"],
    groups: int,
    scale: Float[ArrayLike, " channels"] | None = None,
    bias: Float[ArrayLike, " channels"] | None = None,
    *,
    batch_axes: int = 0,
    epsilon: float = 1e-5,
) -> Float[Array, "*batch_and_image channels"]:
    """Group normalisation: the channels of an image in groups, each to the mean 0 and the variance 1.

    Args:
        x: One example (*image, channels), or several, with `batch_axes` axes in front.
        groups: Number of groups of neighbouring channels; it divides the channels. As many groups as channels are
            instance normalisation.
        scale: (channels,). None: 1.
        bias: (channels,). None: 0.
        batch_axes: How many of x's axes count examples, each with statistics of its own.
        epsilon: Added to the variance, 0 or more.

    Returns:
        An array like x, in the arguments' promoted dtype. bf16 and f16 are computed in f32. Where a group is constant,
        y is the bias, and (8) has n = 0 and r = 1 / sqrt(epsilon).

    Raises:
        ValueError: The groups do not divide the channels; scale or bias is of another shape; epsilon is negative; x has
            no channels beside its batch axes.
        TypeError: An array is not floating, groups or batch_axes not an integer, epsilon not a number.

    PyTorch: `torch.nn.functional.group_norm` and `instance_norm`, channels first. Flax: `flax.linen.GroupNorm`, with
    epsilon 1e-6.
    Source: Wu and He (2018), (7).
    """
    x, scale, bias = as_floats("group_norm", x=x, scale=scale, bias=bias, optional=("scale", "bias"))
    groups, batch_axes = integer("group_norm", "groups", groups), integer("group_norm", "batch_axes", batch_axes, 0)
    if x.ndim <= batch_axes:
        raise ValueError(f"group_norm: x of shape {x.shape} must have channels after batch_axes (={batch_axes}) axes")
    if x.shape[-1] % groups:
        raise ValueError(
            f"group_norm: groups (={groups}) must divide the {x.shape[-1]} channels of x of shape {x.shape}"
        )
    check_sizes("group_norm", x, (-1,), scale=scale, bias=bias)
    image = tuple(range(batch_axes - x.ndim, -1))
    return _group_norm(x, scale, bias, image=image, groups=groups, epsilon=as_epsilon("group_norm", epsilon))


def group_norm_fwd(x, scale, bias, *, image, groups, epsilon):
    over, (rows,) = merged(image, *wide(x))
    mean = within_groups(means(rows, over), groups)  # (1)
    from_mean = rows - jnp.expand_dims(mean, over)
    variance = within_groups(means(jnp.square(from_mean), over), groups)  # (2)
    inverse = lax.rsqrt(variance + epsilon)
    y = channelwise(from_mean, inverse, scale, bias, over)  # (3)
    return y.reshape(x.shape).astype(x.dtype), (x, mean, inverse, scale)


def group_norm_bwd(residuals, y_bar, *, image, groups, epsilon):
    x, mean, inverse, scale = computed_again(*residuals)
    over, (rows, y_bar_rows) = merged(image, x, *wide(y_bar))
    from_mean, places = rows - jnp.expand_dims(mean, over), count(rows, over)
    bias_bar = y_bar_rows.sum(over)  # (4), of each example
    scale_bar = (y_bar_rows * from_mean).sum(over) * inverse  # (5), of each example
    s = 1 if scale is None else scale
    c = within_groups(s * bias_bar, groups) / places  # (9)
    d = within_groups(s * scale_bar, groups) / places  # (10)
    x_bar = channelwise(y_bar_rows, inverse, scale, None, over)
    x_bar = x_bar - jnp.expand_dims(inverse * c, over) - from_mean * jnp.expand_dims(inverse * inverse * d, over)  # (8)
    scale_bar, bias_bar = (of_all_batches(bar, 1).astype(y_bar.dtype) for bar in (scale_bar, bias_bar))
    return x_bar.reshape(x.shape).astype(y_bar.dtype), scale_bar, bias_bar


_group_norm = rule(group_norm_fwd, group_norm_bwd, batched=("x",))


def channelwise(a, inverse, scale, bias, over):
    """s a r + b, where r, s and b have a number for each channel, without the axes `over`."""
    y = a * jnp.expand_dims(inverse if scale is None else inverse * wide(scale)[0], over)
    return y if bias is None else y + jnp.expand_dims(*wide(bias), over)


def within_groups(a, groups):
    """The mean over the channels of each group, for each of its channels: (..., channels) -> (..., channels)."""
    by_group = a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups)
    return jnp.broadcast_to(by_group.mean(-1, keepdims=True), by_group.shape).reshape(a.shape)


def means(a, axes):
    """The mean over these axes, 0 where they have no entries."""
    return a.sum(axes) / count(a, axes)


def count(a, axes):
    """The number of entries over these axes, at least 1; a float, since it may be larger than an int32."""
    return float(max(math.prod(a.shape[axis] for axis in axes), 1))


def of_all_batches(sums, rank):
    """The sums, added over the axes before the last `rank`."""
    return sums.sum(tuple(range(sums.ndim - rank)))
