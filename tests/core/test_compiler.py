"""XLA's known faults: with fnnet's options, or operation by operation, every program that they hit is right."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miscompiled.cases import CASES

import fnnet
from fnnet.checking.compilation import faults
from fnnet.checking.compilation.operations import by_operation
from fnnet.cli.command import main
from fnnet.core.compiler import FAULTS, SAFE
from fnnet.core.jaxprs import flat_jaxpr

pytestmark = pytest.mark.cpu
BY_OPTIONS = [case for case in CASES if case[1] in (1, 2, 3)]
X64 = "x64"


def compare(name, found, right):
    tolerance = 1e-12 if name.endswith(X64) else 2e-5
    assert np.shape(found) == np.shape(right)
    np.testing.assert_allclose(found, right, rtol=tolerance, atol=tolerance * np.abs(right).max(), err_msg=name)


@pytest.mark.parametrize("case", BY_OPTIONS, ids=[case[0] for case in BY_OPTIONS])
def test_right_with_safe_options(case):
    name, _, _, made, reference = case
    with jax.enable_x64(name.endswith(X64)):
        f, args = made()
        compare(name, jax.jit(f, compiler_options=fnnet.safe_options())(*args), reference())


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_right_operation_by_operation(case):
    name, _, _, made, reference = case
    with jax.enable_x64(name.endswith(X64)):
        f, args = made()
        compare(name, by_operation(flat_jaxpr(f, *args), args), reference())


def product_with_a_constant(x, kernel):
    return fnnet.squared_error(fnnet.dense(x, kernel), jnp.ones_like(x))


@pytest.mark.parametrize("fill", [0.1, 0.0])
def test_a_constant_kernel_in_a_jit_of_the_users(fill):
    """Case D, with XLA's usual options; and the same of a convolution of one tap and of nine."""
    x = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    y = fill * x.astype(np.float64).sum(1)
    right = 0.5 * 64 * (y - 1) ** 2
    found = jax.jit(lambda x: product_with_a_constant(x, jnp.full((64, 64), fill)))(x)
    np.testing.assert_allclose(found, right, rtol=1e-3)
    for window in (1, 3):
        images = jnp.asarray(x.reshape(1, 8, 8, 64))
        kernel = (window, window, 64, 64)
        found = jax.jit(lambda x, kernel=kernel: (fnnet.conv(x, jnp.full(kernel, fill)) ** 2).sum(-1))(images)
        padded = np.pad(x.reshape(8, 8, 64).astype(np.float64).sum(-1), window // 2)
        sums = sum(padded[i : i + 8, j : j + 8] for i in range(window) for j in range(window))
        np.testing.assert_allclose(found[0], 64 * (fill * sums) ** 2, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "axis", "maps"),
    [((3, 1, 2, 2, 8, 8, 8), 3, 0), ((3, 1, 2, 2, 8, 8, 8), 0, 3), ((8, 4, 8, 8, 3, 2, 1), (3, 5), 0)],
)
def test_the_backward_of_softmax_over_many_axes(shape, axis, maps):
    """Case B, with XLA's usual options, reached directly and through vmap."""
    rng = np.random.default_rng(0)
    z, bar = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    axes = tuple(a + maps for a in (axis if isinstance(axis, tuple) else (axis,)))

    def backward(z, bar):
        return jax.vjp(lambda z: fnnet.softmax(z, axis=axis), z)[1](bar)[0]

    for _ in range(maps):
        backward = jax.vmap(backward)
    e = np.exp(z.astype(np.float64))
    p = e / e.sum(axes, keepdims=True)
    right = p * (bar - (p * bar).sum(axes, keepdims=True))
    np.testing.assert_allclose(jax.jit(backward)(z, bar), right, rtol=1e-4, atol=1e-6)


