"""The dense network of sources 000 and 001 ("Al Project"): their loops, line by line, in NumPy.

A function here takes `printed`, the names of the mistakes of docs/errata.md whose printed line runs in place of the
corrected one that stands beside it. Without any, the gradient is right; with all, it is the text's. Where the text
subtracts lr times a number from a parameter, that number is added up instead: the gradient that the text uses.

Not counted as mistakes: the digit 1 for the letter l, brackets that do not close, and assignment to what a call
returns. The cost is C = 1/n_L sum_k 1/2 (y_k - a_k)^2, with y for the sources' y-hat, the expected output.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

STEP_1 = ("names-swapped", "loop-from-0")
FIRST = ("softmax-diagonal", "loop-over-layers", "hidden-slope", "bias-inside-loop", "next-unset")
FULL = ("else-lost", "j-over-wrong-layer", "p-unset", "bias-inside-loop", "next-unset")
COMMENTS = ("mean-twice",)  # in all three: what runs is the code, and the comment beside it is wrong
BATCH = (
    "batch-index-output",
    "batch-index-hidden",
    "j-over-wrong-layer",
    "p-unset",
    "columns-by-batch",
    "bias-inside-loop",
    "next-unset",
)


class Layer(NamedTuple):
    """One layer: weights[i, j] leads from neuron j of the layer before to neuron i."""

    weights: np.ndarray
    bias: np.ndarray
    activation: str


Gradients = list[tuple[np.ndarray, np.ndarray]]  # for each layer, of the weights and of the bias


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    return np.exp(z - z.max()) / np.exp(z - z.max()).sum()  # 000 and 001 (1), shifted: see "softmax-overflow"


def leaky_relu(z):
    return np.where(z > 0, z, 0.01 * z)


ACTIVATIONS = {"sigmoid": sigmoid, "softmax": softmax, "leaky_relu": leaky_relu}


def activation_derivatives(name, z):
    """getActivationDerivatives: the matrix of da_j/dz_i; for one that is not multidimensional, one row of slopes."""
    if name == "softmax":
        s = softmax(z)
        return s[:, None] * (np.eye(len(s)) - s)  # 001 (4)
    if name == "sigmoid":
        return (sigmoid(z) * (1 - sigmoid(z)))[None]  # definition 11
    return np.where(z > 0, 1, 0.01)[None]


def is_multidimensional(layer):
    return layer.activation == "softmax"


def cost(layers, x, expected):
    """C, of the network as it ought to be."""
    return np.mean((step_1(layers, x)[1][-1] - expected) ** 2) / 2


def cost_derivatives(output, expected, printed: Collection[str] = ()):
    """getCostDerivatives: dC_k/da_k, without the 1/n_L, which the loops put in; the comment says dC/da_k."""
    return (output - expected) / (len(output) if "mean-twice" in printed else 1)


def zeros(layers: Sequence[Layer]) -> Gradients:
    return [(np.zeros_like(layer.weights), np.zeros_like(layer.bias)) for layer in layers]


def step_1(layers, x, printed: Collection[str] = ()):
    """000 and 001, "Algorithm", step 1: the weighted sums z and the outputs a of every layer."""
    sums: list[np.ndarray] = []
    outputs: list[np.ndarray] = []
    first = layers[0].weights @ x + layers[0].bias
    if "names-swapped" in printed:
        outputs[0:1] = [first]
        sums[0:1] = [ACTIVATIONS[layers[0].activation](first)]
    else:
        sums[0:1] = [first]
        outputs[0:1] = [ACTIVATIONS[layers[0].activation](first)]
    for i in range(0 if "loop-from-0" in printed else 1, len(layers)):
        sums[i : i + 1] = [layers[i].weights @ outputs[i - 1] + layers[i].bias]
        outputs[i : i + 1] = [ACTIVATIONS[layers[i].activation](sums[i])]
    return sums, outputs


def step_2_first(layers, x, expected, printed: Collection[str] = ()) -> Gradients:
    """000, "Algorithm", step 2, for one example."""
    sums, outputs = step_1(layers, x)
    size = [len(layer.bias) for layer in layers]
    last = len(layers) - 1
    gradients = zeros(layers)
    current = cost_derivatives(outputs[last], expected, printed)
    jacobian = activation_derivatives(layers[last].activation, sums[last])
    if "softmax-diagonal" in printed:
        slopes = np.diag(jacobian) if is_multidimensional(layers[last]) else jacobian[0]
        for k in range(last, -1, -1) if "loop-over-layers" in printed else range(size[last]):
            current[k] *= 1 / size[last] * slopes[k]
    else:
        whole = jacobian if is_multidimensional(layers[last]) else np.diag(jacobian[0])
        summed = current.copy()
        for k in range(last, -1, -1) if "loop-over-layers" in printed else range(size[last]):
            summed[k] = sum(1 / size[last] * current[j] * whole[j, k] for j in range(size[last]))
        current = summed

    for l in range(last, -1, -1):
        if "next-unset" not in printed:
            following = np.zeros(0)
        if l > 0:
            following = np.zeros(size[l - 1])
            slopes = activation_derivatives(layers[l - 1].activation, sums[l - 1])[0]
            for i in range(size[l - 1]):
                for k in range(size[l]):
                    following[i] += current[k] * layers[l].weights[k, i]
                if "hidden-slope" not in printed:
                    following[i] *= slopes[i]
        before = outputs[l - 1] if l > 0 else x
        weights, bias = gradients[l]
        for i in range(size[l]):
            for j in range(len(before)):
                weights[i, j] += current[i] * before[j]
                if "bias-inside-loop" in printed:
                    bias[i] += current[i]
            if "bias-inside-loop" not in printed:
                bias[i] += current[i]
        current = following
    return gradients


def step_2_full(layers, x, expected, printed: Collection[str] = ()) -> Gradients:
    """001, "Algorithm", step 2, for one example: `current` is dC/dz of layer l."""
    sums, outputs = step_1(layers, x)
    size = [len(layer.bias) for layer in layers]
    last = len(layers) - 1
    gradients = zeros(layers)
    of_cost = cost_derivatives(outputs[last], expected, printed)
    derivatives = activation_derivatives(layers[last].activation, sums[last])
    current = np.zeros(size[last])
    for i in range(size[last]):
        if is_multidimensional(layers[last]):
            current[i] = 0
            for j in range(size[last]):
                current[i] += of_cost[j] * (1 / size[last] * derivatives[j][i])
        if "else-lost" in printed or not is_multidimensional(layers[last]):
            current[i] = of_cost[i] * (1 / size[last] * derivatives[0][i])

    for l in range(last, -1, -1):
        if "next-unset" not in printed:
            following = np.zeros(0)
        if l > 0:
            following = np.zeros(size[l - 1])
            derivatives = activation_derivatives(layers[l - 1].activation, sums[l - 1])  # printed inside both loops
            for i in range(size[l - 1]):
                following[i] = next_derivative(layers, l, i, current, derivatives, printed)
        before = outputs[l - 1] if l > 0 else x
        weights, bias = gradients[l]
        for i in range(size[l]):
            for j in range(len(before)):
                weights[i, j] += current[i] * before[j]
                if "bias-inside-loop" in printed:
                    bias[i] += current[i]
            if "bias-inside-loop" not in printed:
                bias[i] += current[i]
        current = following
    return gradients


def next_derivative(layers, l, i, current, derivatives, printed: Collection[str] = ()):
    """dC/dz_i of layer l - 1, in both forms of 001's step 2."""
    size = [len(layer.bias) for layer in layers]
    total = 0.0
    if is_multidimensional(layers[l - 1]):
        for j in range(size[l] if "j-over-wrong-layer" in printed else size[l - 1]):
            for p in range(size[l]):
                total += current[p] * layers[l].weights[p, j] * derivatives[j][i]
    else:
        for j in range(size[l]):
            row = p if "p-unset" in printed else j  # `p` belongs to the loop above, which has not run
            total += current[j] * layers[l].weights[row, i] * derivatives[0][i]
    return total


