"""Numbers and shapes at their ends: one class, equal logits, no examples, more than memory holds; and repetition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet

LAYERS = {
    "dense": (fnnet.dense, (7,), (7, 3)),
    "conv": (fnnet.conv, (6, 5, 4), (3, 3, 4, 2)),
    "grouped conv": (lambda x, k: fnnet.conv(x, k, groups=4), (6, 5, 4), (3, 3, 1, 4)),
    "conv 1-D": (fnnet.conv, (9, 4), (3, 4, 2)),
    "max_pool": (lambda x, k: k * fnnet.max_pool(x, 2), (6, 5, 4), ()),
    "avg_pool": (lambda x, k: k * fnnet.avg_pool(x, 2), (6, 5, 4), ()),
    "softmax": (lambda x, k: k * fnnet.softmax(x), (7,), ()),
    "gelu": (lambda x, k: k * fnnet.gelu(x), (7,), ()),
}
ON_LOGITS = {
    "softmax_cross_entropy": fnnet.softmax_cross_entropy,
    "negative_log_likelihood": lambda z, y: fnnet.negative_log_likelihood(fnnet.log_softmax(z), y),
    "cross_entropy": lambda z, y: fnnet.cross_entropy(fnnet.softmax(z), y),
}


@pytest.mark.parametrize("loss", ON_LOGITS.values(), ids=list(ON_LOGITS))
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_one_class_costs_nothing_and_moves_nothing(loss, dtype):
    z, y = jnp.array([[0.5], [-1e4], [1e4]], dtype), jnp.zeros(3, jnp.int32)
    value, pullback = jax.vjp(lambda z: loss(z, y), z)
    assert (value.dtype, np.asarray(value, np.float64).tolist()) == (dtype, [0, 0, 0])
    (z_bar,) = pullback(jnp.array([0.3, -2, 1.5], dtype))
    assert (z_bar.dtype, np.asarray(z_bar, np.float64).tolist()) == (dtype, [[0], [0], [0]])


@pytest.mark.parametrize("loss", ON_LOGITS.values(), ids=list(ON_LOGITS))
@pytest.mark.parametrize("level", [0.0, 1e4, -1e4])
def test_equal_logits_are_equal_chances(loss, level):
    z, y = jnp.full((2, 8), level), jnp.array([3, 7])
    value, pullback = jax.vjp(lambda z: loss(z, y), z)
    np.testing.assert_allclose(value, [np.log(8)] * 2, rtol=1e-6)
    (z_bar,) = pullback(jnp.array([0.5, -2.0]))
    wanted = np.array([[0.5], [-2.0]]) * (1 / 8 - np.eye(8)[[3, 7]])
    np.testing.assert_allclose(z_bar, wanted, rtol=1e-5)


def gradients(function):
    """Both gradients under a cotangent that is not constant."""

    def weighed(x, kernel):
        y = function(x, kernel)
        return (y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)).sum()

    return jax.grad(weighed, (0, 1))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("mapped", [False, True])
def test_no_examples_give_zero_gradients(layer, mapped):
    function, shape, kernel_shape = LAYERS[layer]
    apply = jax.vmap(function, (0, None)) if mapped else function
    kernel = jnp.ones(kernel_shape)
    x_bar, kernel_bar = jax.jit(gradients(apply))(jnp.ones((0, *shape)), kernel)
    assert x_bar.shape == (0, *shape)
    np.testing.assert_array_equal(kernel_bar, np.zeros(kernel_shape))


@pytest.mark.parametrize("layer", LAYERS)
def test_shapes_beyond_any_memory_are_only_shapes(layer):
    function, shape, kernel_shape = LAYERS[layer]
    batch = (2**18, 2**13)  # with the examples more than 2**32 numbers
    x = jax.ShapeDtypeStruct((*batch, *shape), jnp.bfloat16)
    kernel = jax.ShapeDtypeStruct(kernel_shape, jnp.bfloat16)
    cotangents = jax.eval_shape(jax.grad(lambda x, kernel: function(x, kernel).sum(), (0, 1)), x, kernel)
    assert [(bar.shape, bar.dtype) for bar in cotangents] == [(a.shape, a.dtype) for a in (x, kernel)]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_same_program_repeats_its_bits(layer):
    function, shape, kernel_shape = LAYERS[layer]
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=size).astype(np.float32) for size in ((5, *shape), kernel_shape))
    program = jax.jit(gradients(function))
    first, second = program(x, kernel), program(x, kernel)
    for one, other in zip(first, second, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