def test_what_fit_and_evaluate_compile_is_safe():
    """A loss with a constant product in it, which XLA's usual options compute wrongly."""
    xs = np.random.default_rng(0).normal(size=(128, 64)).astype(np.float32)

    def loss(outputs, ys):
        return ((outputs @ jnp.full((64, 64), 0.1)) ** 2).sum(-1)

    net = fnnet.Sequential(fnnet.Dense(64, bias=False))
    params = {"dense_0": {"kernel": jnp.eye(64)}}
    right = 64 * (0.1 * xs.astype(np.float64).sum(1)) ** 2
    found = fnnet.evaluate(net, params, loss, (xs, xs), batch_size=64)
    assert found["loss"] == pytest.approx(right.mean(), rel=1e-4)
    import optax

    _, history = fnnet.fit(
        net, loss, optax.sgd(0.0), (xs, xs), params=params, key=jax.random.key(0), batch_size=64, progress=False
    )
    assert history[0]["loss"] == pytest.approx(right.mean(), rel=1e-4)


def test_eager_calls_are_safe():
    """Case B without any jit, and a constant kernel under a dense layer: each function is compiled by itself."""
    z = jnp.asarray(np.random.default_rng(0).normal(size=(3, 1, 2, 2, 8, 8, 8)).astype(np.float32))
    y, backward = jax.vjp(lambda z: fnnet.softmax(z, axis=3), z)
    np.testing.assert_allclose(backward(jnp.ones_like(y))[0], jnp.zeros_like(z), atol=1e-6)
    losses = product_with_a_constant(jnp.ones((64, 64)), jnp.full((64, 64), 0.1))
    np.testing.assert_allclose(losses, np.full(64, 0.5 * 64 * 5.4**2), rtol=1e-5)


def test_an_unknown_option_is_left_out(monkeypatch):
    from fnnet.core import compiler

    compiler._is_known.cache_clear()
    monkeypatch.setattr(compiler, "SAFE", {"xla_no_such_option": ""})
    assert fnnet.safe_options() == {}
    compiler._is_known.cache_clear()
    monkeypatch.undo()
    assert fnnet.safe_options() == SAFE


def test_the_bias_gradients_of_a_step_are_sums_of_matrices():
    """Under the safe options, XLA is ten times slower with sums over several axes: in no program is there one."""

    def loss(params, xs):
        return (jax.vmap(lambda x: fnnet.conv(x, *params), 0)(xs) ** 2).sum()

    shapes = jnp.ones((3, 3, 8, 16)), jnp.ones(16)
    step = jax.jit(jax.grad(loss), compiler_options=fnnet.safe_options())
    program = step.lower(shapes, jnp.ones((32, 14, 14, 8))).compile().as_text()
    assert "f32[16]" in program
    assert "dimensions={0,1,2}" not in program
    plain = jax.jit(lambda y: y.sum((0, 1, 2)), compiler_options=fnnet.safe_options())
    assert "dimensions={0,1,2}" in plain.lower(jnp.ones((32, 14, 14, 16))).compile().as_text()


@pytest.mark.slow
def test_the_options_avoid_what_the_table_says(capsys, tmp_path):
    """`fnnet check --compiler`: the table, the exit status, and the same as JSON."""
    status = main(["check", "--compiler", "--json", str(tmp_path / "faults.json")])
    printed = capsys.readouterr().out
    told = json.loads((tmp_path / "faults.json").read_text())
    assert [fault["name"] for fault in told] == [fault.name for fault in FAULTS]
    assert all(fault["safe"] == "right" for fault in told if "safe_options" in fault["avoided"])
    live = [fault["name"] for fault in told if fault["usual"] != "right"]
    assert status == (3 if live else 0)
    assert f"{len(live)} of {len(FAULTS)} are live here" in printed
    assert [fault["name"] for fault in told if jax.__version__ in fault["versions"].split(", ")] == live


def test_a_probe_that_ends_its_process_is_a_crash(monkeypatch):
    monkeypatch.setattr(faults.sys, "executable", "/bin/false")
    assert faults._in_a_process(0, False) == faults.CRASH


def test_the_compiler_is_asked_alone(capsys):
    assert main(["check", "conv", "--compiler"]) == 2
    assert "--compiler takes no rule" in capsys.readouterr().err
