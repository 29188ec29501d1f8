"""Losses over classes: a prediction and the weights t of the classes -> one loss l per example, over the last axis.

softmax cross-entropy, of logits z
    forward     q_i     = z_i - log sum_j exp(z_j),   p_i = exp(q_i)     (1)
                l       = - sum_i t_i q_i                                (2)
    backward    z_bar_i = l_bar (p_i sum_j t_j - t_i)                    (3)
                t_bar_i = - l_bar q_i                                    (4)
cross-entropy, of probabilities p
    forward     l       = - sum_i t_i log p_i                            (5)
    backward    p_bar_i = - l_bar t_i / p_i                              (6)
                t_bar_i = - l_bar log p_i                                (7)
negative log-likelihood, of log-probabilities q
    forward     l       = - sum_i t_i q_i                                (8)
    backward    q_bar_i = - l_bar t_i                                    (9)
                t_bar_i = - l_bar q_i                                    (10)

t is one-hot or a row of probabilities, smoothed, times class weights, 0 where ignored: labels.py. It need not sum to 1.
0 log 0 = 0: an entry with t_i = 0 adds 0 to the loss, whatever its logarithm. An example with l_bar = 0 has gradient 0.

Sources: 004, "Calculate Gradient of the CCE loss", is (5) and (6); the sum over j in its last but one term is a
misprint, and its division by the number of samples is contained in l_bar here. (3) is (6) through the Jacobian of
softmax, 001 (4) and 004. If t sums to 1 it is p - t. The two are fused because (6) divides by p_i, which underflows.
Derivation: docs/derivations/losses.md
"""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.core.arguments import wide
from fnnet.core.habits import hinted
from fnnet.core.reduction import unweighted, weighed_by
from fnnet.core.registration import rule
from fnnet.rules.labels import Labels, as_targets, weighted, weights_of_examples
from fnnet.rules.softmax import log_probabilities

ClassWeights = Float[ArrayLike, " classes"] | None


def _softmax_cross_entropy_weight(logits, labels, *, label_smoothing=0.0, class_weights=None, ignore_index=None):
    """The weight of each example in a mean, which smoothing does not change."""
    name = "softmax_cross_entropy"
    return weights_of_examples(name, "logits", logits, labels, class_weights=class_weights, ignore_index=ignore_index)


@weighed_by(_softmax_cross_entropy_weight)
@hinted
def softmax_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Labels,
    *,
    label_smoothing: float = 0.0,
    class_weights: ClassWeights = None,
    ignore_index: int | None = None,
) -> Float[Array, "*batch"]:
    """Cross-entropy of softmax(logits), one number per example: -sum_c t_c log softmax(logits)_c.

    Args:
        logits: (..., classes).
        labels: Integers (...), or class probabilities y (..., classes), which get their gradient. Integers become
            t_c = w_c ((1 - e) [c = label] + e / classes), probabilities t_c = w_c ((1 - e) y_c + e / classes).
        label_smoothing: e, from 0 to 1.
        class_weights: w, (classes,), a constant to differentiation.
        ignore_index: Integer labels of this value, any integer, have loss 0 and gradient 0.

    Returns:
        (...), in the logits' dtype; bf16 and f16 are computed in f32. Logits of any size do not overflow. A logit of
        -inf is a class that cannot be: gradient 0, or a loss of +inf if its t is not 0.

    Raises:
        ValueError: Shapes do not go together; a label is neither a class nor `ignore_index`. Under jit and vmap, where
            labels are not known, such a label has loss NaN, and gradient NaN unless the incoming cotangent is 0.
        TypeError: The labels are neither integers nor rows of floating numbers.

    `softmax_cross_entropy.weight`, called with the same arguments, is what an example counts in a mean: w_label, 0
    where ignored, 1 for class probabilities.

    Source: 004, CCE loss; smoothing, weights and their mean as in torch.nn.CrossEntropyLoss.
    """
    return _softmax_cross_entropy(
        *as_targets(
            "softmax_cross_entropy",
            "logits",
            logits,
            labels,
            label_smoothing=label_smoothing,
            class_weights=class_weights,
            ignore_index=ignore_index,
        )
    )


def softmax_cross_entropy_fwd(logits, targets):
    q = log_probabilities(logits, -1)  # (1)
    loss = -weighted(*wide(targets), q).sum(-1)  # (2)
    return loss.astype(logits.dtype), (logits, targets)  # the caller's arrays; q is found again in one pass


