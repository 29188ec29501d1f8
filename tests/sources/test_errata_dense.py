"""docs/errata.md, the dense network of 000 and 001: each printed form against differences, and its correction."""

import numpy as np
import pytest
from central_differences import gradient, jacobian, right, wrong
from dense_loops import cost, cost_derivatives, sigmoid, softmax, step_1, step_2_batch, step_2_first, step_2_full
from small_networks import difference, gradients, network

RNG = np.random.default_rng(1)
Z = RNG.normal(size=4)
X, EXPECTED = RNG.normal(size=5), np.eye(3)[1]
BATCH, ALL_EXPECTED = RNG.normal(size=(4, 5)), np.eye(3)[[0, 2, 1, 1]]
LAYERS = network((5, 4, 3), ("sigmoid", "softmax"))
TRUE = gradients(lambda layers: cost(layers, X, EXPECTED), LAYERS)


def batch_cost(layers):
    return np.mean([cost(layers, x, y) for x, y in zip(BATCH, ALL_EXPECTED, strict=True)])


TRUE_OF_BATCH = gradients(batch_cost, LAYERS)


def is_right(ours, theirs):
    return difference(ours, theirs) < 1e-8


def is_wrong(ours, theirs):
    return difference(ours, theirs) > 1e-2


# Formulas.


def test_softmax_left_side():
    i, k = 0, 2
    by_differences = jacobian(softmax, Z)
    value = -softmax(Z)[i] * softmax(Z)[k]
    assert wrong(value, by_differences[k, k])  # printed: ds_k / dz_k
    assert right(value, by_differences[i, k])


def test_softmax_square():
    i, k = 0, 2
    true = jacobian(softmax, Z)[i, k]
    e = np.exp(Z)
    assert wrong(-((e[i] * e[k] / e.sum()) ** 2), true)
    assert right(-(e[i] * e[k]) / e.sum() ** 2, true)


def test_minus_lost():
    y, y_hat = np.array(0.3), 0.8
    true = y - y_hat  # what 000 (5) has for dC_i / dy_i
    assert wrong(gradient(lambda y: 0.5 * (y_hat * y) ** 2, y), true)
    assert right(gradient(lambda y: 0.5 * (y_hat - y) ** 2, y), true)
    s, diagonal = softmax(Z), np.diag(jacobian(softmax, Z))
    assert wrong(s * (1 * s), diagonal)
    assert right(s * (1 - s), diagonal)


def test_softmax_diagonal():
    sums, outputs = step_1(LAYERS, X)
    by_a = cost_derivatives(outputs[1], EXPECTED) / 3
    diagonal = by_a * softmax(sums[1]) * (1 - softmax(sums[1]))  # 000: dC/da_i da_i/dz_i
    summed = by_a @ jacobian(softmax, sums[1])  # 001: sum_p dC/da_p da_p/dz_i
    by_hidden = gradient(
        lambda a: np.mean((softmax(LAYERS[1].weights @ a + LAYERS[1].bias) - EXPECTED) ** 2) / 2, outputs[0]
    )
    for of_z, test in ((diagonal, wrong), (summed, right)):
        assert test(np.outer(of_z, outputs[0]), TRUE[1][0])  # II.1, dC/dw
        assert test(of_z, TRUE[1][1])  # II.1, dC/db
        assert test(of_z @ LAYERS[1].weights, by_hidden)  # II.2, dC/da of layer L-1
    assert is_wrong(step_2_first(LAYERS, X, EXPECTED, ["softmax-diagonal"]), TRUE)
    assert is_right(step_2_first(LAYERS, X, EXPECTED), TRUE)


def test_mean_over_n_l():
    a, expected, n_l, n_last = softmax(Z[:3]), EXPECTED, 4, 3  # l the hidden layer
    value = (a - expected) / n_last
    assert wrong(gradient(lambda a: np.sum((a - expected) ** 2) / 2 / n_l, a), value)
    assert right(gradient(lambda a: np.sum((a - expected) ** 2) / 2 / n_last, a), value)


@pytest.mark.parametrize("l", [0, 1])
def test_summand_index(l):
    before = X if l == 0 else step_1(LAYERS, X)[1][0]
    weights, bias, i = LAYERS[l].weights, LAYERS[l].bias[1], 1
    assert wrong(gradient(lambda w: np.sum(w * before[i]) + bias, weights[i]), before)  # a_i in the sum, for a_k
    assert right(gradient(lambda w: np.sum(w * before) + bias, weights[i]), before)
    k = 2
    assert wrong(gradient(lambda a: np.sum(weights[k] * a[k]) + bias, before), weights[k])  # a_k in the sum, for a_p
    assert right(gradient(lambda a: np.sum(weights[k] * a) + bias, before), weights[k])


def test_a_for_z():
    by_z = jacobian(softmax, Z)
    assert wrong(np.eye(4), by_z)  # da_k / da_p is 1 or 0 whatever the activation: it would be 0 for softmax too
    off_diagonal = ~np.eye(4, dtype=bool)
    assert (np.abs(by_z[off_diagonal]) > 1e-3).all()
    assert (np.abs(jacobian(sigmoid, Z)[off_diagonal]) < 1e-10).all()


def test_sum_to_n_l():
    layers = network((5, 2, 3), ("sigmoid", "softmax"))  # n_l = 2, n_{l+1} = 3
    sums, outputs = step_1(layers, X)
    weights, slopes = layers[1].weights, np.diag(sigmoid(sums[0]) * (1 - sigmoid(sums[0])))
    previous = cost_derivatives(outputs[1], EXPECTED) / 3 @ jacobian(softmax, sums[1])

    def of_hidden(z):
        return np.mean((softmax(weights @ sigmoid(z) + layers[1].bias) - EXPECTED) ** 2) / 2

    def by_formula(bound):
        return [sum(previous[p] * weights[p, j] * slopes[j, i] for p in range(bound) for j in range(2)) for i in (0, 1)]

    true = gradient(of_hidden, sums[0])
    assert wrong(by_formula(2), true)
    assert right(by_formula(3), true)


