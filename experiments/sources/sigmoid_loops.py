"""The sigmoid networks of sources 002 ("AI lmao") and 003 ("AI Coffee Club, Backpropagation"), in NumPy.

As in dense_loops.py, `printed` names the mistakes of docs/errata.md whose printed form runs. A network is a list of
(weights, bias), weights[j, k] from neuron k of the layer before to neuron j. One example at a time.
"""

from collections.abc import Collection

import numpy as np

RECURSION = ("slope-sign", "recursion", "weight-row")


def f(z):
    """002, the activation; 003 (15)."""
    return 1 / (1 + np.exp(-z))


def f_prime(z, printed: Collection[str] = ()):
    """002, "Back propagation": the slope."""
    sign = -1 if "slope-sign" in printed else 1
    return sign * np.exp(z) / (np.exp(z) + 1) ** 2


def forward(layers, x):
    """002, the weighted sum and the activation; 003 (4) and (5): z and a of every layer, a beginning with x."""
    sums, activations = [], [np.asarray(x, float)]
    for weights, bias in layers:
        z = np.zeros(len(bias))
        for j in range(len(bias)):
            for k in range(len(activations[-1])):
                z[j] += weights[j, k] * activations[-1][k]
            z[j] += bias[j]
        sums.append(z)
        activations.append(f(z))
    return sums, activations


def half_square(layers, x, y):
    """002, the cost."""
    return 0.5 * np.sum((y - forward(layers, x)[1][-1]) ** 2)


def recursion(layers, x, y, printed: Collection[str] = ()):
    """002, the last displays before "The backpropagating algorithm": for each layer dC/dw and dC/db."""
    sums, activations = forward(layers, x)
    last = len(layers) - 1
    of_z = {last: (activations[-1] - y) * f_prime(sums[last], printed)}
    for i in range(last - 1, -1, -1):
        slope = f_prime(sums[i], printed)
        of_z[i] = np.zeros(len(slope))
        for j in range(len(slope)):
            if "recursion" in printed:  # reads the layer below, which is not there yet
                of_z[i][j] = sum(of_z[i - 1][k] * slope[j] * layers[i][0][j, k] for k in range(len(of_z[i - 1])))
            else:
                of_z[i][j] = sum(of_z[i + 1][k] * slope[j] * layers[i + 1][0][k, j] for k in range(len(of_z[i + 1])))
    gradients = []
    for i, (weights, _) in enumerate(layers):
        before, of_weights = activations[i], np.zeros_like(weights)
        for j, k in np.ndindex(weights.shape):
            of_weights[j, k] = of_z[i][j] * before[j if "weight-row" in printed else k]
        gradients.append((of_weights, of_z[i].copy()))
    return gradients


def binary_cross_entropy(prediction, y):
    """003 (7), summed over the outputs."""
    return -np.sum(y * np.log(prediction) + (1 - y) * np.log(1 - prediction))


def unfused(a, y):
    """003 (16) with (17) and (18), factor by factor."""
    return -(y / a - (1 - y) / (1 - a)) * (a * (1 - a))


def fused(a, y):
    """003 (19)."""
    return a - y


def cancellation(layers, x, y, of_last=fused):
    """003 (19), (24), (29) and (30): for each layer dC/dW and dC/db."""
    _, activations = forward(layers, x)
    of_z = of_last(activations[-1], y)
    gradients = []
    for l in range(len(layers) - 1, -1, -1):
        before = activations[l]
        gradients.append((np.outer(of_z, before), of_z))  # (26) and (28): the outer product that "a" stands for
        if l > 0:
            of_z = (of_z @ layers[l][0]) * (before * (1 - before))  # (24), with dC/dz as a row
    return gradients[::-1]
