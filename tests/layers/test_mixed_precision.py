"""Mixed precision: bf16 between the layers, f32 in parameters, sums, softmax, loss and state."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet
from fnnet.checking.contract import compare
from fnnet.cli import runs
from fnnet.cli.command import main
from fnnet.training import batches, checkpoint, resumption, steps

pytestmark = pytest.mark.usefixtures("standard_promotion")


LAYERS = (
    *(fnnet.Conv(4, 3), fnnet.relu, fnnet.MaxPool(2), fnnet.Residual(fnnet.Conv(4, 3), jnp.tanh)),
    *(fnnet.Flatten(), fnnet.Dropout(0.25), fnnet.Dense(6)),
)
NET, MIXED = fnnet.Sequential(*LAYERS), fnnet.Sequential(*LAYERS, compute_dtype=jnp.bfloat16)
LOSS = fnnet.softmax_cross_entropy
ADAM = optax.adam(optax.cosine_decay_schedule(1e-2, 40))
RNG = np.random.default_rng(7)
XS = RNG.normal(size=(40, 6, 6, 2)).astype(np.float32)
YS = (np.arange(40) % 6).astype(np.int32)
KEY = jax.random.key(3)


def dtypes_between(net, **options):
    """The dtypes that each layer is given and gives: parameters, input, output."""
    seen = {}

    def run(name, layer, params, x, key):
        y = layer.apply(params, x, key=key)
        seen[name] = [leaf.dtype.name for leaf in (*jax.tree.leaves(params), x, y)]
        return y

    params = net.init(KEY, (6, 6, 2))
    seen["out"] = jax.eval_shape(lambda x: net.thread(run, params, x, None), XS[0]).dtype.name
    return seen


def test_bf16_between_the_layers_and_f32_at_the_end():
    seen = dtypes_between(MIXED)
    assert seen.pop("out") == "float32"
    assert {dtype for dtypes in seen.values() for dtype in dtypes} == {"bfloat16"}
    assert set(jax.tree.leaves(jax.tree.map(lambda p: p.dtype.name, MIXED.init(KEY, (6, 6, 2))))) == {"float32"}


@pytest.mark.parametrize("softmax", [fnnet.softmax, fnnet.log_softmax, jax.nn.softmax])
def test_a_softmax_is_computed_in_f32(softmax):
    net = fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(6), softmax, compute_dtype="bfloat16")
    name = next(name for name in dtypes_between(net) if "softmax" in name)
    assert dtypes_between(net)[name] == ["float32", "float32"]


def test_a_network_inside_keeps_its_own():
    inside = fnnet.Sequential(fnnet.Dense(5), compute_dtype=jnp.float32)
    net = fnnet.Sequential(fnnet.Flatten(), inside, fnnet.Dense(6), compute_dtype=jnp.bfloat16)
    seen = dtypes_between(net)
    assert seen["sequential_1"] == ["float32", "float32", "bfloat16", "float32"]  # the input has come through Flatten
    assert set(seen["dense_2"]) == {"bfloat16"}


def test_the_gradient_is_f32s_up_to_the_rounding_of_bf16():
    params = NET.init(KEY, XS.shape[1:])
    ours, theirs = (
        jax.jit(jax.grad(lambda params, net=net: steps.batch_loss(net, LOSS, params, XS, YS, KEY)[0]))(params)
        for net in (MIXED, NET)
    )
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == jnp.float32
        assert not compare(str(path), a, b, 0.05)
        assert compare(str(path), a, b, 1e-4), "bf16 was not used"


@pytest.mark.cpu
def test_every_sum_of_a_step_is_f32():
    """In the program before XLA: products of bf16 arrays give f32, and no sum is one of bf16."""
    state = steps.start(MIXED, ADAM, KEY, XS.shape[1:])
    step = jax.jit(lambda state, x, y: steps.train_step(MIXED, LOSS, ADAM, state, x, y))
    text = step.lower(state, XS, YS).as_text()
    products = re.findall(r"stablehlo\.(?:dot_general|convolution).*?: \((.*?)\) -> tensor<(\S+)>", text)
    assert sum("bf16" in operands for operands, _ in products) >= 6
    assert all(result.endswith("xf32") for operands, result in products if "bf16" in operands)
    sums = re.findall(r"stablehlo\.reduce\(.*?applies stablehlo\.add.*?: \(tensor<(\S+)>", text)
    assert sums
    assert not [operand for operand in sums if operand.endswith("bf16")]


def test_state_and_history_are_f32_and_it_learns():
    params, history = fnnet.fit(MIXED, LOSS, ADAM, (XS, YS), key=KEY, epochs=8, batch_size=8, validation=(XS, YS))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert fnnet.evaluate(MIXED, params, LOSS, (XS, YS))["loss"] == history[-1]["validation_loss"]


class StoppedError(Exception):
    """Stands for whatever ends a process."""


def test_a_resumed_training_has_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "SECONDS_A_CALL", 1e-9)  # one step a call

    class Mortal(resumption.Checkpoints):
        pauses = 7

        def __call__(self, moment):
            super().__call__(moment)
            self.pauses -= 1
            if not self.pauses:
                raise StoppedError

    def train(checkpoints=None):
        data = (XS, YS)
        return fnnet.fit(MIXED, LOSS, ADAM, data, key=KEY, epochs=3, batch_size=8, checkpoints=checkpoints)[0]

    with pytest.raises(StoppedError):
        train(Mortal(tmp_path / "run", seconds=0))
    (newest, *_) = resumption.found_in(tmp_path / "run")
    assert newest.name == "epoch-1-step-6"
    saved = jax.tree.leaves(checkpoint.load(newest)[0])
    assert "bfloat16" not in {leaf.dtype.name for leaf in saved if isinstance(leaf, np.ndarray)}
    chex.assert_trees_all_equal(train(resumption.Checkpoints(tmp_path / "run")), train())


DENSE = fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(6), compute_dtype=jnp.bfloat16)


def test_clipped_gradients_have_the_parameters_dtype():
    params = DENSE.init(KEY, XS.shape[1:])
    ours, theirs = (
        jax.jit(lambda params, net=net: fnnet.clipped_gradients(net, LOSS, params, XS, YS, max_norm=1.0))(params)
        for net in (DENSE, DENSE.without_policy())
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == jnp.float32
        assert not compare("clipped gradient", a, b, 0.05)


def test_the_summary_counts_bf16():
    mixed, full = (net.summary((6, 6, 2)) for net in (MIXED, NET))
    assert mixed.parameters == full.parameters
    of_one_byte = 6 * 6 * 4 + 3 * 3 * 4 + 3 * 3 * 4  # relu's comparison, max-pooling's index, what dropout let pass
    assert mixed.kept_bytes - of_one_byte == (full.kept_bytes - of_one_byte) / 2


def test_traced_and_converted_without_the_policy():
    params = DENSE.init(KEY, XS.shape[1:])
    assert MIXED.without_policy() == NET
    assert fnnet.trace(DENSE, LOSS, params, XS[:4], YS[:4]).first_problem() is None
    ours, theirs = (fnnet.interop.slots.slots("to_torch", net, XS.shape[1:]) for net in (MIXED, NET))
    for one, other in zip(ours.found, theirs.found, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)


def test_shown_compared_and_refused():
    assert repr(fnnet.Sequential(fnnet.relu, compute_dtype="bfloat16")) == "Sequential(relu, compute_dtype=bfloat16)"
    assert MIXED == fnnet.Sequential(*LAYERS, compute_dtype="bfloat16") != NET
    for wrong in ("int32", "bf16", "complex64"):
        with pytest.raises(TypeError, match=r"Sequential: compute_dtype"):
            fnnet.Sequential(fnnet.relu, compute_dtype=wrong)


def test_on_the_command_line(tmp_path, capsys):
    run = tmp_path / "run"
    settings = ("--net", "mlp", "--optimizer", "sgd", "--epochs", "2", "--compute-dtype", "bfloat16")
    assert main(["train", *settings, "--output", str(run)]) == 0
    loaded = runs.load(run)
    assert loaded.net.compute_dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded.params)} == {jnp.dtype("float32")}
    assert main(["evaluate", str(run)]) == 0
    assert main(["train", "--compute-dtype", "bf16"]) == 2
    assert "there is no compute dtype 'bf16'; did you mean bfloat16?" in capsys.readouterr().err
