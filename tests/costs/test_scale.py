"""The cost model of a step: XLA's counts, numbers by hand, the collectives of a compiled program, the page."""

import functools
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scale_on_paper
from benchmarks import nets
from benchmarks.contestants.hand_written import sequential
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from sampled import one_in

import fnnet
from fnnet.cli import presets
from fnnet.costs.accelerators import H100, KNOWN, V5E, known
from fnnet.costs.forecast import Assumptions, forecast
from fnnet.formulations import platforms
from fnnet.training import steps
from fnnet.training.trainable import part_of

ADAM = optax.adam(1e-3)
SHAPE, BATCH = (28, 28, 1), 16
RESIDUAL = fnnet.Sequential(
    fnnet.Conv(16, 3, stride=2),
    fnnet.relu,
    fnnet.Residual(fnnet.Conv(16, 3), fnnet.relu, fnnet.Conv(16, 3)),
    fnnet.Residual(fnnet.Conv(32, 3, stride=2), fnnet.tanh, shortcut=fnnet.Conv(32, 1, stride=2)),
    *(fnnet.AvgPool(2), fnnet.Flatten(), fnnet.Dense(10)),
)
NETS = {name: make(10, SHAPE) for name, make in presets.NETS.items() if name not in presets.TEXT_NETS} | {
    "residual": RESIDUAL,
    "cnn in bf16": fnnet.Sequential(*presets.cnn(10, SHAPE).layers, compute_dtype=jnp.bfloat16),
}

BENCHMARKED = [name for name, net in nets.NETS.items() if net.vocabulary is None and not net.of_batch]  # docs/scale.md

LOOSER = [  # docs/scale.md says why
    ("lenet", 0.9, 1),  # a dropout's random bits
    ("residual", 1, 1.1),  # its sums' loops go on with others
]


pytestmark = pytest.mark.usefixtures("standard_promotion")


def traced(net, batch=BATCH, shape=SHAPE):
    """One step of fit on a mini-batch."""
    whole = net
    net, optimizer = part_of(net, ADAM, None, None, jax.random.key(0), shape)  # not the statistics
    state = jax.eval_shape(lambda key: steps.start(whole, optimizer, key, shape), jax.random.key(0))
    step = jax.jit(functools.partial(steps.train_step, net, fnnet.softmax_cross_entropy, optimizer))
    return step.trace(
        state, jax.ShapeDtypeStruct((batch, *shape), jnp.float32), jax.ShapeDtypeStruct((batch,), jnp.int32)
    )


@pytest.mark.parametrize("name", one_in(2, NETS))
def test_flops_are_xlas(name):
    xla = traced(NETS[name]).lower(lowering_platforms=("tpu",)).cost_analysis()["flops"]
    assert abs(NETS[name].summary(SHAPE, batch=BATCH).flops / xla - 1) < 0.05


@pytest.mark.parametrize("name", one_in(3, BENCHMARKED))
def test_flops_of_the_benchmarks_nets_are_xlas(name):
    net, shape = sequential(nets.NETS[name]), nets.NETS[name].shape
    xla = traced(net, shape=shape).lower(lowering_platforms=("tpu",)).cost_analysis()["flops"]
    assert abs(net.summary(shape, batch=BATCH).flops / xla - 1) < 0.01


def bytes_over_xlas(net, shape, monkeypatch):
    """The model's bytes over those of the program compiled for a CPU, with what accelerators are given."""
    monkeypatch.setattr(platforms, "_chosen", lambda fast, plain, *arrays: plain(*arrays))
    xla = traced(net, 64, shape).lower().compile().cost_analysis()
    return net.summary(shape, batch=64).bytes / xla["bytes accessed"]


@pytest.mark.cpu
@pytest.mark.parametrize("name", one_in(3, BENCHMARKED))
def test_bytes_are_xlas(name, monkeypatch):
    net = nets.NETS[name]
    assert abs(bytes_over_xlas(sequential(net), net.shape, monkeypatch) - 1) < 0.01


@pytest.mark.cpu
@pytest.mark.parametrize(("name", "least", "most"), LOOSER)
def test_bytes_of_other_nets(name, least, most, monkeypatch):
    assert least < bytes_over_xlas(NETS[name], SHAPE, monkeypatch) < most


@pytest.mark.cpu
def test_bytes_sent_are_those_of_the_compiled_programs_all_reduces():
    net = RESIDUAL
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    whole, shared = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))

    def gradient(params, x, y):
        return jax.grad(lambda params: steps.batch_loss(net, fnnet.softmax_cross_entropy, params, x, y)[0])(params)

    params = jax.eval_shape(lambda key: net.init(key, SHAPE), jax.random.key(0))
    program = jax.jit(gradient, in_shardings=(whole, shared, shared), out_shardings=whole)
    args = params, jax.ShapeDtypeStruct((BATCH, *SHAPE), jnp.float32), jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    text = program.lower(*args).compile().as_text()
    reduced = re.findall(r"= (.*?) all-reduce(?:-start)?\(", text)
    entries = [math.prod(map(int, dims.split(","))) if dims else 1 for one in reduced for dims in shapes_in(one)]
    ring = 2 * 7 / 8 * 4 * sum(entries)
    assert ring == pytest.approx(net.summary(SHAPE, batch=BATCH, devices=8).sent["data"], rel=1e-3)


