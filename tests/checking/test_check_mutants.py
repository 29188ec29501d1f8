"""Mutants: which ones there are of a function, what they compute, and a function that is made one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import fnnet
from fnnet.checking.mutation.mutants import mutants, mutated
from fnnet.checking.mutation.power import power
from fnnet.core.jaxprs import flat_jaxpr

A, B = (jax.random.normal(jax.random.key(i), (3, 3)) for i in range(2))
V = jnp.array([0.5, -1.5, 2.0])
IMAGE, KERNEL = jax.random.normal(jax.random.key(2), (2, 5, 6, 2)), jax.random.normal(jax.random.key(3), (3, 3, 2, 4))
LAST = ("NHWC", "HWIO", "NHWC")


def keys(function, *args):
    """Without those of the outputs, which every function has."""
    return [m.key for m in mutants(function, *args) if not m.key.startswith("output")]


KNOWN = {
    "neg": (lambda x: -x, (V,), ["neg: dropped"]),
    "abs": (jnp.abs, (V,), ["abs: dropped"]),
    "gt": (lambda x, y: (x > y).astype(jnp.float32), (V, V), ["gt: made ge"]),
    "le": (lambda x, y: (x <= y).astype(jnp.float32), (V, V), ["le: made lt"]),
    "maximum": (jnp.maximum, (V, V), ["max: made min"]),
    "add": (lambda x, y: x + y, (V, V), ["add: made sub"]),
    "sub": (lambda x, y: x - y, (V, V), ["sub: made add"]),
    "integers": (lambda i, j: i + j * i, (jnp.arange(3), jnp.arange(3)), []),
    "mul": (lambda x, y: x * y, (V, V), ["mul: second operand dropped", "mul: first operand dropped"]),
    "square": (lambda x: x * x, (V,), ["mul: second operand dropped"]),
    "division of a scalar": (lambda x, y: y / x, (V, jnp.float32(2)), []),
    "power": (lambda x: x**3, (V,), ["integer_pow: exponent 3 made 4"]),
    "exp": (jnp.exp, (V,), ["exp: made expm1"]),
    "logistic": (jax.nn.sigmoid, (V,), ["logistic: made tanh"]),
    "constants": (
        lambda x: x * 3 + jnp.zeros(3),
        (V,),
        ["constant: 3 times 1.1", "mul: second operand dropped", "add: made sub"],
    ),
    "select": (
        lambda m, x, y: lax.select_n(m, x, y),
        (V > 0, V, V),
        ["select_n: branches exchanged", "select_n: mask made all true"],
    ),
    "conversion": (lambda x: x.astype(jnp.float16), (V,), ["convert_element_type: rounded to bfloat16"]),
    "exact conversion": (lambda x: x.astype(jnp.float32), (V > 0,), []),
    "sum": (
        lambda x: x.sum(0),
        (A,),
        ["reduce_sum: made a mean", "reduce_sum: axis 0 left out", "reduce_sum: over axis 1 for 0"],
    ),
    "sum of one": (lambda x: x.sum(0), (A[:1],), ["reduce_sum: made a mean"]),
    "running sum": (lambda x: jnp.cumsum(x, 0), (A,), ["cumsum: reversed"]),
    "first maximum": (lambda x: jnp.argmax(x, 1), (A,), ["argmax: made the last of equals"]),
    "transpose": (jnp.transpose, (A,), ["transpose: made a reshape"]),
    "transpose of three axes": (
        lambda x: x.transpose(2, 0, 1),
        (jnp.ones((3, 3, 2)),),
        ["transpose: made a reshape", "transpose: axes 1 and 2 of the result exchanged"],
    ),
    "flip": (
        lambda x: lax.rev(x, (0, 1)),
        (A,),
        ["rev: dropped", "rev: axis 0 left out", "rev: axis 1 left out"],
    ),
    "broadcast": (lambda x: lax.broadcast_in_dim(x, (3, 3), (0,)), (V,), ["broadcast_in_dim: along axis 1 for 0"]),
    "pad": (lambda x: jnp.pad(x, ((1, 0), (0, 0))), (A,), ["pad: shifted by one on axis 0"]),
    "slice": (lambda x: lax.slice(x, (1, 0), (3, 3)), (A,), ["slice: moved by one on axis 0"]),
    "scatter": (
        lambda x, u: lax.scatter_add(x, jnp.zeros((1, 1), jnp.int32), u, lax.ScatterDimensionNumbers((1,), (0,), (0,))),
        (A, A[:1]),
        ["scatter-add: made scatter, without add"],
    ),
    "product": (
        lambda x, y: x @ y,
        (A, B),
        ["dot_general: first operand transposed, axis 0 for 1", "dot_general: second operand transposed, axis 1 for 0"],
    ),
    "product of a batch": (
        lambda x, y: jnp.einsum("bij,bj->bi", x, y),
        (jnp.ones((2, 3, 3)), jnp.ones((2, 3))),
        ["dot_general: first operand transposed, axis 1 for 2"],
    ),
    "convolution": (
        lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=LAST),
        (IMAGE, KERNEL),
        [
            "conv_general_dilated: kernel flipped",
            "conv_general_dilated: spatial axes 0 and 1 of the kernel exchanged",
            "conv_general_dilated: padding shifted by one on axis 0",
            "conv_general_dilated: padding shifted by one on axis 1",
        ],
    ),
    "convolution with a stride": (
        lambda x, k: lax.conv_general_dilated(x, k, (2,), [(1, 1)], rhs_dilation=(1,)),
        (jnp.ones((1, 1, 9)), jnp.ones((1, 1, 3))),
        [
            "conv_general_dilated: kernel flipped",
            "conv_general_dilated: padding shifted by one on axis 0",
            "conv_general_dilated: window_strides and rhs_dilation exchanged",
        ],
    ),
    "scan": (
        lambda x: lax.scan(lambda c, a: (c + a, -c), jnp.zeros(3), x)[1],
        (A,),
        ["scan: reversed", "scan, body of scan: add: made sub", "scan, body of scan: neg: dropped"],
    ),
    "branches": (
        lambda i, x: lax.cond(i, lambda x: -x, lambda x: jnp.exp(x), x),
        (True, V),
        ["cond, branch 0 of cond: exp: made expm1", "cond, branch 1 of cond: neg: dropped"],
    ),
    "a dead equation": (lambda x: (jnp.exp(x), -x)[1], (V,), ["neg: dropped"]),
    "stop_gradient": (lax.stop_gradient, (V,), []),
    "a call": (
        lambda x: jax.jit(lambda x: -x)(x) + jax.checkpoint(jnp.sin)(x),
        (V,),
        ["neg: dropped", "sin: made cos", "add: made sub"],
    ),
    "a custom_jvp": (jax.nn.relu, (V,), ["max: made min"]),
    "a rule": (fnnet.relu, (V,), ["max in fnnet.relu: made min"]),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_mutants(name):
    function, args, expected = KNOWN[name]
    assert sorted(keys(function, *args)) == sorted(expected)


def test_an_output_is_made_zero_and_negated():
    found = {m.key: m.function for m in mutants(lambda x: {"a": jnp.exp(x), "b": None}, V)}
    np.testing.assert_array_equal(found["output: made zero"](V)["a"], 0 * V)
    np.testing.assert_array_equal(found["output: negated"](V)["a"], -jnp.exp(V))
    assert found["output: negated"](V)["b"] is None


# What some mutants compute.


@pytest.mark.parametrize(
    ("function", "args", "key", "expected"),
    [
        (lambda x: x.sum(0), (A,), "reduce_sum: made a mean", A.mean(0)),
        (lambda x: x.sum(0), (A,), "reduce_sum: axis 0 left out", A[0]),
        (lambda x: x.sum(0), (A,), "reduce_sum: over axis 1 for 0", A.sum(1)),
        (lambda x, y: x @ y, (A, B), "dot_general: first operand transposed, axis 0 for 1", A.T @ B),
        (lambda x: jnp.cumsum(x, 0), (A,), "cumsum: reversed", A[::-1].cumsum(0)[::-1]),
        (lambda x: jnp.argmax(x), (jnp.array([1, 3, 3, 2]),), "argmax: made the last of equals", jnp.array(2)),
        (lambda x: x.at[jnp.array([0, 0])].add(1.0), (V,), "scatter-add: made scatter, without add", V.at[0].set(1)),
        (lambda x: jnp.pad(x, (1, 1)), (V,), "pad: shifted by one on axis 0", jnp.pad(V, (2, 0))),
        (lambda x: x * 0.5, (V,), "constant: 0.5 times 1.1", V * 0.55),
        (lambda x: x.T, (jnp.arange(6.0).reshape(2, 3),), "transpose: made a reshape", jnp.arange(6.0).reshape(3, 2)),
        (
            lambda x, k: lax.conv(x, k, (1,), [(1, 1)]),  # type: ignore[arg-type]
            (V[None, None], B[None, :1]),
            "conv_general_dilated: kernel flipped",
            lax.conv(V[None, None], B[None, :1, ::-1], (1,), [(1, 1)]),  # type: ignore[arg-type]
        ),
        (
            lambda x, k: lax.conv_general_dilated(x, k, (1,), [(1, 1)]),
            (V[None, None], B[None, :1]),
            "conv_general_dilated: padding shifted by one on axis 0",
            lax.conv_general_dilated(V[None, None], B[None, :1], (1,), [(2, 0)]),
        ),
        (
            lambda x: lax.scan(lambda c, a: (c + a, c), jnp.zeros(3), x)[1],
            (A,),
            "scan, body of scan: add: made sub",
            jnp.concatenate([jnp.zeros((1, 3)), -A.cumsum(0)[:-1]]),
        ),
    ],
)
def test_what_a_mutant_computes(function, args, key, expected):
    (mutant,) = (m.function for m in mutants(function, *args) if m.key == key)
    np.testing.assert_allclose(mutant(*args), expected, rtol=1e-6)
    assert not np.allclose(function(*args), expected)


def pull_of(function, moving=None):
    """pull(*args, output_bar), by the first `moving` arguments."""

    def pull(*args):
        *args, output_bar = args
        first = args[:moving]
        return jax.vjp(lambda *values: function(*values, *args[len(first) :]), *first)[1](output_bar)

    return pull


def loop(x, n):
    return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * 2.0 - x), (0, x))[1]


def attention(q, k, v):
    mask = jnp.tril(jnp.ones((4, 4), bool))
    return jax.nn.softmax(jnp.where(mask, q @ k.T, -jnp.inf)) @ v


def dropout(x, y_bar):
    return [jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), y_bar * 2.0, 0.0)]


Q = jax.random.normal(jax.random.key(4), (3, 4, 2))
PULLS = {
    "conv": (
        pull_of(lambda x, k, b: fnnet.conv(x, k, b, stride=2, groups=2)),
        (jnp.tile(IMAGE, 2), KERNEL, jnp.ones(4), jnp.ones((2, 3, 3, 4))),
    ),
    "max_pool": (pull_of(lambda x: fnnet.max_pool(x, 2)), (IMAGE[:, :4, :4], IMAGE[:, :2, :2])),
    "cross entropy": (pull_of(fnnet.softmax_cross_entropy, 1), (A, jnp.array([0, 2, 2]), V)),
    "attention": (pull_of(attention), (*Q, Q[0])),
    "recurrence": (pull_of(lambda w, x: lax.scan(lambda h, a: (jnp.tanh(w @ h + a),) * 2, V, x)[1]), (A, B, B)),
    "loop": (loop, (V, 3)),
    "dropout": (dropout, (V, V)),
    "f16": (pull_of(fnnet.dense), tuple(a.astype(jnp.float16) for a in (A, B, A[0], B))),
}


@pytest.mark.parametrize("name", PULLS)
def test_mutants_keep_shapes_and_dtypes_and_can_be_jitted(name):
    function, args = PULLS[name]
    expected = jax.eval_shape(function, *args)
    found = mutants(function, *args)
    assert len({m.description for m in found}) == len(found) > 4
    for mutant in found:
        shapes = jax.eval_shape(mutant.function, *args)
        assert jax.tree.map(lambda a: (a.shape, a.dtype), shapes) == jax.tree.map(
            lambda a: (a.shape, a.dtype), expected
        )
    last = found[-1].function
    for a, b in zip(jax.tree.leaves(jax.jit(last)(*args)), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


@pytest.mark.parametrize("name", PULLS)
def test_a_program_is_the_function(name):
    function, args = PULLS[name]
    program = flat_jaxpr(function, *args)
    for a, b in zip(*(jax.tree.leaves(jax.jit(f)(*args)) for f in (program, function)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2 if a.dtype == jnp.float16 else 1e-5, atol=1e-6)


def test_primitives_of_fnnet_are_edited_inside():
    found = keys(*PULLS["conv"][:1], *PULLS["conv"][1])
    assert "rev in conv.by_x: dropped" in found
    assert "conv_general_dilated in conv.by_kernel: kernel flipped" in found


def test_descriptions_have_operands_and_line():
    (mutant,) = (m for m in mutants(attention, *Q) if m.key == "select_n: mask made all true")
    assert "(of bool[4,4], bool[4,4], bool[4,4] at test_check_mutants.py:" in mutant.description


def newton(a):
    def turn(c):
        y = 0.5 * (c[0] + a / c[0])
        return y, jnp.abs(y - c[0]).max()

    return lax.while_loop(lambda c: c[1] > 1e-5, turn, (a, jnp.float32(1)))[0] * 3.0


def two_steps(x):
    """The second value decides one turn later, the bound from outside."""
    bound = jnp.abs(x).sum() * 2

    def turn(c):
        return c[0] + c[1], c[1] * 1.5, -c[2]

    return lax.while_loop(lambda c: c[0] < bound, turn, (jnp.float32(0), jnp.float32(1), -x))[2]


def test_what_ends_a_loop_is_not_edited():
    assert set(keys(loop, V, 3)) == {
        "while, body of while: constant #2: 2 times 1.1",
        "while, body of while: mul: second operand dropped",
        "while, body of while: sub: made add",
    }
    assert set(keys(newton, V + 2)) == {"constant #2: 3 times 1.1", "mul: second operand dropped"}
    assert power(lambda a: [newton(a)], [(V + 2,)]).score == 1
    assert keys(two_steps, V) == ["neg: dropped", "while, body of while: neg: dropped"]
    in_scan = keys(lambda a: lax.scan(lambda c, x: (-c, newton(jnp.exp(x))), V, a)[1], A)
    assert in_scan == ["scan: reversed"]


# A whole test suite against a mutant.


def scaled_fwd(x, w, *, factor):
    return factor * (x @ w), (x, w)


def scaled_bwd(residuals, y_bar, *, factor):
    x, w = residuals
    return factor * (y_bar @ w.T), factor * (x.T @ y_bar)


def test_mutated_at_other_shapes():
    x = jax.random.normal(jax.random.key(5), (4, 3))
    key = "mul #2: first operand dropped"
    assert key in [m.key for m in mutants(lambda r, g: scaled_bwd(r, g, factor=2.0), (A, B), A)]
    right, wrong = (fnnet.rule(scaled_fwd, bwd) for bwd in (scaled_bwd, mutated(scaled_bwd, key)))
    bars = [jax.vjp(lambda x, f=f: f(x, A, factor=2.0), x)[1](x)[0] for f in (right, wrong)]
    np.testing.assert_allclose(bars[0], bars[1], rtol=1e-6)
    w_bars = [jax.jit(jax.grad(lambda w, f=f: (f(x, w, factor=2.0) * x).sum()))(A) for f in (right, wrong)]
    assert not np.allclose(*w_bars)


def test_mutated_without_a_place_is_the_function():
    bars, expected = (f((A, B), A, factor=2.0) for f in (mutated(scaled_bwd, "rev: dropped"), scaled_bwd))
    np.testing.assert_array_equal(bars, expected)