def softmax_cross_entropy_bwd(residuals, loss_bar):
    logits, targets = residuals
    q = log_probabilities(logits, -1)  # (1)
    t, l_bar = wide(targets, loss_bar[..., None])
    logits_bar = weighted(l_bar, weighted(t.sum(-1, keepdims=True), jnp.exp(q)) - t)  # (3)
    targets_bar = -weighted(l_bar, q)  # (4)
    return logits_bar.astype(logits.dtype), targets_bar.astype(targets.dtype)


_softmax_cross_entropy = rule(softmax_cross_entropy_fwd, softmax_cross_entropy_bwd, batched=("logits", "targets"))


@unweighted
@hinted
def cross_entropy(probabilities: Float[ArrayLike, "*batch classes"], labels: Labels) -> Float[Array, "*batch"]:
    """Cross-entropy of probabilities, one number per example: -sum_c t_c log p_c.

    On logits, `softmax_cross_entropy` is more exact: this one is for probabilities that come without them.

    Args:
        probabilities: p, (..., classes).
        labels: Integers (...), or class probabilities t (..., classes), which get their gradient.

    Returns:
        (...), in the probabilities' dtype. An entry with t_c = 0 adds 0, with gradient 0, also at p_c = 0; at p_c = 0
        with t_c > 0 the loss is +inf and the gradient -inf.

    Raises:
        ValueError, TypeError: As `softmax_cross_entropy`, also for labels out of range.

    Source: 004, CCE loss.
    """
    return _cross_entropy(*as_targets("cross_entropy", "probabilities", probabilities, labels))


def cross_entropy_fwd(probabilities, targets):
    p, t = wide(probabilities, targets)
    loss = -weighted(t, jnp.log(p)).sum(-1)  # (5)
    return loss.astype(probabilities.dtype), (probabilities, targets)  # the caller's arrays, both read by (6)


def cross_entropy_bwd(residuals, loss_bar):
    probabilities, targets = residuals
    p, t, l_bar = wide(probabilities, targets, loss_bar[..., None])
    probabilities_bar = -weighted(l_bar, weighted(t, 1 / p))  # (6)
    targets_bar = -weighted(l_bar, jnp.log(p))  # (7)
    return probabilities_bar.astype(probabilities.dtype), targets_bar.astype(targets.dtype)


_cross_entropy = rule(cross_entropy_fwd, cross_entropy_bwd, batched=("probabilities", "targets"))


def _negative_log_likelihood_weight(log_probabilities, labels, *, class_weights=None, ignore_index=None):
    """The weight of each example in a mean."""
    name, argument = "negative_log_likelihood", "log_probabilities"
    return weights_of_examples(
        name, argument, log_probabilities, labels, class_weights=class_weights, ignore_index=ignore_index
    )


@weighed_by(_negative_log_likelihood_weight)
@hinted
def negative_log_likelihood(
    log_probabilities: Float[ArrayLike, "*batch classes"],
    labels: Labels,
    *,
    class_weights: ClassWeights = None,
    ignore_index: int | None = None,
) -> Float[Array, "*batch"]:
    """Negative log-likelihood, one number per example: -sum_c t_c q_c; for integer labels -w_label q_label.

    Args:
        log_probabilities: q, (..., classes), as of `log_softmax`; -inf is a class that cannot be.
        labels: Integers (...), or class probabilities (..., classes), which get their gradient.
        class_weights: w, (classes,), a constant to differentiation.
        ignore_index: Integer labels of this value, any integer, have loss 0 and gradient 0.

    Returns:
        (...), in the log-probabilities' dtype. An entry with t_c = 0 adds 0, also at q_c = -inf.

    Raises:
        ValueError, TypeError: As `softmax_cross_entropy`, also for labels out of range.

    `negative_log_likelihood.weight` is that of `softmax_cross_entropy`.

    Source: torch.nn.NLLLoss; with `log_softmax` it is 004's CCE loss.
    """
    name, argument = "negative_log_likelihood", "log_probabilities"
    return _negative_log_likelihood(
        *as_targets(name, argument, log_probabilities, labels, class_weights=class_weights, ignore_index=ignore_index)
    )


def negative_log_likelihood_fwd(q, targets):
    loss = -weighted(*wide(targets, q)).sum(-1)  # (8)
    return loss.astype(q.dtype), (q, targets)  # (9) reads t, (10) reads q


def negative_log_likelihood_bwd(residuals, loss_bar):
    q, targets = residuals
    l_bar = loss_bar[..., None]
    return -weighted(l_bar, targets), -weighted(l_bar, q)  # (9), (10)


_negative_log_likelihood = rule(negative_log_likelihood_fwd, negative_log_likelihood_bwd, batched=("q", "targets"))
