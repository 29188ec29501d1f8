"""docs/errata.md, the sigmoid networks of 002 and 003: each printed form against differences, and its correction."""

import numpy as np
import pytest
from central_differences import gradient, jacobian, largest_difference, right, wrong
from sigmoid_loops import f, f_prime, forward, half_square, recursion

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=3), RNG.uniform(size=3)
LAYERS = [(RNG.normal(size=(3, 3)), RNG.normal(size=3)) for _ in range(3)]  # widths 3, so that every index exists
SUMS, ACTIVATIONS = forward(LAYERS, X)
NARROW = [(RNG.normal(size=(2, 3)), RNG.normal(size=2)), (RNG.normal(size=(3, 2)), RNG.normal(size=3))]


def true_gradients(layers, x, y):
    result = []
    for l, (weights, bias) in enumerate(layers):

        def cost(w, b, l=l):
            return half_square([*layers[:l], (w, b), *layers[l + 1 :]], x, y)

        by_weights = gradient(lambda w, cost=cost, bias=bias: cost(w, bias), weights)
        result.append((by_weights, gradient(lambda b, cost=cost, weights=weights: cost(weights, b), bias)))
    return result


TRUE = true_gradients(LAYERS, X, Y)


def by_z(l):
    """dC/dz of layer l, by differences."""

    def cost(z):
        a = f(z)
        for weights, bias in LAYERS[l + 1 :]:
            a = f(weights @ a + bias)
        return 0.5 * np.sum((Y - a) ** 2)

    return gradient(cost, SUMS[l])


# 002.


def test_one_term_too_many():
    weights, bias = LAYERS[0]
    with pytest.raises(IndexError):
        [sum(weights[j, k] * X[k] for k in range(3 + 1)) + bias[j] for j in range(3)]  # k = 0, ..., L_{i-1}
    corrected = [sum(weights[j, k] * X[k] for k in range(3)) + bias[j] for j in range(3)]
    assert right(corrected, weights @ X + bias)


def test_slope_sign():
    z = RNG.normal(size=5)
    true = np.diag(jacobian(f, z))
    assert wrong(f_prime(z, ["slope-sign"]), true)
    assert right(f_prime(z), true)
    gradients = recursion(LAYERS, X, Y, ["slope-sign"])
    for i, (ours, theirs) in enumerate(zip(gradients, TRUE, strict=True)):
        sign = (-1) ** (len(LAYERS) - i)
        assert right(ours[0], sign * theirs[0])  # the last layer climbs, the one before it descends
        assert right(ours[1], sign * theirs[1])
    for ours, theirs in zip(recursion(LAYERS, X, Y), TRUE, strict=True):
        assert right(ours[0], theirs[0])
        assert right(ours[1], theirs[1])


@pytest.mark.parametrize("i", [0, 1])
def test_a_n_for_a_j(i):
    of_next, weights = by_z(i + 1), LAYERS[i + 1][0]
    slopes, before = jacobian(f, SUMS[i]), ACTIVATIONS[i]
    every = range(3)
    printed = [sum(of_next[n] * weights[n, n] * slopes[n, j] for n in every) for j in every]  # dz_n/da_n da_n/dz_j
    corrected = [sum(of_next[n] * weights[n, j] * slopes[j, j] for n in every) for j in every]  # dz_n/da_j da_j/dz_j
    assert wrong(printed, TRUE[i][1])
    assert right(corrected, TRUE[i][1])
    assert wrong(np.outer(printed, before), TRUE[i][0])
    assert right(np.outer(corrected, before), TRUE[i][0])


def test_term_for_sum():
    (weights, bias), a, n = LAYERS[1], ACTIVATIONS[1], 2
    true = jacobian(lambda a: weights @ a + bias, a)
    printed = jacobian(lambda a: weights[:, n] * a[n] + bias, a)  # w_jn a_n + b_j for z_j
    assert wrong(printed, true)
    assert right(printed[:, n], true[:, n])  # the one entry that the display is about
    assert right(jacobian(lambda a: [sum(weights[j, k] * a[k] for k in range(3)) + bias[j] for j in range(3)], a), true)
    by_weights = gradient(lambda w: w @ a + bias[0], weights[0])
    assert wrong(gradient(lambda w: w[n] * a[n] + bias[0], weights[0]), by_weights)


