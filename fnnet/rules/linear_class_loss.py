"""Linear layer and softmax cross-entropy in one: x (..., features), kernel W (features, classes) -> loss l (...,).

    forward     u_ni     = sum_f x_nf W_fi + b_i                            (1)   n over the rows, i over the classes
                z_ni     = u_ni, or c tanh(u_ni / c)                        (2)   c: the soft cap
                s_n      = log sum_i exp(z_ni)                              (3)
                l_n      = sum_i t_ni (s_n - z_ni)                          (4)   t_ni = g_n [i = label_n] + h_n w_i
    backward    z_bar_ni = l_bar_n (exp(z_ni - s_n) sum_j t_nj - t_ni)      (5)
                u_bar_ni = z_bar_ni, or z_bar_ni (1 - z_ni/c) (1 + z_ni/c)  (6)
                x_bar_nf = sum_i u_bar_ni W_fi                              (7)
                W_bar_fi = sum_n x_nf u_bar_ni                              (8)
                b_bar_i  = sum_n u_bar_ni                                   (9)
    mean        l        = sum_n l_n / sum_n w_n                            (10)  w: the weight of each row's label

With a large vocabulary z is by far the largest array of a training step. Here only a block of its rows exists at once.
The backward computes (1) again, block by block: four products in all. In (10) each l_bar_n is known up to one factor
before the backward begins, so (5) to (9) are computed with the loss, of the same block: three products.

Sources: (1) is dense.py, (3) to (5) class_losses.py. The blocks and the early gradients are those of Wijmans et al.,
Cut Your Losses (2024), arXiv:2411.09009, and of Hsu et al., Liger Kernel (2024), arXiv:2410.10989, in
plain XLA. (2) is Gemma Team, Gemma 2 (2024), arXiv:2408.00118, section 2.
Derivation: docs/derivations/linear_class_loss.md
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Float, Integer

from fnnet.core.arguments import accumulator, as_floats, as_soft_cap, wide
from fnnet.core.habits import hinted
from fnnet.core.indices import as_held
from fnnet.core.primitives import with_shardings
from fnnet.core.reduction import noted, weighed_by
from fnnet.core.registration import rule
from fnnet.formulations.row_blocks import by_blocks
from fnnet.rules.class_losses import ClassWeights
from fnnet.rules.labels import as_class_weights, as_classes, as_ignored, as_smoothing, weighted, weights_of

LEAST_ROWS, MOST_ROWS, MOST_LOGITS = 256, 512, 2**21  # of a block

NAME = "linear_softmax_cross_entropy"


class Options(NamedTuple):
    """The static arguments of the two rules."""

    ignored: int | None
    label_smoothing: float
    soft_cap: float | None


def _weight(x, kernel, labels, *, ignore_index=None, class_weights=None, **others):
    """The weight of each row in a mean."""
    _, kernel, _, weights, classes = _arrays(x, kernel, labels, None, class_weights, as_ignored(NAME, ignore_index))
    return weights_of(classes, weights, kernel.shape[1], kernel.dtype, ignored=as_ignored(NAME, ignore_index))


@weighed_by(_weight)
@hinted
def linear_softmax_cross_entropy(
    x: Float[ArrayLike, "*batch features"],
    kernel: Float[ArrayLike, "features classes"],
    labels: Integer[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " classes"] | None = None,
    ignore_index: int | None = None,
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    soft_cap: float | None = None,
    reduction: Literal["none", "mean"] = "none",
) -> Float[Array, "..."]:
    """The last layer of a network and its loss, `softmax_cross_entropy(x @ kernel + bias, labels)`, in little memory.

    The logits never exist all at once, neither forward nor backward: a block of rows at a time does.

    Args:
        x: (..., features).
        kernel: (features, classes).
        labels: Integers (...,), each a class or `ignore_index`.
        bias: (classes,), or None.
        ignore_index: Labels of this value, any integer, have loss 0 and gradient 0.
        class_weights: w, (classes,), a constant to differentiation.
        label_smoothing: e, from 0 to 1; the target of a row is w_i ((1 - e) [i = label] + e / classes).
        soft_cap: c > 0: the logits become c tanh(logits / c), as in Gemma 2. None: they stay.
        reduction: "none": one number a row. "mean": their sum, divided by the sum of the rows' weights as in
            `mean_loss` and torch.nn.CrossEntropyLoss. Its gradients are computed with the loss, by three products
            instead of four, and kept until the backward.

    Returns:
        (...,), or () for the mean, in the promoted dtype of x, kernel and bias. Logits and sums of bf16 and f16 are
        f32. A mean whose weights are all 0, or of no rows, is NaN.

    Raises:
        ValueError: Shapes do not go together; a label is neither a class nor `ignore_index`; an option is none of
            those above. Under jit and vmap, where labels are not known, a wrong one has loss and gradient NaN.
        TypeError: x, kernel or bias is not floating, or the labels are not integers; soft_cap is not a number.

    `linear_softmax_cross_entropy.weight`, called with the same arguments, is what each row counts in a mean.

    Under `vmap` a mean is one of each example's own rows. Its backward then computes the logits again, as with "none".
    Rows may be sharded over devices. `fit` and `jax.shard_map` then sum the kernel's gradient over the devices once.
    Automatic sharding sums it once a block: XLA carries whole sums through a loop, not one for each device.

    Sources: arXiv:2411.09009 and arXiv:2410.10989; labels, smoothing and weights as in `softmax_cross_entropy`.
    """
    ignored, e = as_ignored(NAME, ignore_index), as_smoothing(NAME, label_smoothing)
    x, kernel, bias, weights, classes = _arrays(x, kernel, labels, bias, class_weights, ignored)
    if weights is not None or ignored is not None:
        classes = noted(NAME, classes)
    options = Options(ignored, e, as_soft_cap(NAME, soft_cap))
    if reduction == "none":
        return _linear_softmax_cross_entropy(x, kernel, bias, weights, classes, options=options)
    if reduction != "mean":
        raise ValueError(f'{NAME}: reduction (={reduction!r}) must be "none" or "mean"')
    return _linear_softmax_cross_entropy_mean(
        x.reshape(classes.size, x.shape[-1]), kernel, bias, weights, classes.reshape(-1), options=options
    )


def linear_softmax_cross_entropy_fwd(x, kernel, bias, weights, labels, *, options):
    def of_rows(x, g, h, labels):
        z = logits(read(x, g, h), kernel, bias, options.soft_cap)  # (1), (2)
        loss, log_norm, _ = loss_of(z, g, h, weights, labels)  # (3), (4)
        return (loss, log_norm), ()

    _, g, h = shares(labels, weights, kernel, options)
    (loss, log_norm), _ = by_blocks(of_rows, x, g, h, labels, most=rows_at_once(kernel))
    return loss.astype(x.dtype), (x, kernel, bias, weights, labels, log_norm)  # the caller's arrays, and s; never z


def linear_softmax_cross_entropy_bwd(residuals, loss_bar, *, options):
    x, kernel, bias, weights, labels, log_norm = residuals

    def of_rows(x, log_norm, a, g, h, labels):
        log_norm = jnp.where(counts(g, h), log_norm, jnp.inf)
        x = read(x, g, h)
        z = logits(x, kernel, bias, options.soft_cap)  # (1), (2)
        p = jnp.exp(z - log_norm[..., None])
        return bars_of(x, kernel, bias, z, p, a, g, h, weights, labels, options.soft_cap)  # (5), (6), (7), (8), (9)

    (l_bar,) = wide(loss_bar)
    a, g, h = (None if share is None else weighted(l_bar, share) for share in shares(labels, weights, kernel, options))
    x_bar, sums = by_blocks(of_rows, x, log_norm, a, g, h, labels, most=rows_at_once(kernel))
    return x_bar.astype(x.dtype), *of_parameters(sums, kernel, bias, weights), None


_linear_softmax_cross_entropy = rule(
    linear_softmax_cross_entropy_fwd, linear_softmax_cross_entropy_bwd, batched=("x", "labels")
)


def linear_softmax_cross_entropy_mean_fwd(x, kernel, bias, weights, labels, *, options):
    dtype = accumulator(x.dtype)
    divisor = weights_of(labels, weights, kernel.shape[1], dtype, ignored=options.ignored).sum(-1)
    if x.ndim > 2:  # under vmap: each mean has a cotangent of its own, and W_bar sums over all of them
        losses, kept = linear_softmax_cross_entropy_fwd(x, kernel, bias, weights, labels, options=options)
        return (losses.astype(dtype).sum(-1) / divisor).astype(x.dtype), (kept, divisor)  # (10)

    def with_gradients(x, kernel, bias, weights, labels):
        def of_rows(x, a, g, h, labels):
            x = read(x, g, h)
            z = logits(x, kernel, bias, options.soft_cap)  # (1), (2)
            loss, _, p = loss_of(z, g, h, weights, labels)  # (3), (4)
            x_bar, sums = bars_of(x, kernel, bias, z, p, a, g, h, weights, labels, options.soft_cap)  # (5) to (9)
            return x_bar.astype(x.dtype), (loss.sum(), sums)

        a, g, h = shares(labels, weights, kernel, options)
        x_bar, (loss, sums) = by_blocks(of_rows, x, a, g, h, labels, most=rows_at_once(kernel))
        return [loss, x_bar, *sums]

    of_x, of_kernel = (jax.typeof(array).sharding.spec for array in (x, kernel))
    specs = P(), of_x, of_kernel, P(of_kernel[1])  # under explicit mesh axes
    loss, x_bar, *sums = with_shardings(with_gradients, (x, kernel, bias, weights, labels), specs)
    kept = x_bar, sums, kernel, bias, weights  # the gradients, which the backward scales
    return (loss / divisor).astype(x.dtype), (kept, divisor)  # (10)


def linear_softmax_cross_entropy_mean_bwd(residuals, loss_bar, *, options):
    kept, divisor = residuals
    scale = wide(loss_bar)[0] / divisor  # (10)
    if loss_bar.ndim:
        _, _, _, _, labels, _ = kept
        l_bar = jnp.broadcast_to(scale[..., None], labels.shape)
        return linear_softmax_cross_entropy_bwd(kept, l_bar, options=options)
    x_bar, sums, kernel, bias, weights = kept
    sums = jax.tree.map(lambda bar: scale * bar, sums)  # (8), (9)
    x_bar = (scale * wide(x_bar)[0]).astype(x_bar.dtype)  # (7)
    return x_bar, *of_parameters(sums, kernel, bias, weights), None


_linear_softmax_cross_entropy_mean = rule(
    linear_softmax_cross_entropy_mean_fwd, linear_softmax_cross_entropy_mean_bwd, batched=("x", "labels")
)


# Three numbers for each row stand for t, which is an array like the logits.


def shares(labels, weights, kernel, options):
    """sum_i t_i, g and h of each row, where t_i = g [i = label] + h w_i; h is None without smoothing."""
    classes, e, dtype = kernel.shape[1], options.label_smoothing, accumulator(kernel.dtype)
    g = (1 - e) * weights_of(labels, weights, classes, dtype, ignored=options.ignored)
    if not e:
        return g, g, None
    h = e / classes * weights_of(labels, None, classes, dtype, ignored=options.ignored)
    return g + h * (classes if weights is None else weights.astype(dtype).sum()), g, h


# Of a block of rows, in f32 for bf16 and f16. XLA on a CPU keeps arrays of a block's size for constants that are
# broadcast to it, so no `where` chooses between logits and a number.


def counts(g, h):
    """Whether a row counts. One that does not may hold NaN or infinities, so it is not read."""
    return g != 0 if h is None else (g != 0) | (h != 0)


def read(x, g, h):
    return jnp.where(counts(g, h)[..., None], x, 0)


def logits(x, kernel, bias, soft_cap):
    u = jnp.matmul(x, kernel, preferred_element_type=accumulator(x.dtype))
    u = u if bias is None else u + bias.astype(u.dtype)  # (1)
    return u if soft_cap is None else soft_cap * jnp.tanh(u / soft_cap)  # (2)


def loss_of(z, g, h, weights, labels):
    top = lax.stop_gradient(z.max(-1))
    e = jnp.exp(z - top[..., None])
    total = e.sum(-1)
    log_norm, p = top + jnp.log(total), e / total[..., None]  # (3); p: exp(z - s), without a second exp
    label = jnp.clip(labels, 0, z.shape[-1] - 1)[..., None]
    loss = weighted(g, log_norm - jnp.take_along_axis(z, label, -1)[..., 0])  # (4)
    if h is None:
        return loss, log_norm, p
    if weights is None:
        of_all = z.shape[-1] * log_norm - z.sum(-1)
    else:
        weights = weights.astype(z.dtype)
        of_all = weights.sum() * log_norm - z @ weights
    return loss + weighted(h, of_all), log_norm, p  # (4)


def bars_of(x, kernel, bias, z, p, a, g, h, weights, labels, soft_cap):
    is_label = (jnp.arange(z.shape[-1], dtype=jnp.int32) == labels[..., None]).astype(z.dtype)
    u_bar = a[..., None] * p - g[..., None] * is_label  # (5)
    if h is not None:
        u_bar = u_bar - (h[..., None] if weights is None else h[..., None] * weights.astype(z.dtype))  # (5)
    if soft_cap is not None:
        u_bar = u_bar * (1 - z / soft_cap) * (1 + z / soft_cap)  # (6)
    rows = tuple(range(x.ndim - 1))
    bias_bar = None if bias is None else u_bar.sum(rows)  # (9)
    u_bar = u_bar.astype(x.dtype)
    x_bar = lax.dot_general(u_bar, kernel, (((len(rows),), (1,)), ((), ())), preferred_element_type=z.dtype)  # (7)
    kernel_bar = lax.dot_general(x, u_bar, ((rows, rows), ((), ())), preferred_element_type=z.dtype)  # (8)
    return x_bar, (kernel_bar, bias_bar)


def rows_at_once(kernel):
    """Rows of a block: few enough for little memory, and so many that the sum of (8) over the blocks is quick."""
    return max(LEAST_ROWS, min(MOST_ROWS, MOST_LOGITS // kernel.shape[1]))


def of_parameters(sums, kernel, bias, weights):
    """The cotangents of kernel, bias and class weights, which are constants."""
    kernel_bar, bias_bar = sums
    return (
        kernel_bar.astype(kernel.dtype),
        None if bias is None else bias_bar.astype(bias.dtype),
        None if weights is None else jnp.zeros_like(weights),
    )


def _arrays(x: Any, kernel: Any, labels: Any, bias: Any, class_weights: Any, ignored: int | None) -> tuple:
    """x, kernel, bias and class weights in one dtype, and labels in int32; raises for what cannot be."""
    x, kernel, bias = as_floats(NAME, x=x, kernel=kernel, bias=bias, optional=("bias",))
    if kernel.ndim != 2 or not kernel.shape[1]:
        raise ValueError(f"{NAME}: kernel of shape {kernel.shape} must have shape (features, classes), 1 class or more")
    if x.ndim < 1 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"{NAME}: x of shape {x.shape} must end in {kernel.shape[0]}, the features of kernel {kernel.shape}"
        )
    if bias is not None and bias.shape != kernel.shape[1:]:
        raise ValueError(f"{NAME}: bias of shape {bias.shape} must be {kernel.shape[1:]}, the classes of kernel")
    given = as_held(NAME, "labels", labels)
    if not jnp.issubdtype(given.dtype, jnp.integer):
        raise TypeError(f"{NAME}: labels of dtype {given.dtype} must be integers")
    if given.shape != x.shape[:-1]:
        raise ValueError(f"{NAME}: labels of shape {given.shape} must have shape {x.shape[:-1]}, one for each row of x")
    classes = as_classes(NAME, given, kernel.shape[1], ignored)
    return x, kernel, bias, as_class_weights(NAME, class_weights, kernel), classes
