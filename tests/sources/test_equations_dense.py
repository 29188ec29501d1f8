"""docs/equations.md, 000 and 001, dense network: what is right, against differences and fnnet's rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from central_differences import gradient, jacobian, right
from dense_loops import cost, cost_derivatives, sigmoid, softmax, step_1, step_2_batch, step_2_first, step_2_full
from small_networks import difference, gradients, network

import fnnet

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(6)
Z = RNG.normal(size=4)
S, BY_Z = softmax(Z), jacobian(softmax, Z)
X, EXPECTED = RNG.normal(size=5), np.eye(3)[2]
LAYERS = network((5, 4, 3), ("sigmoid", "softmax"))
SUMS, OUTPUTS = step_1(LAYERS, X)
TRUE = gradients(lambda layers: cost(layers, X, EXPECTED), LAYERS)
BY_A = cost_derivatives(OUTPUTS[1], EXPECTED) / 3  # dC/da of the last layer


def last_cost(a):
    """C, of the last layer's outputs."""
    return np.mean((a - EXPECTED) ** 2) / 2


def hidden_cost(a):
    """C, of the hidden layer's outputs."""
    return last_cost(softmax(LAYERS[1].weights @ a + LAYERS[1].bias))


# Softmax.


def test_softmax():
    by_formula = [np.exp(Z[i]) / sum(np.exp(Z[j]) for j in range(4)) for i in range(4)]
    assert right(S, by_formula)
    assert right(fnnet.softmax(Z), by_formula)


def test_softmax_by_its_own():
    e, total = np.exp(Z), np.exp(Z).sum()
    k = total - e
    lines = [
        k * e / (k + e) ** 2,
        k * e / total**2,
        (total - e) * e / total**2,
        e * (1 / total - S**2 / e),
        S - S**2,
        S * (1 - S),
    ]
    for line in lines:
        assert right(line, np.diag(BY_Z))


def test_softmax_by_another():
    e, i, k = np.exp(Z), 1, 3
    c = e.sum() - e[k]
    assert right(gradient(lambda z: e[i] / (c + np.exp(z)), Z[k]), BY_Z[i, k])
    for line in (-e[i] * e[k] / (c + e[k]) ** 2, -e[i] * e[k] / e.sum() ** 2, -S[i] * S[k]):
        assert right(line, BY_Z[i, k])


def test_softmax_jacobian():
    cases = [[S[i] * (1 - S[i]) if i == k else -S[i] * S[k] for k in range(4)] for i in range(4)]
    assert right(cases, BY_Z)
    assert right(cases, BY_Z.T)  # symmetric: 000 may exchange the indices
    assert right(S[:, None] * (np.eye(4) - S), BY_Z)
    assert right(jax.jacobian(fnnet.softmax)(jnp.asarray(Z)), BY_Z)


def test_error_by_z():
    y_hat = np.eye(4)[1]
    for i in range(4):
        by_formula = (S[i] - y_hat[i]) * S[i] * (np.eye(4)[i] - S)
        assert right(by_formula, gradient(lambda z, i=i: 0.5 * (y_hat[i] - softmax(z)[i]) ** 2, Z))


def test_sigmoid_slope():
    by_differences = np.diag(jacobian(sigmoid, Z))
    assert right(sigmoid(Z) * (1 - sigmoid(Z)), by_differences)
    assert right(jax.grad(lambda z: fnnet.sigmoid(z).sum())(jnp.asarray(Z)), by_differences)


# The chain, factor by factor.


def test_cost_by_output():
    assert right(BY_A, gradient(last_cost, OUTPUTS[1]))
    ours = jax.grad(lambda a: fnnet.squared_error(a, EXPECTED) / 3)(jnp.asarray(OUTPUTS[1]))
    assert right(ours, BY_A)


def test_activation_by_z():
    own = np.diag(jacobian(softmax, SUMS[1]))  # 000: the entry da_i/dz_i, right as an entry
    assert right(OUTPUTS[1] * (1 - OUTPUTS[1]), own)
    by_z = jacobian(sigmoid, SUMS[0])
    assert right(np.diag(OUTPUTS[0] * (1 - OUTPUTS[0])), by_z)


def test_z_by_its_operands():
    weights, bias, i = LAYERS[1].weights, LAYERS[1].bias, 1
    assert right(gradient(lambda w: w @ OUTPUTS[0] + bias[i], weights[i]), OUTPUTS[0])  # a_j
    assert right(gradient(lambda b: weights[i] @ OUTPUTS[0] + b, bias[i]), 1)
    assert right(jacobian(lambda a: weights @ a + bias, OUTPUTS[0]), weights)  # w_{k,i}


