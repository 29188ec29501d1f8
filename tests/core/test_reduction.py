"""The mean of a loss against PyTorch's documented formula."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnnet.core.reduction import mean_loss
from fnnet.rules.class_losses import negative_log_likelihood, softmax_cross_entropy
from fnnet.rules.squared_error import squared_error

Z = jax.random.normal(jax.random.key(2), (6, 4))
LABELS = jnp.array([0, 3, -100, 1, 1, 2])
W = jnp.array([0.5, 2.0, 1.0, 0.25])


def test_the_mean_of_pytorch():
    """torch.nn.CrossEntropyLoss: sum_n l_n / sum_n w_(y_n) 1[y_n != ignore_index], l_n = -w_(y_n) log p_(n, y_n)."""
    q, w = np.array(jax.nn.log_softmax(Z), np.float64), np.array(W, np.float64)
    kept = [n for n in range(6) if LABELS[n] != -100]
    expected = sum(-w[LABELS[n]] * q[n, LABELS[n]] for n in kept) / sum(w[LABELS[n]] for n in kept)
    loss = functools.partial(softmax_cross_entropy, class_weights=W, ignore_index=-100)
    np.testing.assert_allclose(mean_loss(loss, Z, LABELS), expected, rtol=1e-6)
    likelihood = functools.partial(negative_log_likelihood, class_weights=W, ignore_index=-100)
    np.testing.assert_allclose(mean_loss(likelihood, jax.nn.log_softmax(Z), LABELS), expected, rtol=1e-6)
    nested = functools.partial(functools.partial(softmax_cross_entropy, class_weights=W), ignore_index=-100)
    assert mean_loss(nested, Z, LABELS) == mean_loss(loss, Z, LABELS)
    tree = jax.tree_util.Partial(jax.tree_util.Partial(softmax_cross_entropy, class_weights=W), ignore_index=-100)
    assert mean_loss(tree, Z, LABELS) == mean_loss(loss, Z, LABELS)


def test_label_smoothing_does_not_change_the_weights():
    """ATen: (1 - e) sum(nll) / sum(w_y) + e / C sum(smooth) / sum(w_y)."""
    q, labels = np.array(jax.nn.log_softmax(Z), np.float64), np.array([0, 3, 0, 1, 1, 2])
    w = np.array(W, np.float64)
    likelihoods, smooth = -w[labels] * q[np.arange(6), labels], -(q * w).sum(1)
    expected = 0.7 * likelihoods.sum() / w[labels].sum() + 0.3 / 4 * smooth.sum() / w[labels].sum()
    loss = functools.partial(softmax_cross_entropy, class_weights=W, label_smoothing=0.3)
    np.testing.assert_allclose(mean_loss(loss, Z, jnp.asarray(labels)), expected, rtol=1e-6)


def test_class_probabilities_and_plain_functions_count_one_each():
    y = jax.nn.softmax(Z[::-1])
    loss = functools.partial(softmax_cross_entropy, class_weights=W)
    np.testing.assert_allclose(mean_loss(loss, Z, y), loss(Z, y).mean(), rtol=1e-6)
    np.testing.assert_allclose(mean_loss(squared_error, Z, y), 0.5 * ((Z - y) ** 2).sum(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(
        mean_loss(lambda a, y: jnp.abs(a - y).sum(-1), Z, y), jnp.abs(Z - y).sum(1).mean(), rtol=1e-6
    )


def test_the_gradient_of_a_mean_divides_by_the_weights():
    loss = functools.partial(softmax_cross_entropy, class_weights=W, ignore_index=-100)
    bars = jax.jit(jax.grad(lambda z, y: mean_loss(loss, z, y)))(Z, LABELS)
    one_hot = (LABELS[:, None] == jnp.arange(4)).astype(jnp.float32)
    weights = one_hot @ W
    np.testing.assert_allclose(
        bars, weights[:, None] * (jax.nn.softmax(Z) - one_hot) / weights.sum(), rtol=1e-5, atol=1e-7
    )
    assert (bars[2] == 0).all()


def test_no_weight_at_all_is_nan():
    loss = functools.partial(softmax_cross_entropy, ignore_index=0)
    assert np.isnan(mean_loss(loss, Z, jnp.zeros(6, int)))
    assert np.isnan(mean_loss(loss, Z[:0], jnp.zeros(0, int)))


def test_explicit_mesh_axes():
    loss = functools.partial(softmax_cross_entropy, class_weights=W, ignore_index=-100)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    expected = jax.grad(mean_loss, argnums=1)(loss, Z, LABELS)
    with jax.set_mesh(mesh):
        rows = jax.sharding.PartitionSpec("data")
        z, labels = jax.device_put((Z, LABELS), rows)
        bars = jax.jit(jax.grad(lambda z, labels: mean_loss(loss, z, labels)))(z, labels)
        assert jax.typeof(bars).sharding.spec[0] == "data"
    np.testing.assert_allclose(bars, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_sixteen_bits_are_summed_in_f32(dtype):
    z, y = jnp.zeros((100_003, 2), dtype), jnp.zeros(100_003, jnp.int32)
    mean = mean_loss(softmax_cross_entropy, z, y)
    assert mean.dtype == dtype
    np.testing.assert_allclose(float(mean), np.log(2), rtol=4e-3)
