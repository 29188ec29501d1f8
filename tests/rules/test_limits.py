"""Numbers and shapes at their ends: one class, equal logits, no examples, more than memory holds; and repetition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet.proofs import own
from fnnet.proofs.proof import cast

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


def cases_of_every_rule(most):
    """Examples of each proof; quick is the first one of the first rule of each page."""
    found, pages = [], set()
    for proof in own().values():
        for number, case in enumerate(proof.at_examples()[:most]):
            quick = proof.page not in pages and number == 0
            found.append(pytest.param(case, id=case.title, marks=[] if quick else pytest.mark.slow))
        pages.add(proof.page)
    return found


def batch_of(case, *lead, dtype="float32"):
    """The shapes of the arrays, with these axes before all but the parameters."""
    arrays = cast(case.arrays, dtype).items()
    with_lead = {name: (*lead, *a.shape) if name not in case.proof.parameters else a.shape for name, a in arrays}
    return {name: jax.ShapeDtypeStruct(with_lead[name], a.dtype) for name, a in arrays}


def gradients(case, is_mapped=False):
    """grad(arrays) of all that is differentiated, under a cotangent that is not constant; maybe of vmap."""
    axes = {name: None if name in case.proof.parameters else 0 for name in case.arrays}

    def apply(arrays):
        return case.proof.called(case.proof.function, arrays, case.configuration.static)

    def weighed(moving, arrays):
        y = (jax.vmap(apply, (axes,)) if is_mapped else apply)(
            {name: moving.get(name, a) for name, a in arrays.items()}
        )
        return sum(map(waved, jax.tree.leaves(y)))

    def waved(y):
        return (
            (y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype))
            .sum()
            .astype(jnp.float32)
        )

    return lambda arrays: jax.grad(weighed)({name: arrays[name] for name in case.differentiated}, arrays)


def assert_no_examples_give_zeros(case, is_mapped):
    arrays = {name: jnp.ones(a.shape, a.dtype) for name, a in batch_of(case, 0).items()}
    for name, bar in jax.jit(gradients(case, is_mapped))(arrays).items():
        np.testing.assert_array_equal(bar, np.zeros(arrays[name].shape))


@pytest.mark.parametrize("case", cases_of_every_rule(1))
def test_no_examples_give_zero_gradients(case):
    assert_no_examples_give_zeros(case, is_mapped=False)


@pytest.mark.parametrize("case", cases_of_every_rule(9))
def test_no_examples_give_zero_gradients_under_vmap(case):
    assert_no_examples_give_zeros(case, is_mapped=True)


@pytest.mark.parametrize("case", cases_of_every_rule(1))
def test_shapes_beyond_any_memory_are_only_shapes(case):
    arrays = batch_of(case, 2**18, 2**13, dtype="bfloat16")  # 2**31 and more numbers
    for name, bar in jax.eval_shape(gradients(case), arrays).items():
        assert (bar.shape, bar.dtype) == (arrays[name].shape, arrays[name].dtype)


@pytest.mark.parametrize("case", cases_of_every_rule(9))
def test_the_same_program_repeats_its_bits(case):
    arrays, program = cast(case.arrays, "float32"), jax.jit(gradients(case))
    first, second = program(arrays), program(arrays)
    for name in case.differentiated:
        assert np.asarray(first[name]).tobytes() == np.asarray(second[name]).tobytes()
