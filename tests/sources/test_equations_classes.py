"""docs/equations.md, 004: the equations that are right, against differences and fnnet's rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from central_differences import gradient, jacobian, right
from class_loops import cross_entropy_backward, neuron, softmax, softmax_backward, updated

import fnnet

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(9)


@pytest.mark.parametrize(
    ("function", "by_formula"),
    [
        (lambda v: v[0] + v[1], lambda x, y: [1, 1]),
        (lambda v: 2 * v[0] + 3 * v[1] ** 2, lambda x, y: [2, 6 * y]),
        (lambda v: v[0] * v[1], lambda x, y: [y, x]),
    ],
    ids=["sum", "polynomial", "product"],
)
def test_partial_derivatives(function, by_formula):
    v = RNG.normal(size=2)
    assert right(by_formula(*v), gradient(function, v))


def test_gradient():
    x, y, z = v = RNG.normal(size=3)
    by_differences = gradient(lambda v: 3 * v[0] ** 3 * v[2] - v[1] ** 2 + 5 * v[2] + 2 * v[1] * v[2], v)
    assert right([9 * x**2 * z, -2 * y + 2 * z, 3 * x**3 + 5 + 2 * y], by_differences)


def test_maximum():
    for x, y in RNG.normal(size=(4, 2)):
        assert right(1 if x >= y else 0, gradient(lambda x, y=y: max(x, y), np.array(x)))
        assert right(1 if x >= 0 else 0, gradient(lambda x: max(x, 0), np.array(x)))
        assert float(jax.grad(fnnet.relu)(x)) == (1 if x >= 0 else 0)


def test_gradient_descent():
    x, rate = RNG.normal(size=3), 1e-2
    f = lambda x: np.sum(np.cos(x))  # noqa: E731
    assert f(x - rate * gradient(f, x)) < f(x)


def test_chain_rule():
    x, y, z = np.array(0.3), 0.7, -0.4
    f, g, h = np.sin, lambda y, h: y * h**2, lambda x, z: np.exp(x * z)
    chained = np.cos(x**2) * 2 * x
    assert right(chained, gradient(lambda x: f(x**2), x))
    inner = h(x, z)
    assert right(np.cos(g(y, inner)) * 2 * y * inner * z * inner, gradient(lambda x: f(g(y, h(x, z))), x))


X, W, B = [1, -2, 3], [-3, -1, 2], 1


def test_neuron_in_numbers():
    values = neuron(X, W, B)
    assert values["xw"] == [-3, 2, 6]
    assert (values["z"], values["output"], values["dReLU_dz"]) == (6, 6, 1)
    assert values["dReLU_dxw"] == [1, 1, 1]
    assert (values["dx"], values["dw"], values["db"]) == (W, X, 1)


def test_neuron_by_differences():
    def output(x, w, b):
        return max(np.dot(x, w) + b, 0)

    x, w, b = np.array(X, float), np.array(W, float), np.array(B, float)
    values = neuron(X, W, B)
    assert right(values["dx"], gradient(lambda x: output(x, w, b), x))
    assert right(values["dw"], gradient(lambda w: output(x, w, b), w))
    assert right(values["db"], gradient(lambda b: output(x, w, b), b))
    pulled = jax.grad(lambda x, w, b: fnnet.relu(fnnet.dense(x, w[:, None], b[None]))[0], (0, 1, 2))
    for ours, name in zip(pulled(jnp.asarray(x), jnp.asarray(w), jnp.asarray(b)), ("dx", "dw", "db"), strict=True):
        assert right(ours, values[name])
    assert right(gradient(lambda xw: max(xw.sum() + b, 0), np.array(values["xw"], float)), values["dReLU_dxw"])


def test_neuron_updated():
    w, b = updated(W, B, X, 1)
    assert right(w, [-3.001, -0.998, 1.997])
    assert right(b, 0.999)
    assert right(neuron(X, w, b)["z"], 5.985)  # 6 less 0.001 times the square of the gradient, 15


Z, LABELS = RNG.normal(size=(4, 3)), np.array([0, 2, 1, 1])
P = softmax(Z)
SOFT = softmax(RNG.normal(size=(4, 3)))


@pytest.mark.parametrize("labels", [LABELS, np.eye(3)[LABELS], SOFT], ids=["integers", "one-hot", "probabilities"])
def test_cross_entropy(labels):
    targets = np.eye(3)[labels] if labels.ndim == 1 else labels
    p = softmax(Z / 4)  # not so small that differences fail
    by_differences = gradient(lambda p: np.mean(-np.sum(targets * np.log(p), 1)), p)
    assert right(cross_entropy_backward(p, labels), by_differences)
    assert right(-targets / p / 4, by_differences)
    ours = jax.grad(lambda p: fnnet.cross_entropy(p, labels).mean())(jnp.asarray(p))
    assert right(ours, by_differences)


def test_softmax():
    assert right(P, np.exp(Z) / np.exp(Z).sum(1, keepdims=True))
    by_formula = [s[:, None] * (np.eye(3) - s) for s in P]  # S_ij (delta_jk - S_ik)
    cases = [[[s[j] * (1 - s[k]) if j == k else s[j] * (0 - s[k]) for k in range(3)] for j in range(3)] for s in P]
    by_differences = [jacobian(softmax, z) for z in Z]
    assert right(by_formula, by_differences)
    assert right(cases, by_differences)


def test_softmax_code():
    bar = RNG.normal(size=(4, 3))
    by_code = softmax_backward(P, bar)
    assert right(by_code, gradient(lambda z: np.sum(softmax(z) * bar), Z))
    assert right(jax.vjp(fnnet.softmax, jnp.asarray(Z))[1](jnp.asarray(bar))[0], by_code)


def test_both_codes():
    by_code = softmax_backward(P, cross_entropy_backward(P, LABELS))
    assert right(by_code, gradient(lambda z: np.mean(-np.log(softmax(z)[range(4), LABELS])), Z))
    ours = jax.grad(lambda z: fnnet.softmax_cross_entropy(z, LABELS).mean())(jnp.asarray(Z))
    assert right(ours, by_code)
