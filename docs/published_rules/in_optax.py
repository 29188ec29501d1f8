"""optax: its losses and projections."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from published_rules.entry import Entry, normal, uniform

Z, T = normal(0, 4, 5), uniform(1, 4, 5)
P = T / T.sum(-1, keepdims=True)
LABELS = np.array([0, 2, 4, 2], np.int32)
SIGNS = np.array([1, -1, 1, -1, 1, 1], np.float32)


def bits(z, t):
    """Cross-entropy of one bit; the two branches of softplus meet smoothly."""

    def softplus(z):
        return jnp.where(z > 0, z, 0) + jnp.log1p(jnp.exp(jnp.where(z > 0, -z, z)))

    return t * softplus(-z) + (1 - t) * softplus(z)


def focal(z, t):
    p = 1 / (1 + jnp.exp(-z))
    weight = t * (1 - p) + (1 - t) * p
    return bits(z, t) * weight * weight


def log_softmax(z):
    top = jax.lax.stop_gradient(z.max(-1, keepdims=True))
    return z - top - jnp.log(jnp.exp(z - top).sum(-1, keepdims=True))


def loss(name, *args, f: Callable | None = None, **options):
    """optax.losses.name at these arguments, or f(losses, *args)."""

    def make():
        import optax

        found = getattr(optax.losses, name.split("(")[0])
        return ((lambda *a: f(found, *a)) if f else found), *args

    return Entry("optax", f"optax.losses.{name}", make, **options)


def projection(name, x=T[0] * 2, *more, label="", **options):
    """optax.projections.name."""

    def make():
        import optax.projections

        found = getattr(optax.projections, name)
        return (lambda x: found(x, *more)), x

    return Entry("optax", f"optax.projections.{name}{label}", make, **options)


def ctc(loss, logits):
    labels, none = np.array([[1, 2, 0]]), np.zeros
    return loss(logits, none((1, 6), np.float32), labels, np.array([[0, 0, 1]], np.float32))


LOSSES = [
    loss("squared_error", normal(0, 6), normal(1, 6), reference=lambda p, t: (p - t) * (p - t)),
    loss("l2_loss", normal(0, 6), normal(1, 6), reference=lambda p, t: (p - t) * (p - t) / 2),
    loss("huber_loss", normal(0, 6, scale=2), normal(1, 6, scale=2),
         reference=lambda p, t: jnp.where(jnp.abs(p - t) < 1, (p - t) ** 2 / 2, jnp.abs(p - t) - 0.5)),
    loss("log_cosh", normal(0, 6), normal(1, 6)),
    loss("cosine_similarity", normal(0, 4, 3), normal(1, 4, 3)),
    loss("cosine_distance", normal(0, 4, 3), normal(1, 4, 3)),
    loss("hinge_loss", normal(0, 6), SIGNS),
    loss("perceptron_loss", normal(0, 6), SIGNS),
    loss("sparsemax_loss", normal(0, 6, scale=2), np.array([0, 1, 0, 1, 1, 0], np.int32)),
    loss("multiclass_sparsemax_loss", Z, LABELS),
    loss("multiclass_hinge_loss", Z, LABELS),
    loss("multiclass_perceptron_loss", Z, LABELS),
    loss("softmax_cross_entropy", Z, P, reference=lambda z, t: -(t * log_softmax(z)).sum(-1)),
    loss("softmax_cross_entropy_with_integer_labels", Z, LABELS,
         reference=lambda z, i: -jnp.take_along_axis(log_softmax(z), i[:, None], -1)[:, 0]),
    loss("safe_softmax_cross_entropy", Z, P, reference=lambda z, t: -(t * log_softmax(z)).sum(-1)),
    loss("poly_loss_cross_entropy", Z, P,
         reference=lambda z, t: -(t * log_softmax(z)).sum(-1) + 2 * (t * (1 - jnp.exp(log_softmax(z)))).sum(-1)),
    loss("sigmoid_binary_cross_entropy", Z, T, reference=bits),
    loss("sigmoid_focal_loss", Z, T, reference=focal, fault="focal"),
    loss("kl_divergence", jnp.log(P).__array__(), P[::-1].copy()),
    loss("kl_divergence_with_log_targets", jnp.log(P).__array__(), jnp.log(P[::-1]).__array__()),
    loss("convex_kl_divergence", jnp.log(P).__array__(), P[::-1].copy()),
    loss("generalized_kl_divergence", jnp.log(P).__array__(), P[::-1].copy()),
    loss("dice_loss", Z, T),
    loss("binary_dice_loss", Z, T),
    loss("multiclass_generalized_dice_loss", Z, np.eye(5, dtype=np.float32)[LABELS]),
    loss("ntxent", Z, np.array([0, 1, 0, 1], np.int32)),
    loss("triplet_margin_loss", normal(0, 4, 3), normal(1, 4, 3), normal(2, 4, 3)),
    loss("ranking_softmax_loss", Z, T),
    loss("ctc_loss", normal(0, 1, 6, 4), f=ctc),
    Entry("optax", "optax.safe_norm", lambda: _optax("safe_norm", normal(0, 4), f=lambda n, x: n(x, 1e-6))),
    Entry("optax", "optax.scale_gradient", lambda: _optax("scale_gradient", normal(0, 4), f=lambda s, x: s(x, 0.5)),
          documented="the gradient is scaled, and the value is not"),
]  # fmt: skip


def _optax(name, *args, f):
    import optax

    return (lambda *a: f(getattr(optax, name), *a)), *args


def on_simplex(x, scale=1.0):
    """By bisection of the threshold; differentiated where the support stays."""
    high = jax.lax.stop_gradient(x)
    low, top = high.max() - scale, high.max()
    for _ in range(60):
        middle = (low + top) / 2
        too_much = jnp.maximum(high - middle, 0).sum() > scale
        low, top = jnp.where(too_much, middle, low), jnp.where(too_much, top, middle)
    inside = high > top
    threshold = (jnp.where(inside, x, 0).sum() - scale) / inside.sum()
    return jnp.where(inside, x - threshold, 0)


PROJECTIONS = [
    projection("projection_simplex", reference=on_simplex),
    projection("projection_simplex", label=" (x64 enabled)", reference=on_simplex, x64=True, fault="simplex"),
    projection("projection_box", normal(0, 6), -0.5, 0.5),
    projection("projection_hypercube", normal(0, 6)),
    projection("projection_non_negative", normal(0, 6)),
    projection("projection_l1_ball", normal(0, 6)),
    projection("projection_l1_sphere", normal(0, 6)),
    projection("projection_l2_ball", normal(0, 6)),
    projection("projection_l2_sphere", normal(0, 6)),
    projection("projection_linf_ball", normal(0, 6)),
    projection("projection_halfspace", normal(0, 6), normal(1, 6), -1.0),
    projection("projection_hyperplane", normal(0, 6), normal(1, 6), 1.0),
    projection("projection_vector", normal(0, 6), normal(1, 6)),
]
