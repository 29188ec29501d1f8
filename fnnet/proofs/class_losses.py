"""The proofs of the losses over classes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.proofs.draws import ALONG, ROWS, distribution, each, fractions, gaussian, held, logits, probabilities
from fnnet.proofs.proof import Arrays, Configuration, Proof
from fnnet.proofs.refused import NOT_FLOATING, ones
from fnnet.rules import class_losses

LABELS = ((None, None), ("int32", None), ("int32", -1), ("uint8", 255))  # dtype, None for rows; ignore_index


def some_classes(rng: np.random.Generator) -> np.ndarray:
    """Four labels, all different."""
    return rng.permutation(4).astype(np.int32)


def weights(rng: np.random.Generator) -> np.ndarray:
    """A weight for each of four classes."""
    return np.array([0.5, 1.5, 1.0, 2.0])


def logarithms(rows: int, classes: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Of probabilities."""
    return lambda rng: np.log(probabilities(rows, classes)(rng))


def plain_softmax_cross_entropy(
    logits: Any,
    labels: Any,
    *,
    label_smoothing: float = 0.0,
    class_weights: Any = None,
    ignore_index: int | None = None,
) -> Any:
    """By jax.nn.log_softmax."""
    targets = (1 - label_smoothing) * _rows(labels, logits) + label_smoothing / logits.shape[-1]
    if class_weights is not None:
        targets = targets * jnp.asarray(class_weights, targets.dtype)
    loss = -_times(targets, jax.nn.log_softmax(logits)).sum(-1)
    return _unless_ignored(loss, labels, ignore_index)


def plain_cross_entropy(probabilities: Any, labels: Any) -> Any:
    """0 log 0 = 0, with gradient 0."""
    targets = _rows(labels, probabilities)
    logs = jnp.log(jnp.where((targets == 0) & (probabilities == 0), 1.0, probabilities))
    return -(targets * logs).sum(-1)


def plain_negative_log_likelihood(
    log_probabilities: Any, labels: Any, *, class_weights: Any = None, ignore_index: int | None = None
) -> Any:
    """By a product with the labels' rows."""
    terms = _times(_rows(labels, log_probabilities), log_probabilities)
    if class_weights is not None:
        terms = terms * jnp.asarray(class_weights, terms.dtype)
    return _unless_ignored(-terms.sum(-1), labels, ignore_index)


def _times(weight: Any, logarithm: Any) -> Any:
    """Their product, where 0 log 0 = 0; where the weight is not 0, nothing else than the product."""
    return jnp.where((weight == 0) & jnp.isneginf(logarithm), 0.0, weight * logarithm)


def _rows(labels: Any, like: Any) -> Any:
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return labels
    return jax.nn.one_hot(labels, like.shape[-1], dtype=like.dtype)


def _unless_ignored(loss: Any, labels: Any, ignore_index: int | None) -> Any:
    return loss if ignore_index is None else jnp.where(labels == ignore_index, 0.0, loss)


def proof_of(
    function: Callable,
    reference: Callable,
    *examples: Configuration,
    prediction: str,
    of_logits: Callable[[np.ndarray], np.ndarray],
    smoothing: bool = False,
    weighing: bool = False,
) -> Proof:
    """The proof of a loss over classes.

    `prediction` is the name of the first argument; of_logits(z) its values at logits z; `smoothing` and `weighing` say
    whether the loss takes label_smoothing, and class_weights with ignore_index.
    """

    def sample(rng: np.random.Generator) -> Configuration:
        *lead, classes = ROWS[rng.integers(len(ROWS))]
        dtype, ignored = LABELS[rng.integers(len(LABELS) if weighing else 2)]
        smoothed, weights = smoothing and bool(rng.integers(2)), weighing and bool(rng.integers(2))
        static = ({"label_smoothing": 0.1} if smoothed else {}) | ({} if ignored is None else {"ignore_index": ignored})
        values, features = logits(rng, (*lead, classes), most=30.0)

        def arrays(rng: np.random.Generator) -> Arrays:
            drawn = {prediction: of_logits(values(rng))}
            if dtype is None:
                drawn["labels"] = distribution(rng.normal(size=(*lead, classes)))
            else:
                drawn["labels"] = rng.integers(0, classes, lead).astype(dtype)
            if ignored is not None:
                drawn["labels"] = np.where(rng.random(lead) < 0.3, np.array(ignored, dtype), drawn["labels"])
            return drawn | ({"class_weights": rng.uniform(0.1, 2, classes)} if weights else {})

        holds = {"rows": dtype is None, "integers": dtype is not None, "smoothing": smoothed, "class weights": weights}
        holds |= {"ignore_index": ignored is not None, "one class": classes == 1, "unsigned": dtype == "uint8"}
        return Configuration(arrays, static, features=features | held(holds))

    refused: dict[str, tuple] = {prediction: (*NOT_FLOATING, *ones((), (4, 0)))}
    refused |= {"label_smoothing": (1.5, -0.1, "a")} if smoothing else {}
    refused |= {"class_weights": ones((2,), (5, 1)), "ignore_index": (0.5, 2**31)} if weighing else {}
    covers = ALONG | {"rows", "integers", "one class", "size 30"} | ({"smoothing"} if smoothing else set())
    covers |= {"class weights", "ignore_index", "unsigned"} if weighing else set()
    return Proof(
        function,
        reference,
        examples,
        differentiated=(prediction, "labels"),
        refused=refused,
        sample=sample,
        covers=covers,
        tiny=fractions(prediction, "labels"),
        cancels=prediction == "logits",
    )


SOFTMAX_CROSS_ENTROPY = proof_of(
    class_losses.softmax_cross_entropy,
    plain_softmax_cross_entropy,
    Configuration(each(logits=gaussian(4, 5), labels=some_classes)),
    Configuration(each(logits=gaussian(4, 5), labels=probabilities(4, 5)), title="probabilities"),
    Configuration(
        each(logits=gaussian(4, 4), labels=some_classes, class_weights=weights),
        {"label_smoothing": 0.1, "ignore_index": 1},
        "smoothed, weighed",
    ),
    prediction="logits",
    of_logits=lambda z: z,
    smoothing=True,
    weighing=True,
)
CROSS_ENTROPY = proof_of(
    class_losses.cross_entropy,
    plain_cross_entropy,
    Configuration(each(probabilities=probabilities(4, 5), labels=some_classes)),
    Configuration(each(probabilities=probabilities(4, 5), labels=probabilities(4, 5)), title="probabilities"),
    prediction="probabilities",
    of_logits=lambda z: distribution(z / 10),
)
NEGATIVE_LOG_LIKELIHOOD = proof_of(
    class_losses.negative_log_likelihood,
    plain_negative_log_likelihood,
    Configuration(each(log_probabilities=logarithms(4, 5), labels=some_classes)),
    Configuration(
        each(log_probabilities=logarithms(4, 4), labels=some_classes, class_weights=weights),
        {"ignore_index": 1},
        "weighed",
    ),
    prediction="log_probabilities",
    of_logits=lambda z: np.log(distribution(z / 10)),
    weighing=True,
)
