"""torch.nn.functional's operators by public functions of fnnet, with torch's arguments.

Nothing is checked here: what cannot be has to be refused by fnnet.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import fnnet
from external.onnx_operators import normalised_by, transposed_kernel
from external.outcomes import NotSupportedError

WINDOWED = ("kernel_size", "stride", "padding", "dilation")


def last(x: Any, rank: int) -> Any:
    """Channels after `rank` spatial axes, as fnnet has them; what has too few axes stays as it is."""
    return jnp.moveaxis(x, -rank - 1, -1) if x.ndim > rank else x


def first(y: Any, rank: int) -> Any:
    """Channels before `rank` spatial axes, as torch has them."""
    return jnp.moveaxis(y, -1, -rank - 1)


def each(value: Any, rank: int) -> Any:
    """What fnnet takes: torch reads a tuple of one number as that number for each axis, and an empty one as None."""
    if value is None or isinstance(value, int):
        return value
    return (tuple(value) * rank if len(value) == 1 else tuple(value)) or None


def window(kernel_size: Any, rank: int) -> Any:
    """One number an axis; to fnnet an integer means two axes."""
    return (kernel_size,) * rank if isinstance(kernel_size, int) else each(kernel_size, rank)


def plain(name: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """A max-pooling's keywords in one spelling, and always with indices: so thousands of cases share a few programs."""
    if "return_indices" not in keywords:
        return keywords
    rank = int(name[-2])
    spelled = {key: window(value, rank) if key in WINDOWED else value for key, value in keywords.items()}
    return spelled | {"stride": spelled["stride"] or spelled["kernel_size"], "return_indices": True}


# Convolution and pooling over `rank` spatial axes.


