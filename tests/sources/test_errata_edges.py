"""docs/errata.md, "Right, but not in floating point": where a right formula or code fails, and what does not."""

import jax.numpy as jnp
import numpy as np
import pytest
from class_loops import cross_entropy_backward, softmax, softmax_backward
from sigmoid_loops import f, f_prime, fused, unfused

import fnnet


@pytest.mark.usefixtures("x64")
def test_softmax_overflow():
    z = np.array([1000.0, 999.0, 0.0])
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(np.exp(z) / np.exp(z).sum()).any()  # (1), as printed
    p = 1 / (1 + np.exp(-1.0))
    assert np.allclose(fnnet.softmax(z), [p, 1 - p, 0], rtol=1e-14, atol=0)


def test_sigmoid_overflow():
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(f_prime(np.array(800.0)))  # inf / inf
    a = f(np.array(800.0))
    assert a * (1 - a) == 0


@pytest.mark.usefixtures("x64")
def test_unfused_pair():
    z, y = np.array([10.0, 20.0, 30.0, 40.0]), np.zeros(4)
    true = 1 / (1 + np.exp(-z))
    with np.errstate(divide="ignore", invalid="ignore"):
        pair = unfused(f(z), y)
    assert np.isnan(pair[3])  # (1 - y) / (1 - a) is 1 / 0 and the slope 0
    assert np.allclose(fused(f(z), y), true, rtol=1e-15)
    narrow = f(z.astype(np.float32))
    with np.errstate(divide="ignore", invalid="ignore"):
        assert np.isnan(unfused(narrow, y.astype(np.float32))[1:]).all()  # in single precision from z = 17 on

    import jax

    gradient = jax.grad(lambda z: fnnet.sigmoid_binary_cross_entropy(z, jnp.asarray(y)))(jnp.asarray(z))
    assert np.allclose(gradient, true, rtol=1e-15)


@pytest.mark.usefixtures("x64")
def test_nan_at_zero():
    p, y = np.array([[0.0, 1.0, 0.0]]), np.array([1])
    with np.errstate(invalid="ignore"):
        assert np.isnan(cross_entropy_backward(p, y, ["nan-at-zero"])).any()  # -0 / 0, where the target is 0
    assert np.array_equal(cross_entropy_backward(p, y), [[0, -1, 0]])

    import jax

    gradient = jax.grad(lambda p: fnnet.cross_entropy(p, jnp.asarray(y)).sum())(jnp.asarray(p))
    assert np.array_equal(gradient, [[0, -1, 0]])


def test_labels_wrap():
    p, y = np.full((1, 3), 1 / 3), np.array([-1])
    assert cross_entropy_backward(p, y, ["labels-wrap"])[0, 2] == pytest.approx(-3)  # -1 is taken for the last class
    with pytest.raises(ValueError, match="from 0 to 2"):
        cross_entropy_backward(p, y)
    with pytest.raises(ValueError, match="label"):
        fnnet.cross_entropy(p.astype(np.float32), y)


def test_integer_dvalues():
    z, dvalues = np.array([[0.5, -1.0, 0.25]]), np.array([[0, 3, -2]])  # derivatives that happen to be whole numbers
    s, step = softmax(z), 1e-6
    true = [((softmax(z + step * one) - softmax(z - step * one)) @ dvalues[0]).item() / (2 * step) for one in np.eye(3)]
    printed = softmax_backward(s, dvalues, ["integer-dvalues"])
    assert printed.dtype == dvalues.dtype
    assert not np.allclose(printed, true, atol=0.1)  # each entry cut off at the point
    assert np.allclose(softmax_backward(s, dvalues), true, atol=1e-8)
    with pytest.raises(TypeError, match="float"):
        fnnet.softmax(np.array([1, 2, 3]))
