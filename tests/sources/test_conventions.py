"""docs/errata.md, "Conventions": where the sources differ from each other or from fnnet, and none of them is wrong."""

import class_loops
import image_loops
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from central_differences import gradient, right, wrong
from dense_loops import cost, step_1, step_2_full
from sigmoid_loops import f, f_prime, forward, half_square
from small_networks import network

import fnnet

RNG = np.random.default_rng(5)

pytestmark = pytest.mark.usefixtures("x64")


def test_loss_scale():
    a, y = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 3))
    identity = [(np.eye(3), np.zeros(3))]
    ours = fnnet.squared_error(a, y)
    assert right(ours, [np.sum((y[n] - a[n]) ** 2) / 2 for n in (0, 1)])  # 002: half the sum
    assert right(ours / 3, [np.mean((y[n] - a[n]) ** 2) / 2 for n in (0, 1)])  # 000, 001: over n_L besides
    assert right(2 * ours / 3, [np.mean((y[n] - a[n]) ** 2) for n in (0, 1)])  # what "MSE" means elsewhere
    assert right(fnnet.squared_error(f(a[0]), y[0]), half_square(identity, a[0], y[0]))
    layers = network((3, 2), ("softmax",))
    assert right(fnnet.squared_error(step_1(layers, a[0])[1][-1], y[0, :2]) / 2, cost(layers, a[0], y[0, :2]))


def test_mean_over_samples():
    z, labels = RNG.normal(size=(4, 3)), np.array([0, 2, 1, 1])
    p = class_loops.softmax(z)
    by_code = class_loops.softmax_backward(p, class_loops.cross_entropy_backward(p, labels))  # 004: / samples
    mean = jax.grad(lambda z: fnnet.softmax_cross_entropy(z, labels).mean())(jnp.asarray(z))
    total = jax.grad(lambda z: fnnet.softmax_cross_entropy(z, labels).sum())(jnp.asarray(z))
    assert right(by_code, mean)
    assert right(4 * by_code, total)


def test_relu_at_zero():
    step = 1e-6
    slopes = [(max(0 + step, 0) - max(0, 0)) / step, (max(0, 0) - max(0 - step, 0)) / step]
    assert slopes == pytest.approx([1, 0])  # every number between is a subgradient
    formula, code, ours = 1, class_loops.neuron([0, 0, 0], [1, 1, 1], 0)["dReLU_dz"], jax.grad(fnnet.relu)(0.0)
    assert (formula, code, float(ours), image_loops.relu_slope(0.0)) == (1, 0, 0, 0)


def test_max_at_tie():
    along_both = gradient(lambda t: max(1 + t, 1 + t), np.array(0.0))
    assert right(along_both, 1)
    assert wrong(1 + 1, along_both)  # 1 where x >= y, for x and for y alike
    x_bar = jax.grad(lambda x: fnnet.max_pool(x, (2,))[0, 0])(jnp.ones((2, 1)))
    assert x_bar.ravel().tolist() == [1, 0]  # one of the two, so that they sum to 1


def test_argmax_of_several():
    x = jnp.ones((2, 2, 1))
    assert jax.grad(lambda x: fnnet.max_pool(x, 2).sum())(x).ravel().tolist() == [1, 0, 0, 0]
    _, where = image_loops.max_pool(np.ones((2, 2)), 2, 0)
    assert where[1, 1] == (1, 1)


def test_zeros_may_win():
    image = -np.abs(RNG.normal(size=(3, 3)))  # no ReLU before
    output, where = image_loops.max_pool(image, 2, 1)
    assert output[1, 1] == 0  # a zero of the padding, which is no entry of the image
    assert image_loops.max_pool_backward(image, where, np.ones((2, 2)), 1)[2, 2] == 0
    ours = fnnet.max_pool(image[..., None], 2, padding=((0, 1), (0, 1)))[..., 0]
    assert ours[1, 1] == image[2, 2]
    positive = np.maximum(RNG.normal(size=(3, 3)), 0)
    ours = fnnet.max_pool(positive[..., None], 2, padding=((0, 1), (0, 1)))[..., 0]
    assert right(ours, image_loops.max_pool(positive, 2, 1)[0])


