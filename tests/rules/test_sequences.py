"""Sequences with lengths: padding reaches nothing, and each is what it would be alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet

LENGTHS = np.array([4, 2, 0], np.int32)


def gradients(rule, arrays, lengths, reverse):
    """Outputs, final state and gradients, under cotangents that differ at each entry."""

    def loss(arrays):
        ys, state = rule(**arrays, lengths=lengths, reverse=reverse)
        leaves = [ys.sum((0, 1)), *(leaf.sum(0) for leaf in jax.tree.leaves(state))]  # padding adds nothing
        weighed = sum((jnp.sin(leaf) * (i + 1.5)).sum() for i, leaf in enumerate(leaves))
        return weighed, (ys, state)

    (_, outputs), bars = jax.value_and_grad(loss, has_aux=True)(arrays)
    return outputs, bars


def drawn(rule, steps, examples=3):
    gates, random = {fnnet.lstm: 4, fnnet.gru: 3}[rule], np.random.default_rng(1)
    shapes = {"xs": (examples, steps, 2), "input_kernel": (2, gates * 3), "recurrent_kernel": (3, gates * 3)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rule", [fnnet.lstm, fnnet.gru])
def test_padding_reaches_nothing(rule, reverse):
    arrays = drawn(rule, 4)
    padded = dict(arrays, xs=np.where(np.arange(4)[:, None] < LENGTHS[:, None, None], arrays["xs"], np.nan))
    assert np.isnan(padded["xs"]).sum() == 12
    expected, found = (gradients(rule, given, LENGTHS, reverse) for given in (arrays, padded))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    (ys, state), bars = found
    assert not ys[1, 2:].any()
    assert not ys[2].any()
    assert not jax.tree.leaves(state)[0][2].any()
    assert not bars["xs"][1, 2:].any()
    assert bars["xs"][1, :2].all()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rule", [fnnet.lstm, fnnet.gru])
def test_a_padded_sequence_is_what_it_is_alone(rule, reverse):
    arrays = drawn(rule, 4)
    alone = dict(arrays, xs=arrays["xs"][1, :2])
    whole_ys, whole_state = rule(**arrays, lengths=LENGTHS, reverse=reverse)
    ys, state = rule(**alone, reverse=reverse)
    np.testing.assert_allclose(whole_ys[1, :2], ys, rtol=1e-5)
    jax.tree.map(lambda whole, one: np.testing.assert_allclose(whole[1], one, rtol=1e-5), whole_state, state)


@pytest.mark.parametrize("rule", [fnnet.lstm, fnnet.gru])
def test_lengths_outside_are_clipped(rule):
    arrays = drawn(rule, 4, examples=2)
    inside, *outside = (
        rule(**arrays, lengths=np.array(lengths), reverse=True) for lengths in ([4, 0], [9, -3], [2**40, -(2**40)])
    )
    for found in outside:
        jax.tree.map(np.testing.assert_array_equal, found, inside)


@pytest.mark.parametrize("rule", [fnnet.lstm, fnnet.gru])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_carries_the_state_in_single(rule, dtype):
    """Over 200 steps: the errors of one rounding a step, and no drift."""
    arrays = {name: jnp.asarray(a, dtype) for name, a in drawn(rule, 200).items()}
    expected = rule(**{name: a.astype(jnp.float32) for name, a in arrays.items()})
    ys, state = rule(**arrays)
    assert {leaf.dtype for leaf in jax.tree.leaves((ys, state))} == {jnp.dtype(dtype)}
    np.testing.assert_allclose(ys.astype(jnp.float32), expected[0], atol=6 * float(jnp.finfo(dtype).eps))
