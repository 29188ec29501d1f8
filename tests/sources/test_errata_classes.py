"""docs/errata.md, the categorical loss of 004: each printed form against differences, and its correction."""

import itertools

import numpy as np
from central_differences import gradient, right, wrong

RNG = np.random.default_rng(4)


def test_loss_indices():
    sizes = (4, 3, 5, 3)  # n_0 to n_3
    x, y = RNG.normal(size=4), np.eye(3)[1]
    w = [RNG.normal(size=(i, o)) for i, o in itertools.pairwise(sizes)]  # w_{1,i,j}: input i, neuron j
    b = [RNG.normal(size=o) for o in sizes[1:]]

    def hidden(of_bias):
        a = x
        for l in (0, 1):
            a = np.array(
                [max(0.0, sum(a[i] * w[l][i, j] for i in range(len(a))) + of_bias(l, j)) for j in range(sizes[l + 1])]
            )
        return a

    def logit(a, j, bias):
        return sum(a[i] * w[2][i, j] for i in range(len(a))) + bias

    own = hidden(lambda l, j: b[l][j])
    true = -np.log(np.exp(own @ w[2] + b[2]) / np.exp(own @ w[2] + b[2]).sum())[1]

    def printed():
        """In the denominator b_{1,k}, b_{2,k}, b_{3,k} and w_{3,i,j}: nothing there depends on l."""
        loss = 0.0
        for k in range(3):
            of_k = hidden(lambda l, j, k=k: b[l][k])
            denominator = sum(np.exp(logit(of_k, k, b[2][k])) for _ in range(3))
            loss -= y[k] * np.log(np.exp(logit(own, k, b[2][k])) / denominator)
        return loss

    def corrected():
        denominator = sum(np.exp(logit(own, l, b[2][l])) for l in range(3))
        return -sum(y[k] * np.log(np.exp(logit(own, k, b[2][k])) / denominator) for k in range(3))

    assert wrong(printed(), true)
    assert right(corrected(), true)


def test_sum_kept():
    p, y = np.array([0.2, 0.5, 0.3]), np.array([0.1, 0.6, 0.3])
    true = gradient(lambda p: -np.sum(y * np.log(p)), p)
    assert wrong(np.full(3, -sum(y[j] / p[j] for j in range(3))), true)
    assert right(-y / p, true)
    one_hot = np.eye(3)[1]
    true = gradient(lambda p: -np.sum(one_hot * np.log(p)), p)
    assert wrong(np.full(3, -sum(one_hot[j] / p[j] for j in range(3))), true)  # right at the label, and nowhere else
    assert right(-one_hot / p, true)