def test_flatten_order():
    matrices = RNG.normal(size=(2, 3, 3))  # the source's I1 and I2
    image = np.moveaxis(matrices, 0, -1)  # fnnet: channels last
    assert right(image_loops.flatten(matrices), matrices.ravel())
    ours = fnnet.Flatten().apply({}, jnp.asarray(image))
    assert wrong(ours, image_loops.flatten(matrices))
    assert right(ours.reshape(3, 3, 2).transpose(2, 0, 1).ravel(), image_loops.flatten(matrices))
    assert right(image_loops.unflatten(image_loops.flatten(matrices), matrices.shape), matrices)


def test_weights_transposed():
    x, y = RNG.normal(size=3), np.eye(2)[0]
    layers = network((3, 2), ("softmax",))
    ((weights_bar, bias_bar),) = step_2_full(layers, x, y)

    def loss(kernel, bias):
        return fnnet.squared_error(fnnet.softmax(fnnet.dense(x, kernel, bias)), y) / 2

    kernel_bar, ours = jax.grad(loss, (0, 1))(jnp.asarray(layers[0].weights.T), jnp.asarray(layers[0].bias))
    assert right(kernel_bar.T, weights_bar)  # w_{i,j} is W_ji
    assert right(ours, bias_bar)


def test_rows_and_columns():
    layers = [(RNG.normal(size=(3, 2)), RNG.normal(size=3)), (RNG.normal(size=(4, 3)), RNG.normal(size=4))]
    x, y = RNG.normal(size=2), RNG.uniform(size=4)
    sums, activations = forward(layers, x)
    (w1, b1), (w2, b2) = layers
    of_last = activations[2] - y  # 003 (19)

    def loss(z1):
        a = f(w2 @ f(z1) + b2)
        return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a))

    true = gradient(loss, sums[0])
    row = of_last[None] @ w2 @ np.diag(f_prime(sums[0]))  # 003 (24), dC/dz a row, the slope a diagonal matrix
    assert right(row[0], true)
    column = w2.T @ of_last[:, None] * f_prime(sums[0])[:, None]  # the same with column vectors, which a^l are there
    assert right(column[:, 0], true)
    by_weights = gradient(lambda w: loss(w @ x + b1), w1)
    with pytest.raises(ValueError, match="mismatch"):
        row @ x[:, None]  # 003 (29), factor by factor as matrices
    assert right(column @ x[None], by_weights)
    assert right(np.einsum("i,j->ij", row[0], x), by_weights)  # entry by entry, which is what (26) means


def test_all_entries_at_once():
    def slope(x):
        return np.array([x[1], x[0]])  # of f = x_0 x_1

    x, rate = np.array([1.0, 2.0]), 0.5
    at_once = x - rate * slope(x)
    one_by_one = x.copy()
    for i in (0, 1):
        one_by_one[i] -= rate * slope(one_by_one)[i]
    assert right(at_once, [0, 1.5])  # 004: x_i(t + 1) from x(t)
    assert wrong(one_by_one, at_once)


def test_kernel_not_flipped():
    image, kernel = RNG.normal(size=(3, 3)), RNG.normal(size=(2, 2))
    ours = fnnet.conv(image[..., None], kernel[..., None, None])[..., 0]  # "SAME": the odd zeros at the end
    assert right(ours, image_loops.convolution(image, kernel, 1))
    by_example = image[1, 0] * kernel[0, 0] + image[1, 1] * kernel[0, 1]
    by_example += image[2, 0] * kernel[1, 0] + image[2, 1] * kernel[1, 1]
    assert right(ours[1, 0], by_example)
