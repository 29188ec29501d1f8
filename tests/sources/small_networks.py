"""Networks small enough for differences by every parameter."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from central_differences import gradient, largest_difference
from dense_loops import Gradients, Layer


def network(sizes: Sequence[int], activations: Sequence[str], seed: int = 0) -> list[Layer]:
    """Layers with random weights and biases."""
    rng = np.random.default_rng(seed)
    pairs = zip(itertools.pairwise(sizes), activations, strict=True)
    return [Layer(rng.normal(size=(o, i)), rng.normal(size=o), activation) for (i, o), activation in pairs]


def gradients(cost: Callable[[list[Layer]], float], layers: list[Layer]) -> Gradients:
    """The derivatives of a cost by every weight and bias."""
    result = []
    for l, layer in enumerate(layers):

        def changed(l=l, layer=layer, **values):
            return cost([*layers[:l], layer._replace(**values), *layers[l + 1 :]])

        def by(name, changed=changed):
            return lambda value: changed(**{name: value})

        result.append((gradient(by("weights"), layer.weights), gradient(by("bias"), layer.bias)))
    return result


def difference(ours: Gradients, theirs: Gradients) -> float:
    """The largest over all layers, weights and biases."""
    pairs = zip(ours, theirs, strict=True)
    return max(largest_difference(a, b) for of_one, of_other in pairs for a, b in zip(of_one, of_other, strict=True))
