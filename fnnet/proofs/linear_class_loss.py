"""The proof of `fnnet.linear_softmax_cross_entropy`."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from fnnet.proofs.class_losses import plain_softmax_cross_entropy
from fnnet.proofs.draws import each, gaussian, held
from fnnet.proofs.proof import Arrays, Configuration, Proof
from fnnet.proofs.refused import NOT_FLOATING, ones
from fnnet.rules.linear_class_loss import linear_softmax_cross_entropy

LEADING = ((), (3,), (2, 3), (0,), (1,))
MANY = ((520,), (2, 521))  # rows, of more than one block; of the second, no number of blocks is a divisor


def plain_linear_softmax_cross_entropy(
    x: Any,
    kernel: Any,
    labels: Any,
    *,
    bias: Any = None,
    ignore_index: int | None = None,
    class_weights: Any = None,
    label_smoothing: float = 0.0,
    soft_cap: float | None = None,
    reduction: str = "none",
) -> Any:
    """All logits at once, by einsum and jax.nn.log_softmax."""
    logits = jnp.einsum("...f,fc->...c", x, kernel)
    logits = logits if bias is None else logits + bias
    logits = logits if soft_cap is None else soft_cap * jnp.tanh(logits / soft_cap)
    losses = plain_softmax_cross_entropy(
        logits, labels, class_weights=class_weights, ignore_index=ignore_index, label_smoothing=label_smoothing
    )
    if reduction == "none":
        return losses
    of_class = jnp.ones(logits.shape[-1]) if class_weights is None else jnp.asarray(class_weights)
    weights = of_class.astype(losses.dtype)[labels]
    return losses.sum() / (weights if ignore_index is None else jnp.where(labels == ignore_index, 0, weights)).sum()


def sample(rng: np.random.Generator) -> Configuration:
    """Every option with and without; few rows, or several blocks of them."""
    many, mean = rng.random() < 0.2, bool(rng.integers(2))
    lead = MANY[rng.integers(len(MANY))] if many else LEADING[rng.integers(len(LEADING))]
    if mean and 0 in lead:
        lead = (2,)
    features, classes = int(rng.choice([1, 3])), 4 if many else int(rng.choice([1, 4]))  # of one, the gradient is 0
    holds = {name: bool(rng.integers(2)) for name in ("bias", "class weights", "smoothing", "soft cap", "ignored")}
    static: dict[str, Any] = {"label_smoothing": 0.1} if holds["smoothing"] else {}
    static |= {"soft_cap": 2.0} if holds["soft cap"] else {}
    static |= {"ignore_index": -1} if holds["ignored"] else {}
    static |= {"reduction": "mean"} if mean else {}

    def arrays(rng: np.random.Generator) -> Arrays:
        labels = np.asarray(rng.integers(0, classes, lead))
        if holds["ignored"]:
            labels = np.where(rng.random(lead) < 0.3, -1, labels)
            labels.flat[:1] = 0  # a mean has one row that counts
        drawn = {"x": rng.normal(size=(*lead, features)), "kernel": rng.normal(size=(features, classes))}
        drawn |= {"labels": labels.astype(np.int32)}
        drawn |= {"bias": rng.normal(size=classes)} if holds["bias"] else {}
        return drawn | ({"class_weights": rng.uniform(0.1, 2, classes)} if holds["class weights"] else {})

    holds |= {"mean": mean, "several blocks": many, "rows left over": len(lead) == 2 and many, "no rows": 0 in lead}
    return Configuration(arrays, static, features=held(holds | {"one class": classes == 1}))


def of(rows: int, features: int, classes: int, **static: Any) -> Configuration:
    """With a bias; the options are the title."""
    draws = {"x": gaussian(rows, features), "kernel": gaussian(features, classes)}
    draws |= {"labels": lambda rng: rng.integers(0, classes, rows).astype(np.int32), "bias": gaussian(classes)}
    return Configuration(each(**draws), static, title=", ".join(f"{name} {value}" for name, value in static.items()))


LINEAR_SOFTMAX_CROSS_ENTROPY = Proof(
    linear_softmax_cross_entropy,
    plain_linear_softmax_cross_entropy,
    examples=[of(4, 3, 5), of(4, 3, 5, soft_cap=2.0, label_smoothing=0.1), of(4, 3, 5, reduction="mean")],
    parameters=("kernel", "bias", "class_weights"),
    differentiated=("x", "kernel", "bias"),
    sample=sample,
    covers=frozenset(
        {"bias", "class weights", "smoothing", "soft cap", "ignored", "mean", "several blocks", "rows left over"}
        | {"no rows", "one class"}
    ),
    tiny=of(2, 2, 3),
    forms=[of(6, 16, 8), of(6, 16, 8, reduction="mean")],
    refused={
        "x": (*NOT_FLOATING, *ones((), (4,), (4, 2), (3, 3), (4, 0))),
        "kernel": (*NOT_FLOATING, *ones((), (3,), (2, 5), (3, 5, 1), (3, 0))),
        "labels": (*ones((4,), (4, 5)), np.zeros(3, int)),
        "bias": (*NOT_FLOATING, *ones((), (4,), (5, 1))),
        "class_weights": ones((4,), (5, 1)),
        "ignore_index": (0.5, 2**31),
        "label_smoothing": (1.5, -0.1, "a"),
        "soft_cap": (0, -1.0, float("inf"), float("nan"), "a", [1.0]),
        "reduction": ("sum", None, 1),
    },
    cancels=True,
    loops=True,
)
