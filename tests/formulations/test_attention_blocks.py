"""Attention in blocks: what is alive at a time, which rows and keys meet, and the ends."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from devices.collectives import collectives_in
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sampled import one_in

import fnnet
from fnnet.checking import contract
from fnnet.core.jaxprs import all_equations
from fnnet.formulations import attention, pieces
from fnnet.proofs import own
from fnnet.rules import attention as page

plain = functools.partial(jax.nn.dot_product_attention, implementation="xla")


@pytest.fixture
def one_device(monkeypatch):
    """A turn has as many heads as devices may share."""
    monkeypatch.setattr(pieces, "sharers", lambda: 1)


def value_and_gradients(function, **static):
    def weighed(q, k, v, weights):
        return (function(q, k, v, **static) * weights).sum()

    return jax.jit(jax.value_and_grad(weighed, (0, 1, 2)))


def temporary(program, shape):
    """Bytes that the compiled program needs beside its arguments and outputs."""
    array = jax.ShapeDtypeStruct(shape, "float32")
    return program.lower(*[array] * 4).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.cpu
@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize(
    ("shape", "causal", "most"),
    one_in(3, [((1, 4096, 8, 64), False, 0.09), ((8, 256, 4, 64), True, 0.35), ((2, 1024, 8, 64), True, 0.13)]),
)
def test_temporary_memory(shape, causal, most):
    ours = temporary(value_and_gradients(fnnet.attention, causal=causal), shape)
    assert ours < most * temporary(value_and_gradients(plain, is_causal=causal), shape)


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("causal", [False, True])
def test_the_square_of_all_heads_never_exists(causal):
    """Neither among what is kept nor in the backward, for a CPU."""
    shape, square = (2, 300, 4, 8), 2 * 4 * 300 * 300
    array = jax.ShapeDtypeStruct(shape, "float32")
    kept = jax.eval_shape(lambda *qkv: jax.vjp(fnnet.attention, *qkv)[1], array, array, array)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(kept)) == 3 * math.prod(shape) + 2 * 4 * 300 * 2

    def largest(function, *args):
        closed = jax.make_jaxpr(function)(*args)
        shapes = [v.aval.shape for equation in all_equations(closed.jaxpr) for v in equation.outvars]
        return max(math.prod(shape) for shape in shapes)

    arguments = [array] * 3 + [None] * 3
    static = {"causal": causal, "scale": 1.0, "soft_cap": None}
    o, sums = jax.eval_shape(functools.partial(attention.output, **static), *arguments)
    assert largest(functools.partial(attention.output, **static), *arguments) < square / 8
    assert largest(functools.partial(attention.gradients, **static), *arguments, sums, o) < square / 8
    assert largest(functools.partial(plain, is_causal=causal), array, array, array) >= square


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 255, 256, 1000, 1024, 4096, 10_007])
@pytest.mark.parametrize("keys", [50, 4096])
def test_stages_take_every_row_once(length, keys, causal):
    found = attention.stages(length, keys, causal=causal)
    assert [stage.first for stage in found] == list(np.cumsum([0, *(stage.rows for stage in found)]))[:-1]
    assert sum(stage.rows for stage in found) == length
    for stage in found:
        assert stage.rows % stage.block == 0
        assert stage.block <= attention.MOST
        assert stage.keys == (min(stage.first + stage.rows, keys) if causal else keys) or stage.keys == keys or causal
        assert stage.keys >= (min(stage.first + stage.rows, keys) if causal else keys)  # no key that a row sees is out


def test_causal_blocks_leave_out_half_the_keys():
    seen = sum(stage.rows * stage.keys for stage in attention.stages(1024, 1024, causal=True))
    assert seen < 0.57 * 1024**2


@pytest.mark.cpu
def test_examples_and_heads_stay_on_their_devices():
    """Two axes of devices, batch and heads: nothing is sent but the sum that is the loss."""
    mesh = jax.make_mesh((2, 4), ("batch", "heads"), axis_types=(AxisType.Auto,) * 2)
    placed = NamedSharding(mesh, P("batch", None, "heads"))
    arrays = drawn((4, 130, 8, 4))
    program = value_and_gradients(fnnet.attention, causal=True)
    shared = jax.jit(value_and_gradients(fnnet.attention, causal=True), out_shardings=(None, (placed,) * 3))
    compiled = shared.lower(*jax.device_put(arrays, placed)).compile()
    assert {found.kind for found in collectives_in(compiled.as_text())} == {"all-reduce"}
    assert all(shape in ((), (1,)) for found in collectives_in(compiled.as_text()) for shape in found.shapes)
    ours, theirs = compiled(*jax.device_put(arrays, placed)), program(*arrays)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.cpu
@pytest.mark.parametrize("number", contract.covering(own()["attention"]))
def test_the_equations_of_the_page_are_what_a_cpu_computes(number, x64, one_device):
    """GPUs and TPUs compute the page's functions as they stand."""
    case = own()["attention"].case(number)
    arrays = case.arrays
    given = [arrays.get(name) for name in ("q", "k", "v", "bias", "mask", "key_lengths")]
    given = [None if array is None else jnp.asarray(array) for array in given]
    static = {"soft_cap": None} | case.configuration.static | {"scale": 0.5}
    o_bar = case.generator(1).normal(size=arrays["q"].shape[:-1] + arrays["v"].shape[-1:])

    @jax.jit
    def both(given):
        o, sums = attention.output(*given, **static)
        kept = *given, sums, o_bar
        plain = *page.attend.__wrapped__(*given, **static), *page.pull_back.__wrapped__(*kept, **static)
        return (o, sums, *attention.gradients(*kept, **static)), plain

    for ours, theirs in zip(*both(given), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def drawn(shape, number=4):
    return [np.asarray(a, np.float32) for a in np.random.default_rng(0).normal(size=(number, *shape))]


@pytest.mark.parametrize("causal", [False, True])
def test_agrees_with_jax_nn(causal):
    """In f32, in which `jax.nn` takes its softmax; the lengths of the keys mean the same."""
    q, k, v, weights = drawn((3, 150, 2, 8))
    lengths = np.array([1, 77, 150], np.int32)
    ours = value_and_gradients(fnnet.attention, causal=causal, key_lengths=lengths)(q, k, v, weights)
    theirs = value_and_gradients(plain, is_causal=causal, key_value_seq_lengths=lengths)(q, k, v, weights)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("shape", [(4, 1, 3), (150, 1, 3)])
def test_rows_that_see_nothing_are_zero_with_zero_gradients(shape):
    q, k, v, weights = drawn(shape)
    mask = np.ones((shape[0], shape[0]), bool)
    mask[1] = False
    bias = np.where(mask, 0, -np.inf).astype(np.float32)
    for hidden in ({"mask": mask}, {"bias": bias}):
        o, pull = jax.vjp(functools.partial(fnnet.attention, **hidden), q, k, v)
        q_bar, *others = pull(weights)
        assert (o[1] == 0).all()
        assert (q_bar[1] == 0).all()
        without = weights.copy()
        without[1] = 0
        for bar, expected in zip(others, pull(without)[1:], strict=True):
            np.testing.assert_array_equal(bar, expected)
            assert jnp.isfinite(bar).all()
    first = jax.grad(lambda q: jnp.sin(fnnet.attention(q, k, v, mask=mask)).sum())
    second = jax.jit(jax.grad(lambda q: first(q).sum()))(q)
    assert (second[1] == 0).all()
    assert jnp.isfinite(second).all()


@pytest.mark.parametrize("length", [np.uint32(2**32 - 1), np.int64(2**32)], ids=["uint32", "int64"])
def test_key_lengths_beyond_int32_do_not_wrap_round(length):
    q, k, v, _ = drawn((3, 1, 2))
    np.testing.assert_array_equal(fnnet.attention(q, k, v, key_lengths=length), fnnet.attention(q, k, v))


def test_no_keys_at_all():
    q, k, *_ = drawn((3, 2, 4))
    o, pull = jax.vjp(fnnet.attention, q, k[:0], k[:0])
    assert (o == 0).all()
    assert [bar.shape for bar in pull(o)] == [(3, 2, 4), (0, 2, 4), (0, 2, 4)]
    assert (pull(o)[0] == 0).all()