def conv(rank: int, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    kernel = jnp.moveaxis(weight, (0, 1), (-1, -2)) if weight.ndim > 1 else weight
    y = fnnet.conv(
        last(x, rank),
        kernel,
        bias,
        stride=each(stride, rank),
        padding=padding.upper() if isinstance(padding, str) else each(padding, rank),
        dilation=each(dilation, rank),
        groups=groups,
    )
    return first(y, rank)


def conv_transpose(rank: int, x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    sound = weight.ndim == rank + 2 and weight.shape[0] % groups == 0
    y = fnnet.conv_transpose(
        last(x, rank),
        transposed_kernel(weight, groups) if sound else weight,
        bias,
        stride=each(stride, rank),
        padding=each(padding, rank),
        output_padding=each(output_padding, rank),
        dilation=each(dilation, rank),
        groups=groups,
    )
    return first(y, rank)


def max_pool(rank: int, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    place = {
        "window": window(kernel_size, rank),
        "stride": each(stride, rank),
        "padding": each(padding, rank),
        "dilation": each(dilation, rank),
        "ceil_mode": ceil_mode,
    }
    y = first(fnnet.max_pool(last(x, rank), **place), rank)
    return (y, first(fnnet.max_pool_indices(last(x, rank), **place), rank)) if return_indices else y


def avg_pool(
    rank: int,
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    y = fnnet.avg_pool(
        last(x, rank),
        window(kernel_size, rank),
        stride=each(stride, rank),
        padding=each(padding, rank),
        ceil_mode=ceil_mode,
        count_padding=count_include_pad,
        divisor=divisor_override,
    )
    return first(y, rank)


def global_max_pool(rank: int, x, output_size, return_indices=False):
    return max_pool(rank, x, x.shape[-rank:], return_indices=return_indices)


def global_avg_pool(rank: int, x, output_size):
    return avg_pool(rank, x, x.shape[-rank:])


# Along an axis.


def softmax(function: Callable, z, dim, dtype=None):
    return function(z, dim) if z.ndim else function(z[None], dim)[0]  # to torch, a number is a row of one


def flatten(x, start_dim=0, end_dim=-1):
    """fnnet.Flatten is of one example: the axes before and after those that are merged are mapped."""
    if not x.ndim:
        return fnnet.Flatten().apply({}, x)
    flat = functools.partial(fnnet.Flatten().apply, {})
    for _ in range(end_dim % x.ndim + 1, x.ndim):
        flat = jax.vmap(flat, in_axes=-1, out_axes=-1)
    for _ in range(start_dim % x.ndim):
        flat = jax.vmap(flat)
    return flat(x)


# Normalisation.


def epsilon(eps) -> float:
    if eps < 0:
        raise NotSupportedError("a negative eps")
    return float(eps)


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    return fnnet.layer_norm(x, weight, bias, axes=tuple(range(-len(normalized_shape), 0)), epsilon=epsilon(eps))


def rms_norm(x, normalized_shape, weight=None, eps=None):
    eps = jnp.finfo(x.dtype).eps if eps is None else eps
    return fnnet.rms_norm(x, weight, axes=tuple(range(-len(normalized_shape), 0)), epsilon=epsilon(eps))


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    turned = jnp.moveaxis(x, 1, -1) if x.ndim > 1 else x
    y = fnnet.group_norm(turned, num_groups, weight, bias, batch_axes=1, epsilon=epsilon(eps))
    return jnp.moveaxis(y, -1, 1)


def native_layer_norm(x, normalized_shape, weight, bias, eps):
    axes = tuple(range(-len(normalized_shape), 0))
    return layer_norm(x, normalized_shape, weight, bias, eps), *statistics(x, axes, eps)


def native_group_norm(x, weight, bias, examples, channels, places, groups, eps):
    y = group_norm(x, groups, weight, bias, eps)
    found = statistics(x.reshape(examples, groups, channels // groups * places), -1, eps)
    return y, *(array[..., 0] for array in found)


def statistics(x, axes, eps):
    """The mean, and one over the root of the variance, which fnnet's rules do not return."""
    return x.mean(axes, keepdims=True), jax.lax.rsqrt(x.var(axes, keepdims=True) + eps)


def native_batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps):
    rows = jnp.moveaxis(x if x.ndim > 1 else x[None], 1, -1)  # torch allows x of shape (0,)
    if not training:
        y = normalised_by(running_mean, running_var, rows, weight, bias, epsilon(eps))
        return jnp.moveaxis(y, -1, 1).reshape(x.shape), *[jnp.zeros(0, x.dtype)] * 2
    y, mean, variance = fnnet.batch_norm(rows, weight, bias, axes=range(rows.ndim - 1), epsilon=epsilon(eps))
    return jnp.moveaxis(y, -1, 1).reshape(x.shape), mean, jax.lax.rsqrt(variance + eps)


def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    return native_batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps)[0]


def instance_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    if not use_input_stats:
        raise NotSupportedError("statistics that are given")
    return group_norm(x, x.shape[1], weight, bias, eps)


def scaled_dot_product_attention(
    q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, *, scale=None, enable_gqa=False
):
    if dropout_p:
        raise NotSupportedError("dropout: random")
    if v.shape[-1] != k.shape[-1]:
        raise NotSupportedError("values of another width than the keys")
    rank = max(x.ndim for x in (q, k, v))
    has_heads = rank > 3
    q, k, v = (x.reshape(*[1] * (rank - x.ndim), *x.shape) for x in (q, k, v))
    batch = jnp.broadcast_shapes(*(x.shape[: -2 - has_heads] for x in (q, k, v)))
    q, k, v = (jnp.broadcast_to(x, (*batch, *x.shape[-2 - has_heads :])) for x in (q, k, v))

    def turned(x):  # the heads, or one, behind the length
        return jnp.swapaxes(x, -3, -2) if has_heads else x[..., None, :]

    mask = attn_mask if attn_mask is None or has_heads else attn_mask[..., None, :, :]
    seen = {} if mask is None else {"mask" if mask.dtype == bool else "bias": mask}
    y = fnnet.attention(*map(turned, (q, k, v)), causal=is_causal, scale=scale, **seen)
    return jnp.swapaxes(y, -3, -2) if has_heads else y[..., 0, :]


# Linear maps.


def embedding(weight, indices, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    if max_norm is not None:
        raise NotSupportedError("max_norm changes the table in place")
    if scale_grad_by_freq:
        raise NotSupportedError("scale_grad_by_freq: another gradient than the function's")
    y = fnnet.embedding(weight, indices)
    if padding_idx is None:
        return y
    return jnp.where((indices == padding_idx % len(weight))[..., None], jax.lax.stop_gradient(y), y)


def linear(x, weight, bias=None):
    return fnnet.dense(x, weight.T, bias)


def addmm(c, a, b, *, beta=1, alpha=1):
    return beta * c + alpha * fnnet.dense(a, b)


# Losses.


def reduced(losses, reduction: str):
    """The losses, their sum, or their mean, in which each counts the same."""
    return {"none": lambda: losses, "sum": losses.sum, "mean": losses.mean}[reduction]()


def over_classes(function: Callable, z, labels, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    if z.ndim == 1 and reduction == "mean":
        z, labels = z[None], labels[None]  # one example is a batch of one
    z = z if z.ndim == 1 else jnp.moveaxis(z, 1, -1)
    keywords: dict[str, Any] = {"class_weights": weight}
    if label_smoothing:
        keywords["label_smoothing"] = label_smoothing
    if jnp.issubdtype(labels.dtype, jnp.floating):
        labels = labels if labels.ndim == 1 else jnp.moveaxis(labels, 1, -1)
    else:
        keywords["ignore_index"] = ignore_index
    loss = functools.partial(function, **keywords)
    return fnnet.mean_loss(loss, z, labels) if reduction == "mean" else reduced(loss(z, labels), reduction)


def entry_by_entry(function: Callable, prediction, target, weight=None, reduction="mean", **keywords):
    """A loss that fnnet sums over the last axis, with an axis of one entry."""
    losses = function(prediction[..., None], target[..., None], **keywords)
    return reduced(losses if weight is None else losses * weight, reduction)


def binary_cross_entropy_with_logits(z, target, weight=None, reduction="mean", pos_weight=None):
    positive = {} if pos_weight is None else {"positive_weights": pos_weight[..., None]}
    return entry_by_entry(fnnet.sigmoid_binary_cross_entropy, z, target, weight, reduction, **positive)


def mse_loss(prediction, target, reduction="mean"):
    return 2 * entry_by_entry(fnnet.squared_error, prediction, target, reduction=reduction)


# Entry by entry.


def leaky_relu(z, negative_slope=0.01):
    return fnnet.leaky_relu(z, negative_slope)


def softplus(z, beta=1, threshold=20):
    return jnp.where(beta * z > threshold, z, fnnet.softplus(beta * z) / beta)


def elu(z, alpha=1.0):
    return fnnet.elu(z, alpha)


def gelu(z, approximate="none"):
    return fnnet.gelu(z, approximate={"none": False, "tanh": True}.get(approximate, approximate))


def over_ranks(name: str, function: Callable) -> dict[str, Callable]:
    """The function of one to three spatial axes."""
    return {f"nn.functional.{name}{rank}d": functools.partial(function, rank) for rank in (1, 2, 3)}


# By OpInfo's name.
OPERATORS: dict[str, Callable] = {
    **over_ranks("conv", conv),
    **over_ranks("conv_transpose", conv_transpose),
    **over_ranks("max_pool", max_pool),
    **over_ranks("adaptive_max_pool", global_max_pool),
    **over_ranks("avg_pool", avg_pool),
    **over_ranks("adaptive_avg_pool", global_avg_pool),
    "softmax": functools.partial(softmax, fnnet.softmax),
    "log_softmax": functools.partial(softmax, fnnet.log_softmax),
    "nn.functional.cross_entropy": functools.partial(over_classes, fnnet.softmax_cross_entropy),
    "nn.functional.nll_loss": functools.partial(over_classes, fnnet.negative_log_likelihood),
    "nn.functional.binary_cross_entropy": functools.partial(entry_by_entry, fnnet.binary_cross_entropy),
    "nn.functional.binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    "nn.functional.mse_loss": mse_loss,
    "nn.functional.layer_norm": layer_norm,
    "nn.functional.rms_norm": rms_norm,
    "nn.functional.group_norm": group_norm,
    "nn.functional.instance_norm": instance_norm,
    "nn.functional.batch_norm": batch_norm,
    "native_layer_norm": native_layer_norm,
    "native_group_norm": native_group_norm,
    "native_batch_norm": native_batch_norm,
    "nn.functional.scaled_dot_product_attention": scaled_dot_product_attention,
    "nn.functional.embedding": embedding,
    "nn.functional.linear": linear,
    "addmm": addmm,
    "nn.functional.relu": fnnet.relu,
    "nn.functional.leaky_relu": leaky_relu,
    "sigmoid": fnnet.sigmoid,
    "tanh": fnnet.tanh,
    "nn.functional.softplus": softplus,
    "nn.functional.silu": fnnet.silu,
    "nn.functional.elu": elu,
    "nn.functional.gelu": gelu,
    "flatten": flatten,
}