def test_output_layer():
    by_z = jacobian(softmax, SUMS[1])
    of_bias = np.array([sum(BY_A[p] * by_z[p, i] for p in range(3)) for i in range(3)])
    assert right(of_bias, TRUE[1][1])
    assert right(of_bias[:, None] * OUTPUTS[0], TRUE[1][0])


def test_hidden_layer_by_its_outputs():
    of_a = gradient(hidden_cost, OUTPUTS[0])
    slope = OUTPUTS[0] * (1 - OUTPUTS[0])
    assert right(of_a * slope, TRUE[0][1])
    assert right((of_a * slope)[:, None] * X, TRUE[0][0])


def test_elementwise_layer_above():
    layers = network((5, 4, 3), ("sigmoid", "sigmoid"))
    outputs = step_1(layers, X)[1]
    slope = outputs[1] * (1 - outputs[1])
    by_a = (outputs[1] - EXPECTED) / 3
    by_formula = [sum(by_a[k] * slope[k] * layers[1].weights[k, i] for k in range(3)) for i in range(4)]
    of_a = gradient(lambda a: last_cost(sigmoid(layers[1].weights @ a + layers[1].bias)), outputs[0])
    assert right(by_formula, of_a)


def test_any_layer_above():
    by_z, weights = jacobian(softmax, SUMS[1]), LAYERS[1].weights
    by_formula = [sum(BY_A[k] * by_z[k, p] * weights[p, i] for k in range(3) for p in range(3)) for i in range(4)]
    assert right(by_formula, gradient(hidden_cost, OUTPUTS[0]))


def test_weights_of_any_layer():
    layers = network((5, 4, 3), ("softmax", "softmax"))
    sums, outputs = step_1(layers, X)
    of_a = gradient(lambda a: last_cost(softmax(layers[1].weights @ a + layers[1].bias)), outputs[0])
    by_z = jacobian(softmax, sums[0])
    by_formula = np.array([sum(of_a[k] * by_z[k, i] for k in range(4)) for i in range(4)])[:, None] * X
    true = gradient(lambda w: cost([layers[0]._replace(weights=w), layers[1]], X, EXPECTED), layers[0].weights)
    assert right(by_formula, true)


def test_propagated_derivative():
    of_last, slopes, weights = BY_A @ jacobian(softmax, SUMS[1]), jacobian(sigmoid, SUMS[0]), LAYERS[1].weights
    by_z, of_z = jacobian(softmax, SUMS[1]), gradient(lambda z: hidden_cost(sigmoid(z)), SUMS[0])
    triple = [
        sum(BY_A[k] * by_z[k, p] * weights[p, j] * slopes[j, i] for k in range(3) for p in range(3) for j in range(4))
        for i in range(4)
    ]
    nested = [sum(of_last[p] * sum(weights[p, j] * slopes[j, i] for j in range(4)) for p in range(3)) for i in range(4)]
    assert right(triple, of_z)
    assert right(nested, of_z)


# The algorithm, corrected.


def fnnet_cost(params, x, expected):
    hidden = fnnet.sigmoid(fnnet.dense(x, *params[0]))
    return fnnet.squared_error(fnnet.softmax(fnnet.dense(hidden, *params[1])), expected) / 3


PARAMS = [(layer.weights.T, layer.bias) for layer in LAYERS]


def of_the_sources(params_bar):
    return [(np.asarray(kernel).T, np.asarray(bias)) for kernel, bias in params_bar]


def test_forward_loops():
    hidden = 1 / (1 + np.exp(-(LAYERS[0].weights @ X + LAYERS[0].bias)))
    assert right(OUTPUTS[0], hidden)
    assert right(OUTPUTS[1], softmax(LAYERS[1].weights @ hidden + LAYERS[1].bias))


def test_single_example_loops():
    ours = of_the_sources(jax.jit(jax.grad(fnnet_cost))(PARAMS, X, EXPECTED))
    for loops in (step_2_first, step_2_full):
        assert difference(loops(LAYERS, X, EXPECTED), TRUE) < 1e-8
        assert difference(loops(LAYERS, X, EXPECTED), ours) < 1e-12


def test_mini_batch_loops():
    xs, expected = RNG.normal(size=(4, 5)), np.eye(3)[[0, 2, 1, 1]]

    def mean_cost(params):
        return jax.vmap(fnnet_cost, (None, 0, 0))(params, xs, expected).mean()

    ours = of_the_sources(jax.jit(jax.grad(mean_cost))(PARAMS))
    loops = step_2_batch(LAYERS, xs, expected)
    one_by_one = [step_2_full(LAYERS, x, y) for x, y in zip(xs, expected, strict=True)]
    mean = [tuple(np.mean([example[l][part] for example in one_by_one], 0) for part in (0, 1)) for l in (0, 1)]
    assert difference(loops, mean) < 1e-12
    assert difference(loops, ours) < 1e-12
