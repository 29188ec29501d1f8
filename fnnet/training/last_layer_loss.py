"""`LinearSoftmaxCrossEntropy`: a loss that takes the network's last layer with it, so that no logits are held."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnnet.layers.protocol import Layer, Params
from fnnet.rules.class_losses import softmax_cross_entropy
from fnnet.rules.labels import as_ignored, as_smoothing
from fnnet.rules.linear_class_loss import linear_softmax_cross_entropy
from fnnet.training.batch_statistics import is_of_batch
from fnnet.training.sample_weights import WeightedLabels, WeightedLoss, plain_labels, silenced, weighed


@dataclass(frozen=True)
class LinearSoftmaxCrossEntropy:
    """Softmax cross-entropy over the classes, or tokens, of a network that ends in `Dense` or `Tied`.

    Args:
        ignore_index: Labels of this value count nothing.
        label_smoothing: As in `softmax_cross_entropy`.

    As the loss of `fit` it is computed by `linear_softmax_cross_entropy` from the last layer's input: the logits never
    exist all at once. With a large vocabulary they would be most of a step's memory. The mean is over all labels of the
    mini-batch that count, as in torch.nn.CrossEntropyLoss. `evaluate` holds no logits either, and gives no accuracy;
    with `metrics` it forms them.

    Called with logits (examples, ..., classes) and integer labels (examples, ...), as by `fnnet.trace`, it gives the
    pair (losses, weights): for each example the sums over its labels. This is also what `fit` does with a network that
    ends in another layer or has a BatchNorm.

    In mixed precision the last product is computed in f32.
    """

    ignore_index: int | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        name = type(self).__name__
        as_ignored(name, self.ignore_index)
        as_smoothing(name, self.label_smoothing)

    def __call__(self, logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """For each example the sum of the losses and that of the weights."""
        losses = softmax_cross_entropy(logits, labels, **self.options)
        weights = softmax_cross_entropy.weight(logits, labels, **self.options)
        return of_examples(losses), of_examples(weights)

    @property
    def options(self) -> dict[str, Any]:
        """As keywords."""
        return {"ignore_index": self.ignore_index, "label_smoothing": self.label_smoothing}


class Split(NamedTuple):
    """A network without its last product, the product's kernel and bias, and the loss; labels may carry weights."""

    body: Layer
    params: Params
    kernel: Any
    bias: Any
    loss: LinearSoftmaxCrossEntropy

    def losses(self, features: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What the loss gives for the logits, from the body's output."""
        by = labels.weights if isinstance(labels, WeightedLabels) else None
        if by is not None:
            features = silenced(features, by)
        given, options = (features, self.kernel, plain_labels(labels)), self.loss.options | {"bias": self.bias}
        losses = of_examples(linear_softmax_cross_entropy(*given, **options))
        weights = of_examples(linear_softmax_cross_entropy.weight(*given, **options))
        return (losses, weights) if by is None else weighed(losses, weights, by)

    def mean(self, features: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The mean over all labels that count, whose gradients are computed with it, and the sum of their weights."""
        given, options = (features, self.kernel, labels), self.loss.options | {"bias": self.bias}
        weights = linear_softmax_cross_entropy.weight(*given, **options)
        return linear_softmax_cross_entropy(*given, **options, reduction="mean"), weights.sum(dtype=jnp.float32)


def of_examples(of_labels: jax.Array) -> jax.Array:
    """Sums over all axes but the first."""
    return of_labels.sum(tuple(range(1, of_labels.ndim)))


def split_for(loss: Any, net: Any, params: Any) -> Split | None:
    """The network's last layer apart, if the loss can do without logits and the network ends in a product."""
    loss = loss.loss if isinstance(loss, WeightedLoss) else loss
    if not isinstance(loss, LinearSoftmaxCrossEntropy) or is_of_batch(net):
        return None
    found = net.last_product(params) if hasattr(net, "last_product") else None
    if found is None or found[0] is None:
        return None
    body, own, kernel, bias = found
    return Split(body, own, kernel, bias, loss)