# Pseudo-code, step 1.


def test_names_swapped():
    output = softmax(LAYERS[1].weights @ sigmoid(LAYERS[0].weights @ X + LAYERS[0].bias) + LAYERS[1].bias)
    assert wrong(step_1(LAYERS, X, ["names-swapped"])[1][-1], output)  # layer 1 reads z where it should read a
    assert right(step_1(LAYERS, X)[1][-1], output)


def test_loop_from_0():
    with pytest.raises(ValueError, match="mismatch"):
        step_1(LAYERS, X, ["loop-from-0"])  # layer 0 is fed its own output, which has not the size of the input
    square = network((3, 3, 3), ("sigmoid", "softmax"))
    x = X[:3]
    output = softmax(square[1].weights @ sigmoid(square[0].weights @ x + square[0].bias) + square[1].bias)
    assert wrong(step_1(square, x, ["loop-from-0"])[1][-1], output)
    assert wrong(step_1(square, x, ["loop-from-0", "names-swapped"])[1][-1], output)
    assert right(step_1(square, x)[1][-1], output)


# Pseudo-code, step 2.


@pytest.mark.parametrize("name", ["softmax-diagonal", "loop-over-layers", "hidden-slope", "bias-inside-loop"])
def test_first_version(name):
    assert is_wrong(step_2_first(LAYERS, X, EXPECTED, [name]), TRUE)
    assert is_right(step_2_first(LAYERS, X, EXPECTED), TRUE)


@pytest.mark.parametrize("name", ["else-lost", "bias-inside-loop"])
def test_full_version(name):
    assert is_wrong(step_2_full(LAYERS, X, EXPECTED, [name]), TRUE)
    assert is_right(step_2_full(LAYERS, X, EXPECTED), TRUE)


@pytest.mark.parametrize("name", ["batch-index-output", "batch-index-hidden", "columns-by-batch", "bias-inside-loop"])
def test_mini_batch(name):
    assert is_wrong(step_2_batch(LAYERS, BATCH, ALL_EXPECTED, [name]), TRUE_OF_BATCH)
    assert is_right(step_2_batch(LAYERS, BATCH, ALL_EXPECTED), TRUE_OF_BATCH)


def test_mean_twice():
    for step_2 in (step_2_first, step_2_full):
        printed = step_2(LAYERS, X, EXPECTED, ["mean-twice"])
        assert is_wrong(printed, TRUE)
        assert is_right([(3 * weights, 3 * bias) for weights, bias in printed], TRUE)  # 1/n_L once too often
        assert is_right(step_2(LAYERS, X, EXPECTED), TRUE)
    assert is_wrong(step_2_batch(LAYERS, BATCH, ALL_EXPECTED, ["mean-twice"]), TRUE_OF_BATCH)


def test_bias_inside_loop():
    gradients = step_2_full(LAYERS, X, EXPECTED, ["bias-inside-loop"])
    for (_, bias), (weights, true) in zip(gradients, TRUE, strict=True):
        assert right(bias, weights.shape[1] * true)  # once for each input
    of_batch = step_2_batch(LAYERS, BATCH, ALL_EXPECTED, ["bias-inside-loop", "columns-by-batch"])
    for (_, bias), (_, true) in zip(of_batch, TRUE_OF_BATCH, strict=True):
        assert right(bias, len(BATCH) * true)


def test_columns_by_batch():
    (weights, _), _ = step_2_batch(LAYERS, BATCH, ALL_EXPECTED, ["columns-by-batch"])
    assert right(weights[:, :4], TRUE_OF_BATCH[0][0][:, :4])
    assert (weights[:, 4:] == 0).all()
    with pytest.raises(IndexError):
        step_2_batch(LAYERS, np.tile(BATCH, (2, 1)), np.tile(ALL_EXPECTED, (2, 1)), ["columns-by-batch"])


def test_j_over_wrong_layer():
    layers = network((5, 4, 3), ("softmax", "softmax"))  # only a multidimensional hidden layer has this sum
    true = gradients(lambda layers: cost(layers, X, EXPECTED), layers)
    assert is_wrong(step_2_full(layers, X, EXPECTED, ["j-over-wrong-layer"]), true)
    assert is_right(step_2_full(layers, X, EXPECTED), true)
    narrow = network((5, 2, 3), ("softmax", "softmax"))
    with pytest.raises(IndexError):
        step_2_full(narrow, X, EXPECTED, ["j-over-wrong-layer"])


def test_p_unset():
    with pytest.raises(UnboundLocalError):
        step_2_full(LAYERS, X, EXPECTED, ["p-unset"])
    with pytest.raises(UnboundLocalError):
        step_2_batch(LAYERS, BATCH, ALL_EXPECTED, ["p-unset"])


def test_next_unset():
    single = network((5, 3), ("softmax",))
    true = gradients(lambda layers: cost(layers, X, EXPECTED), single)
    for step_2 in (step_2_first, step_2_full):
        with pytest.raises(UnboundLocalError):
            step_2(single, X, EXPECTED, ["next-unset"])
        assert is_right(step_2(single, X, EXPECTED), true)
        assert is_right(step_2(LAYERS, X, EXPECTED, ["next-unset"]), TRUE)  # with two layers or more it does no harm
