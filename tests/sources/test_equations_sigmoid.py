"""docs/equations.md, 002 and 003: the equations that are right, against differences and fnnet's rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from central_differences import gradient, jacobian, right
from sigmoid_loops import (
    binary_cross_entropy,
    cancellation,
    f,
    f_prime,
    forward,
    fused,
    half_square,
    recursion,
    unfused,
)
from small_networks import difference

import fnnet

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(8)
LAYERS = [(RNG.normal(size=(o, i)), RNG.normal(size=o)) for i, o in ((4, 3), (3, 5), (5, 2))]
X, Y = RNG.normal(size=4), RNG.uniform(size=2)
SUMS, ACTIVATIONS = forward(LAYERS, X)
LAST = len(LAYERS) - 1


def half(a):
    return 0.5 * np.sum((Y - a) ** 2)


def entropy(a):
    return binary_cross_entropy(a, Y)


def onward(cost, z, l):
    """The cost, of layer l's weighted sums."""
    a = f(z)
    for weights, bias in LAYERS[l + 1 :]:
        a = f(weights @ a + bias)
    return cost(a)


def by_z(cost, l):
    return gradient(lambda z: onward(cost, z, l), SUMS[l])


def by_weights(cost, l):
    bias, before = LAYERS[l][1], ACTIVATIONS[l]
    return gradient(lambda w: onward(cost, w @ before + bias, l), LAYERS[l][0])


def network_of_fnnet(params, x):
    for kernel, bias in params:
        x = fnnet.dense(x, kernel, bias)
        z, x = x, fnnet.sigmoid(x)
    return z, x


PARAMS = [(weights.T, bias) for weights, bias in LAYERS]


def of_the_sources(params_bar):
    return [(np.asarray(kernel).T, np.asarray(bias)) for kernel, bias in params_bar]


# Forward, and what both have.


def test_forward():
    a = X
    for l, (weights, bias) in enumerate(LAYERS):
        assert right(SUMS[l], weights @ a + bias)  # 002, with its sum corrected; 003 (4), (21), (25), (27)
        a = f(SUMS[l])
        assert right(ACTIVATIONS[l + 1], a)  # 003 (5)
    assert right(network_of_fnnet(PARAMS, X)[1], a)


def test_sigmoid():
    z = RNG.normal(size=5)
    slope = np.diag(jacobian(f, z))
    assert right(f_prime(z), slope)
    assert right(f(z) * (1 - f(z)), slope)  # 003 (18)
    assert right(fnnet.sigmoid(z), f(z))
    assert right(jax.grad(lambda z: fnnet.sigmoid(z).sum())(jnp.asarray(z)), slope)


def test_z_by_its_operands():
    (weights, bias), a, j = LAYERS[1], ACTIVATIONS[1], 2
    assert right(jacobian(lambda a: weights @ a + bias, a), weights)  # 002: w_jn; 003 (22)
    assert right(gradient(lambda w: w @ a + bias[j], weights[j]), a)  # 002: a_k; 003 (26)
    assert right(jacobian(lambda b: weights @ a + b, bias), np.eye(5))  # 003 (28)
    assert right(gradient(lambda a: weights[j, 0] * a + bias[j], a[0]), weights[j, 0])  # 002, one term alone
    assert right(gradient(lambda w: w * a[0] + bias[j], weights[j, 0]), a[0])


def test_slope_is_diagonal():
    assert right(np.diag(f(SUMS[1]) * (1 - f(SUMS[1]))), jacobian(f, SUMS[1]))  # 003 (23)


# 002.


def test_half_square():
    a = ACTIVATIONS[-1]
    assert right(half_square(LAYERS, X, Y), half(a))
    assert right(fnnet.squared_error(a, Y), half(a))
    assert right(a - Y, gradient(half, a))
    assert right(jax.grad(fnnet.squared_error)(jnp.asarray(a), jnp.asarray(Y)), a - Y)