def test_sum_to_L_j():
    narrow = true_gradients(NARROW, X, Y)
    sums, activations = forward(NARROW, X)
    of_next = (activations[2] - Y) * f_prime(sums[1])
    weights, slope = NARROW[1][0], f_prime(sums[0])

    def by_formula(bound):
        return [sum(of_next[n] * weights[n, j] for n in range(bound)) * slope[j] for j in range(2)]

    assert wrong(by_formula(2), narrow[0][1])  # as many as layer i has neurons
    assert right(by_formula(3), narrow[0][1])  # as many as layer i + 1 has


def test_recursion():
    with pytest.raises(KeyError):
        recursion(LAYERS, X, Y, ["recursion"])  # going backwards, the layer below is not there yet
    i, every = 1, range(3)
    slope, true = f_prime(SUMS[i]), by_z(i)
    below, above, own, next_ = by_z(i - 1), by_z(i + 1), LAYERS[i][0], LAYERS[i + 1][0]
    assert wrong([sum(below[k] * own[j, k] for k in every) * slope[j] for j in every], true)  # printed
    assert wrong([sum(above[k] * own[j, k] for k in every) * slope[j] for j in every], true)  # its layer mended
    assert wrong([sum(above[k] * own[k, j] for k in every) * slope[j] for j in every], true)  # w_kj for w_jk
    assert wrong([sum(above[k] * next_[j, k] for k in every) * slope[j] for j in every], true)  # w of layer i + 1
    assert right([sum(above[k] * next_[k, j] for k in every) * slope[j] for j in every], true)


def test_weight_row():
    for ours, theirs in zip(recursion(LAYERS, X, Y, ["weight-row"]), TRUE, strict=True):
        assert wrong(ours[0], theirs[0])
    for ours, theirs in zip(recursion(LAYERS, X, Y), TRUE, strict=True):
        assert right(ours[0], theirs[0])


def test_last_entry():
    by_weights = true_gradients(NARROW, X, Y)[-1][0]
    last, before = len(NARROW[-1][1]), len(NARROW[-2][1])
    with pytest.raises(IndexError):
        by_weights[last - 1, last - 1]  # w_{L_l L_l}
    assert by_weights[last - 1, before - 1] == by_weights.ravel()[-1]  # w_{L_l L_{l-1}}


# 003.


def network_003(layers, x):
    for weights, bias in layers:
        x = 1 / (1 + np.exp(-(weights @ x + bias)))
    return x


def test_sigma_missing():
    weights, bias = LAYERS[0]
    true = network_003(LAYERS[:1], X)
    assert wrong(weights @ X + bias, true)
    assert right(f(weights @ X + bias), true)
    by_x = jacobian(lambda x: network_003(LAYERS[:1], x), X)
    assert wrong(weights, by_x)  # the derivative of what (1) and (2) print
    assert right(f_prime(weights @ X + bias)[:, None] * weights, by_x)


def test_biases_missing():
    (w1, b1), (w2, b2), (w3, b3) = LAYERS
    true = network_003(LAYERS, X)
    assert wrong(f(w3 @ f(w2 @ f(w1 @ X + b1))), true)
    assert right(f(w3 @ f(w2 @ f(w1 @ X + b1) + b2) + b3), true)


def test_bias_of_layer_below():
    (_, b1), (w2, b2) = LAYERS[:2]
    a1, true = ACTIVATIONS[1], SUMS[1]
    every = range(3)
    assert wrong([sum(w2[m, k] * a1[k] for k in every) + b1[m] for m in every], true)
    assert right([sum(w2[m, k] * a1[k] for k in every) + b2[m] for m in every], true)
    with pytest.raises(IndexError):
        [NARROW[0][1][m] for m in range(len(NARROW[1][1]))]  # where layer l + 1 is the wider one


def test_last_layer_lost():
    last, before = len(LAYERS) - 1, ACTIVATIONS[-2]
    weights, bias = LAYERS[last]

    def entropy(z):
        return -np.sum(Y * np.log(f(z)) + (1 - Y) * np.log(1 - f(z)))

    with pytest.raises(IndexError):
        LAYERS[last + 1]  # (29) and (30) name W^{L+1}
    assert right(ACTIVATIONS[-1] - Y, gradient(lambda b: entropy(weights @ before + b), bias))  # (13), (19)
    by_weights = gradient(lambda w: entropy(w @ before + bias), weights)
    assert right(np.outer(ACTIVATIONS[-1] - Y, before), by_weights)  # (12), (19)
    identity = (ACTIVATIONS[-1] - Y) * f_prime(SUMS[last])  # W^{L+1} taken for the identity, z^{L+1} for a^L
    assert wrong(np.outer(identity, before), by_weights)


def test_largest_difference_sees_a_sign():
    assert largest_difference([1.0, -1.0], [1.0, 1.0]) == pytest.approx(1.0)