def step_2_batch(layers, batch, expected, printed: Collection[str] = ()) -> Gradients:
    """001, "Improvement: mini-batch", step 2: the mean over the batch of the derivatives."""
    sums, outputs = zip(*(step_1(layers, x) for x in batch), strict=True)
    size = [len(layer.bias) for layer in layers]
    last = len(layers) - 1
    gradients = zeros(layers)
    pairs = zip(outputs, expected, strict=True)
    of_cost = np.array([cost_derivatives(output[last], y, printed) for output, y in pairs])
    derivatives = [activation_derivatives(layers[last].activation, z[last]) for z in sums]
    current = np.zeros((len(batch), size[last]))
    for b in range(len(batch)):
        for i in range(size[last]):
            if is_multidimensional(layers[last]):
                current[b][i] = 0
                for j in range(size[last]):
                    if "batch-index-output" in printed:
                        current[i] += of_cost[j] * (1 / size[last] * derivatives[b][j][i])
                    else:
                        current[b][i] += of_cost[b][j] * (1 / size[last] * derivatives[b][j][i])
            else:
                current[b][i] = of_cost[b][i] * (1 / size[last] * derivatives[b][0][i])

    for l in range(last, -1, -1):
        if "next-unset" not in printed:
            following = np.zeros((len(batch), 0))
        if l > 0:
            following = np.zeros((len(batch), size[l - 1]))
            for b in range(len(batch)):
                example = 0 if "batch-index-hidden" in printed else b  # without [b] there is one matrix for all
                derivatives = activation_derivatives(layers[l - 1].activation, sums[example][l - 1])
                for i in range(size[l - 1]):
                    following[b][i] = next_derivative(layers, l, i, current[b], derivatives, printed)
        before = [output[l - 1] for output in outputs] if l > 0 else batch
        weights, bias = gradients[l]
        for i in range(size[l]):
            for j in range(len(before) if "columns-by-batch" in printed else len(before[0])):
                mean = 0.0
                for b in range(len(batch)):
                    mean += current[b][i] * before[b][j]
                weights[i, j] += mean / len(batch)
                if "bias-inside-loop" in printed:
                    bias[i] += sum(current[b][i] for b in range(len(batch))) / len(batch)
            if "bias-inside-loop" not in printed:
                bias[i] += sum(current[b][i] for b in range(len(batch))) / len(batch)
        current = following
    return gradients