def shapes_in(text):
    return re.findall(r"f32\[([\d,]*)\]", text)


def test_numbers_by_hand():
    net = fnnet.Sequential(fnnet.Dense(6), fnnet.relu, fnnet.Dense(2, bias=False))
    cost = net.summary((4,), batch=24, devices={"data": 2, "parameters": 3})
    first, relu, last, adam = cost.rows
    assert (first.name, relu.name, last.name, adam.name) == ("dense_0", "relu_1", "dense_2", "adam")
    assert first.flops == 4 * (2 * 2 * 4 * 6 + 2 * 6)  # 4 examples; no cotangent of x
    assert last.flops == 4 * 3 * 2 * 6 * 2
    assert first.bytes == 4 * 4 * ((4 + 6) + (4 + 2 * 6)) + 4 * 2 * 30
    assert last.bytes == 4 * 4 * 3 * (6 + 2) + 4 * 3 * 12
    assert first.sent == {"data": 2 * 4 * 30 // (2 * 3), "parameters": (4 + 4) * 30 * 2 // 3}
    assert last.sent == {"data": 2 * 4 * 12 // (2 * 3), "parameters": (4 + 4) * 12 * 2 // 3}
    assert relu.sent == adam.sent == {"data": 0, "parameters": 0}
    assert (first.collectives, relu.collectives) == (2, 0)
    assert (adam.flops, adam.bytes) == (16 * 14, 44 * 14)  # of 42 parameters a third
    assert cost.held_bytes == 16 * 14 + 8 * 42 + 4 * net.summary((4,)).kept_bytes
    assert (cost.batch, cost.devices, cost.dtype) == (24, {"data": 2, "parameters": 3}, "float32")


def test_sharing_the_parameters_sends_as_much_as_having_them_all():
    shared, whole = (NETS["mlp"].summary(SHAPE, batch=8, devices=mesh) for mesh in ({"parameters": 8}, 8))
    assert shared.sent["parameters"] == whole.sent["data"]
    assert shared.sent["data"] == whole.sent["parameters"] == 0
    assert shared.rows[-1].bytes < whole.rows[-1].bytes / 7


def test_the_table():
    first, *_, last = str(fnnet.Sequential(fnnet.Dense(6)).summary((4,), batch=8, devices=4)).splitlines()
    assert first.split() == "layer FLOPs bytes sent, data sent, parameters".split()
    assert last == "a training step on one device of 4 (data 4, parameters 1); batch 8; 512 bytes held"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch": 10, "devices": 4},
            r"summary: batch \(=10\) must be a positive multiple of the number of devices",
        ),
        ({"batch": 0}, "summary: batch"),
        ({"batch": 8, "devices": 0}, r"summary: devices along data \(=0\) must be an integer of 1 or more"),
        ({"batch": 8, "devices": {"model": 2}}, "summary: devices has an axis 'model'; there are data, parameters"),
        ({"devices": 4}, r"summary: devices \(=4\) needs batch"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        NETS["mlp"].summary(SHAPE, **options)


def test_a_forecast_by_hand():
    cost = fnnet.Sequential(fnnet.Dense(10**4), compute_dtype=jnp.bfloat16).summary((10**4,), batch=64, devices=64)
    assumed = Assumptions(peak=0.5, bandwidth=0.5, latency=1e-6)
    found = forecast(cost, H100, assumed)
    by_row = [max(row.flops / (H100.bf16 / 2), row.bytes / (H100.memory / 2)) for row in cost.rows]
    assert found.computing == pytest.approx(sum(by_row))
    gradients = 4 * (10**8 + 10**4)
    near, far = 2 * gradients * 7 / 8 / (H100.link / 2), 2 * gradients / 8 * 7 / 8 / (H100.network / 2)
    assert found.communicating == pytest.approx(near + far + 2 * 6 * 1e-6, rel=1e-6)
    assert (found.in_turn, found.batch) == (found.computing + found.communicating, 64)
    assert found.overlapped == max(found.computing, found.communicating)
    assert found.fits
    assert not forecast(cost, V5E._replace(memory_bytes=1e9), assumed).fits
    with pytest.raises(ValueError, match="the peak of TPU v5e in float32 is not known"):
        forecast(NETS["mlp"].summary(SHAPE, batch=8), V5E)


def test_one_device_sends_nothing():
    found = forecast(NETS["cnn in bf16"].summary(SHAPE, batch=8), H100)
    assert found.communicating == 0
    assert found.in_turn == found.overlapped


def test_each_device_says_where_its_numbers_are_from():
    assert known("cpu") is None
    assert all(device.source and device.bf16 > 1e13 and np.isfinite(device[1:2]).all() for device in KNOWN.values())


PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_the_page_has_the_commands_table_of_layers():
    assert scale_on_paper.layers() in PAGE.read_text()
    assert scale_on_paper.assumptions() in PAGE.read_text()


@pytest.mark.slow
def test_the_page_has_all_that_the_command_prints():
    assert scale_on_paper.page() in PAGE.read_text()