def test_last_layer():
    of_z = (ACTIVATIONS[-1] - Y) * f_prime(SUMS[LAST])
    assert right(of_z, by_z(half, LAST))  # dC/dz, and with the factor 1 dC/db
    assert right(of_z[:, None] * ACTIVATIONS[-2], by_weights(half, LAST))


@pytest.mark.parametrize("l", range(len(LAYERS)))
def test_parameters_by_z(l):
    of_z = by_z(half, l)
    assert right(of_z[:, None] * ACTIVATIONS[l], by_weights(half, l))
    weights, bias = LAYERS[l]
    assert right(of_z, gradient(lambda b: onward(half, weights @ ACTIVATIONS[l] + b, l), bias))


def test_whole_recursion():
    loops = recursion(LAYERS, X, Y)
    ours = jax.jit(jax.grad(lambda params: fnnet.squared_error(network_of_fnnet(params, X)[1], Y)))(PARAMS)
    assert difference(loops, of_the_sources(ours)) < 1e-12
    for l in range(len(LAYERS)):
        assert right(loops[l][0], by_weights(half, l))


# 003.


def test_binary_cross_entropy():
    a = ACTIVATIONS[-1]
    assert right(fnnet.binary_cross_entropy(a, Y), entropy(a))
    assert right(-(Y / a - (1 - Y) / (1 - a)), gradient(entropy, a))  # (17)
    assert right(jax.grad(fnnet.binary_cross_entropy)(jnp.asarray(a), jnp.asarray(Y)), gradient(entropy, a))


def test_cancellation():
    z, a = SUMS[LAST], ACTIVATIONS[-1]
    assert right(unfused(a, Y), by_z(entropy, LAST))  # (16) and (19), on the left
    assert right(fused(a, Y), by_z(entropy, LAST))  # (19), on the right
    ours = jax.grad(fnnet.sigmoid_binary_cross_entropy)(jnp.asarray(z), jnp.asarray(Y))
    assert right(ours, fused(a, Y))


@pytest.mark.parametrize("l", range(LAST))
def test_one_layer_back(l):
    of_next, slope = by_z(entropy, l + 1), np.diag(f_prime(SUMS[l]))
    assert right(of_next @ LAYERS[l + 1][0] @ slope, by_z(entropy, l))  # (20), (24), (30): a row times matrices
    assert right(np.outer(of_next @ LAYERS[l + 1][0] @ slope, ACTIVATIONS[l]), by_weights(entropy, l))  # (11), (29)


def test_parameters_by_the_chain():
    of_z = by_z(entropy, LAST)
    of_a = gradient(entropy, ACTIVATIONS[-1])
    assert right(of_a @ jacobian(f, SUMS[LAST]), of_z)
    by_w = jacobian(lambda w: w @ ACTIVATIONS[-2] + LAYERS[LAST][1], LAYERS[LAST][0])  # dz/dW, of three indices
    assert right(np.einsum("i,ijk->jk", of_z, by_w), by_weights(entropy, LAST))  # (10), (12)
    assert right(of_z @ np.eye(2), of_z)  # (13): dz/db is 1


def test_whole_network():
    loops = cancellation(LAYERS, X, Y)
    ours = jax.jit(jax.grad(lambda params: fnnet.sigmoid_binary_cross_entropy(network_of_fnnet(params, X)[0], Y)))(
        PARAMS
    )
    assert difference(loops, of_the_sources(ours)) < 1e-12
    for l in range(len(LAYERS)):
        assert right(loops[l][0], by_weights(entropy, l))


def test_gradient_descent():
    rate, before = 1e-3, entropy(forward(LAYERS, X)[1][-1])
    moved = [
        (weights - rate * by_w, bias - rate * by_b)
        for (weights, bias), (by_w, by_b) in zip(LAYERS, cancellation(LAYERS, X, Y), strict=True)
    ]
    after = entropy(forward(moved, X)[1][-1])
    squares = sum((by_w**2).sum() + (by_b**2).sum() for by_w, by_b in cancellation(LAYERS, X, Y))
    assert after - before == pytest.approx(-rate * squares, rel=1e-2)
