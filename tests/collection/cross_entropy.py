"""Cross-entropy of logits: what a batch, a label, a reduction can do to a gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from collection.case import Case, Layer, saving_inputs
from collection.circumstances import SecondOrder
from collection.draws import integers, normal, uniform
from collection.losses import column


def onehot(labels, like):
    return jax.nn.one_hot(labels, like.shape[-1], dtype=like.dtype)


def mean_cross_entropy(logits, labels):
    return -(onehot(labels, logits) * jax.nn.log_softmax(logits)).sum(-1).mean()


def each_cross_entropy(logits, labels):
    return -(onehot(labels, logits) * jax.nn.log_softmax(logits)).sum(-1)


def ignoring(logits, labels):
    """Mean over the labels that are not -1."""
    counts = labels >= 0
    each = -(onehot(labels, logits) * jax.nn.log_softmax(logits)).sum(-1)
    return jnp.where(counts, each, 0).sum() / counts.sum().astype(each.dtype)


def smoothed(logits, labels, smoothing):
    targets = (1 - smoothing) * onehot(labels, logits) + smoothing / logits.shape[-1]
    return -(targets * jax.nn.log_softmax(logits)).sum(-1)


def soft_cross_entropy(logits, targets):
    return -(targets * jax.nn.log_softmax(logits)).sum(-1)


def fused_linear(x, kernel, labels):
    return each_cross_entropy(x @ kernel, labels)


def excess(logits, labels):
    return jax.nn.softmax(logits) - onehot(labels, logits)


def scores():
    return normal(0, 4, 5), integers(1, 5, 4)


def fused_bars(x, kernel, labels, g, weigh):
    each = excess(x @ kernel, labels)
    return column(g) * each @ kernel.T, weigh(x, each, g), None


mean_ce = saving_inputs("mean cross-entropy", mean_cross_entropy, scores)


each_ce = saving_inputs("cross-entropy", each_cross_entropy, scores)


ignored_ce = saving_inputs(
    "cross-entropy with ignored labels", ignoring, lambda: (normal(0, 4, 5), np.array([2, -1, 0, -1], np.int32))
)


smooth_ce = Layer(
    "smoothed cross-entropy",
    smoothed,
    lambda z, labels, smoothing: (smoothed(z, labels, smoothing), (z, labels)),
    scores,
    {"smoothing": 0.2},
)


soft_ce = saving_inputs(
    "cross-entropy of soft targets", soft_cross_entropy, lambda: (normal(0, 4, 5), uniform(1, 4, 5))
)


fused = saving_inputs(
    "fused linear cross-entropy", fused_linear, lambda: (normal(0, 4, 3), normal(1, 3, 5), integers(1, 5, 4))
)


CASES: list[Case] = [
    mean_ce.right("its rule", lambda z, labels, g: (g * excess(z, labels) / len(z), None)),
    each_ce.right("its rule", lambda z, labels, g: (column(g) * excess(z, labels), None)),
    ignored_ce.right(
        "its rule",
        lambda z, labels, g: (
            g * excess(z, labels) * column((labels >= 0).astype(z.dtype)) / (labels >= 0).sum().astype(z.dtype),
            None,
        ),
    ),
    smooth_ce.right(
        "its rule",
        lambda z, labels, g, smoothing: (
            column(g) * (jax.nn.softmax(z) - (1 - smoothing) * onehot(labels, z) - smoothing / z.shape[-1]),
            None,
        ),
    ),
    soft_ce.right(
        "its rule",
        lambda z, t, g: (
            column(g) * (jax.nn.softmax(z) * t.sum(-1, keepdims=True) - t),
            -column(g) * jax.nn.log_softmax(z),
        ),
    ),
    fused.right(
        "its rule", lambda x, w, labels, g: fused_bars(x, w, labels, g, lambda x, each, g: x.T @ (column(g) * each))
    ),
    # Reductions.
    mean_ce.wrong(
        "not divided by the batch", lambda z, labels, g: (g * excess(z, labels), None), "the gradient of the sum"
    ),
    mean_ce.wrong("divided twice", lambda z, labels, g: (g * excess(z, labels) / len(z) ** 2, None), "1 / n^2"),
    mean_ce.wrong(
        "divided by the number of entries",
        lambda z, labels, g: (g * excess(z, labels) / z.size, None),
        "classes counted too",
    ),
    mean_ce.wrong(
        "cotangent of the loss ignored",
        lambda z, labels, g: (excess(z, labels) / len(z), None),
        "a factor in front of the loss has no effect",
        "RFL",
        source="https://github.com/SeanNaren/warp-ctc/issues/69",
    ),
    each_ce.wrong(
        "first example's cotangent for all",
        lambda z, labels, g: (g[0] * excess(z, labels), None),
        "an unreduced loss, whose g is read as a scalar",
        source="https://github.com/paiml/aprender/pull/2182",
    ),
    fused.wrong(
        "weights of the examples outside the sum",
        lambda x, w, labels, g: fused_bars(x, w, labels, g, lambda x, each, g: g[0] * (x.T @ each)),
        "kernel_bar was summed in the forward, before g is known",
        source="https://github.com/linkedin/Liger-Kernel/pull/1298",
    ),
    fused.wrong(
        "cotangent of the loss forgotten for one argument",
        lambda x, w, labels, g: (
            excess(x @ w, labels) @ w.T,
            fused_bars(x, w, labels, g, lambda x, each, g: x.T @ (column(g) * each))[1],
            None,
        ),
        "the kernel's gradient is scaled by it, x's is not",
        "RFL",
        source="https://github.com/AI-Hypercomputer/maxtext/pull/4959",
    ),
    each_ce.wrong(
        "cotangent missing in one of two terms",
        lambda z, labels, g: (column(g) * jax.nn.softmax(z) - onehot(labels, z), None),
        "g p - y",
        "RFL",
        source="https://github.com/pytorch/pytorch/issues/11750",
    ),
    ignored_ce.wrong(
        "ignored labels counted",
        lambda z, labels, g: (g * excess(z, labels) * column((labels >= 0).astype(z.dtype)) / len(z), None),
        "divided by all labels",
    ),
    ignored_ce.wrong(
        "ignored rows get a gradient",
        lambda z, labels, g: (g * excess(z, labels) / (labels >= 0).sum().astype(z.dtype), None),
        "softmax without a label",
    ),
    ignored_ce.wrong(
        "label -1 is the last class",
        lambda z, labels, g: (
            g * (jax.nn.softmax(z) - jnp.eye(5, dtype=z.dtype)[labels]) / (labels >= 0).sum().astype(z.dtype),
            None,
        ),
        "an index that wraps round",
    ),
    smooth_ce.wrong(
        "smoothing forgotten", lambda z, labels, g, smoothing: (column(g) * excess(z, labels), None), "in the backward"
    ),
    soft_ce.wrong(
        "right only for targets that sum to one",
        lambda z, t, g: (column(g) * (jax.nn.softmax(z) - t), -column(g) * jax.nn.log_softmax(z)),
        "p - t",
    ),
    soft_ce.wrong(
        "targets taken for constants",
        lambda z, t, g: (column(g) * (jax.nn.softmax(z) * t.sum(-1, keepdims=True) - t), jnp.zeros_like(t)),
        "nothing for the targets",
        waiver="labels have no gradient in training; in distillation they do",
    ),
    soft_ce.wrong(
        "second order lost: the logits' gradient was computed in the forward",
        lambda z, t, g: (
            column(g) * jax.lax.stop_gradient(jax.nn.softmax(z) * t.sum(-1, keepdims=True) - t),
            -column(g) * jax.nn.log_softmax(z),
        ),
        "a Hessian of zeros",
        "2",
        exposed_by=SecondOrder(),
        source="https://github.com/tensorflow/tensorflow/issues/7403",
    ),
]
