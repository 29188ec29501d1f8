"""A rule with its layer and proof outside of fnnet gets everything that fnnet's own have, without touching fnnet."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scaled_tanh import PROOF, ScaledTanh, scaled_tanh, scaled_tanh_bwd, scaled_tanh_fwd

import fnnet
from fnnet.checking import contract
from fnnet.cli import command
from fnnet.proofs import reference_of
from fnnet.training import batches

NET = fnnet.Sequential(fnnet.Dense(16), ScaledTanh(), fnnet.Dense(3))
LOSS = fnnet.softmax_cross_entropy
RNG = np.random.default_rng(0)
XS = RNG.normal(size=(96, 5)).astype(np.float32)
YS = XS[:, :3].argmax(-1).astype(np.int32)
ADAM = optax.adam(3e-2)


pytestmark = pytest.mark.usefixtures("standard_promotion")


def train(**options):
    settings = {"key": jax.random.key(0), "epochs": 6, "batch_size": 16, "progress": False} | options
    return fnnet.fit(NET, LOSS, ADAM, (XS, YS), **settings)


def assert_near(ours, wanted, rtol):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


def test_fit_trains_it():
    params, history = train()
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert (np.asarray(params["scaled_tanh_1"]["scale"]) != 1).all()


def test_kernels_before_it_are_glorots_and_before_a_rectifier_hes():
    def bent_fwd(x):
        return jnp.where(x > 0, x, 0), x > 0

    bent = fnnet.rule(bent_fwd, lambda positive, y_bar: (jnp.where(positive, y_bar, 0),), batched=("x",), gain=2**0.5)
    key = jax.random.key(1)
    for after, initializer in (ScaledTanh(), "glorot_uniform"), (bent, "he_normal"):
        drawn = fnnet.Sequential(fnnet.Dense(16), after).init(key, (5,))["dense_0"]["kernel"]
        given = fnnet.Dense(16, kernel_init=getattr(jax.nn.initializers, initializer)())
        np.testing.assert_array_equal(drawn, fnnet.Sequential(given, after).init(key, (5,))["dense_0"]["kernel"])


def test_its_costs():
    rows = {row.name: row for row in NET.summary((5,)).rows}
    assert rows["scaled_tanh_1"].parameters == 16
    assert rows["scaled_tanh_1"].flops == 16  # the product; tanh XLA counts apart
    assert rows["scaled_tanh_1"].kept_bytes == 16 * 4
    step = {row.name: row for row in NET.summary((5,), batch=8).rows}
    assert step["scaled_tanh_1"].flops > 8 * 16
    assert step["scaled_tanh_1"].bytes > 8 * 16 * 4


def test_its_trace():
    trace = fnnet.trace(NET, LOSS, NET.init(jax.random.key(0), (5,)), XS[:8], YS[:8])
    step = next(step for step in trace.steps if step.name == "scaled_tanh_1")
    assert [equation.number for equation in step.pages[0].equations] == [1, 2, 3]
    for cotangent in step.outgoing:
        assert cotangent.agreement.against == "autodiff of an independent forward"
        assert cotangent.agreement.wrong == 0
    wrong = fnnet.rule(scaled_tanh_fwd, lambda *args: (scaled_tanh_bwd(*args)[0], args[1].sum(0)), batched=("x",))
    trace = fnnet.trace(NET, LOSS, trace.params, XS[:8], YS[:8], replace={"scaled_tanh_1": wrong})
    assert [one.agreement.wrong for one in trace["scaled_tanh_1"].outgoing] == [0, 16]


def test_its_reference_and_its_contract():
    assert reference_of(scaled_tanh) is not None
    for case in (*PROOF.at_examples(), PROOF.case(3)):
        for shown in contract.values_and_gradients, contract.structure, contract.mapped:
            assert shown(case) == []


@pytest.mark.slow
def test_the_command_checks_it(capsys):
    assert command.main(["check", "scaled_tanh:PROOF"]) == 0
    assert "scaled_tanh" in capsys.readouterr().out


@pytest.mark.slow
def test_per_example_norms():
    params = NET.init(jax.random.key(0), (5,))
    norms = fnnet.gradient_norms(NET, LOSS, params, XS[:2], YS[:2])
    for x, y, norm in zip(XS, YS, norms, strict=False):
        bars = jax.grad(lambda p, x=x, y=y: LOSS(NET.apply(p, x), y))(params)
        assert norm == pytest.approx(float(optax.tree.norm(bars)), rel=1e-5)


def test_checkpoints_and_resuming(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "SECONDS_A_CALL", 1e-9)
    train(epochs=3, checkpoints=fnnet.Checkpoints(tmp_path))
    resumed, _ = train(checkpoints=fnnet.Checkpoints(tmp_path))
    for a, b in zip(jax.tree.leaves(resumed), jax.tree.leaves(train()[0]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_interop_says_what_is_missing():
    with pytest.raises(TypeError, match=r"to_torch: scaled_tanh_1, ScaledTanh\(\), has no layout"):
        fnnet.interop.to_torch(NET, (5,), NET.init(jax.random.key(0), (5,)), {})


@pytest.mark.parametrize("shard_parameters", [pytest.param(False, marks=pytest.mark.slow), True])
def test_eight_devices_train_it(shard_parameters):
    mesh = jax.make_mesh((8,), ("data",))
    assert_near(train(mesh=mesh, shard_parameters=shard_parameters)[0], train()[0], 1e-4)


def test_the_page_shows_it():
    here = Path(__file__)
    blocks = re.findall(r"^```python\n(.*?)^```$", (here.parents[2] / "docs/add_a_rule.md").read_text(), re.M | re.S)
    assert here.with_name("scaled_tanh.py").read_text() in blocks
