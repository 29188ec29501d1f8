"""Binary losses: a prediction for each of several yes-or-no questions, and targets y -> one loss l per example.

sigmoid binary cross-entropy, of logits z;  s(z) = log(1 + exp(z)) is softplus, a_i = 1 / (1 + exp(-z_i))
    forward     l       = sum_i y_i s(-z_i) + (1 - y_i) s(z_i)                  (1)
                l       = sum_i max(z_i, 0) - z_i y_i + log(1 + exp(-|z_i|))    (2)
    backward    z_bar_i = l_bar (a_i - y_i)                                     (3)
                y_bar_i = - l_bar z_i                                           (4)
the same with weights w of the positive answers
    forward     l       = sum_i w_i y_i s(-z_i) + (1 - y_i) s(z_i)              (8)
    backward    z_bar_i = l_bar ((1 - y_i) a_i - w_i y_i (1 - a_i))             (9)
                y_bar_i = l_bar (w_i s(-z_i) - s(z_i))                          (10)
                w_bar_i = l_bar y_i s(-z_i)                                     (11)
binary cross-entropy, of probabilities p
    forward     l       = - sum_i y_i log p_i + (1 - y_i) log(1 - p_i)          (5)
    backward    p_bar_i = - l_bar (y_i / p_i - (1 - y_i) / (1 - p_i))           (6)
                y_bar_i = - l_bar (log p_i - log(1 - p_i))                      (7)

(1) is computed, not (2): the two agree where z is finite, and (1) is also right where it is infinite. 0 log 0 = 0.
If w is 1, (9) and (10) are (3) and (4), which lose fewer digits.

Sources: 003 (7) is (5), (17) is (6), (19) is (3), with its a for p. It has one output; here the loss is a sum.
(8) is torch.nn.BCEWithLogitsLoss with its pos_weight.
Derivation: docs/derivations/losses.md
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Num

from fnnet.core.arguments import wide
from fnnet.core.habits import hinted
from fnnet.core.reduction import unweighted
from fnnet.core.registration import rule
from fnnet.rules.labels import Targets, as_rows, as_weights_of, weighted


@unweighted
@hinted
def sigmoid_binary_cross_entropy(
    logits: Float[ArrayLike, "... entries"], targets: Targets, *, positive_weights: Num[ArrayLike, "..."] | None = None
) -> Float[Array, "..."]:
    """Cross-entropy of sigmoid(logits), one number per example: the sum over the last axis of (1), or of (8).

    Args:
        logits: z, (..., entries).
        targets: y, (..., entries), from 0 to 1; they get their gradient. Leading axes are broadcast, the last is not.
        positive_weights: w, a number, (entries,), or any shape that broadcasts to the loss's entries: how much a
            positive answer counts, as against rare ones. They get their gradient. A mean does not divide by them.

    Returns:
        (...), in the arguments' dtype; bf16 and f16 are computed in f32. Logits of any size do not overflow; where they
        are infinite the loss is 0 if the target agrees (1 for +inf, 0 for -inf), and +inf if not.

    Raises:
        ValueError: The shapes do not go together, or there is no last axis: one output is an axis of size 1.
        TypeError: An argument is not a real array.

    Source: 003 (7) and (19); torch.nn.BCEWithLogitsLoss.
    """
    name = "sigmoid_binary_cross_entropy"
    logits, targets = as_rows(name, logits=logits, targets=targets)
    if positive_weights is not None:
        positive_weights = as_weights_of(name, "positive_weights", positive_weights, logits)
    return _sigmoid_binary_cross_entropy(logits, targets, positive_weights)


def sigmoid_binary_cross_entropy_fwd(logits, targets, weights):
    z, y = wide(logits, targets)
    positive = y if weights is None else weights.astype(y.dtype) * y
    loss = (weighted(positive, softplus(-z)) + weighted(1 - y, softplus(z))).sum(-1)  # (1), (8)
    return loss.astype(logits.dtype), (logits, targets, weights)  # the caller's arrays: (3) reads y and z, (4) reads z


def sigmoid_binary_cross_entropy_bwd(residuals, loss_bar):
    logits, targets, weights = residuals
    z, y, l_bar = wide(logits, targets, loss_bar[..., None])
    if weights is None:
        logits_bar = weighted(l_bar, lax.logistic(z) - y)  # (3)
        targets_bar = -weighted(l_bar, z)  # (4)
        return logits_bar.astype(logits.dtype), targets_bar.astype(targets.dtype), None
    (w,) = wide(weights)
    logits_bar = weighted(l_bar, (1 - y) * lax.logistic(z) - w * y * lax.logistic(-z))  # (9)
    targets_bar = weighted(l_bar, weighted(w, softplus(-z)) - softplus(z))  # (10)
    weights_bar = weighted(l_bar, weighted(y, softplus(-z)))  # (11)
    return tuple(bar.astype(logits.dtype) for bar in (logits_bar, targets_bar, weights_bar))


def softplus(z):
    return jnp.logaddexp(z, 0)


_sigmoid_binary_cross_entropy = rule(
    sigmoid_binary_cross_entropy_fwd, sigmoid_binary_cross_entropy_bwd, batched=("logits", "targets", "weights")
)


@unweighted
@hinted
def binary_cross_entropy(probabilities: Float[ArrayLike, "... entries"], targets: Targets) -> Float[Array, "..."]:
    """Binary cross-entropy of probabilities, one number per example: the sum over the last axis of (5).

    On logits, `sigmoid_binary_cross_entropy` is more exact: this one is for probabilities that come without them.

    Args:
        probabilities: p, (..., entries), from 0 to 1.
        targets: y, (..., entries), from 0 to 1; they get their gradient. Leading axes are broadcast, the last is not.

    Returns:
        (...), in the arguments' dtype. A term whose weight, y or 1 - y, is 0 adds 0 to loss and gradient, also at p = 0
        or 1; where the target disagrees with such a p the loss is +inf, and the gradient infinite.

    Raises:
        ValueError: The shapes do not go together, or there is no last axis: one output is an axis of size 1.
        TypeError: An argument is not a real array.

    Source: 003 (7) and (17).
    """
    return _binary_cross_entropy(*as_rows("binary_cross_entropy", probabilities=probabilities, targets=targets))


def binary_cross_entropy_fwd(probabilities, targets):
    p, y = wide(probabilities, targets)
    loss = -(weighted(y, jnp.log(p)) + weighted(1 - y, jnp.log1p(-p))).sum(-1)  # (5)
    return loss.astype(probabilities.dtype), (probabilities, targets)  # the caller's arrays, both read by (6)


def binary_cross_entropy_bwd(residuals, loss_bar):
    probabilities, targets = residuals
    p, y, l_bar = wide(probabilities, targets, loss_bar[..., None])
    probabilities_bar = -weighted(l_bar, weighted(y, 1 / p) - weighted(1 - y, 1 / (1 - p)))  # (6)
    targets_bar = -weighted(l_bar, jnp.log(p) - jnp.log1p(-p))  # (7)
    return probabilities_bar.astype(probabilities.dtype), targets_bar.astype(targets.dtype)


_binary_cross_entropy = rule(binary_cross_entropy_fwd, binary_cross_entropy_bwd, batched=("probabilities", "targets"))
