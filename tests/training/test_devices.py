"""`fit` on eight simulated devices: the training of one, with the batch and the parameters shared."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from devices.collectives import collectives_in
from jax.sharding import PartitionSpec as P
from sampled import one_in

import fnnet
from fnnet.training import batches, sharded_batches
from fnnet.training.device_mesh import placement_on
from fnnet.training.programs import programs_for
from fnnet.training.resumption import Moment
from fnnet.training.state import nothing_yet
from fnnet.training.steps import start

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(autouse=True)
def short_calls(monkeypatch):
    """An epoch is more than one call, and more than one block of data."""
    monkeypatch.setattr(batches, "SECONDS_A_CALL", 1e-9)
    monkeypatch.setattr(sharded_batches, "BLOCK", 2 * 24 * (8 * 8 * 4 + 8))


NET = fnnet.Sequential(
    fnnet.Conv(8, 3, stride=2),
    fnnet.relu,
    fnnet.MaxPool(2),
    fnnet.Flatten(),
    fnnet.Dropout(0.2),
    fnnet.Dense(16),
    fnnet.relu,
    fnnet.Dense(10),
)
OTHER = fnnet.Sequential(*(fnnet.Dense(12) if layer == fnnet.Dense(16) else layer for layer in NET.layers))
LOSS = functools.partial(fnnet.softmax_cross_entropy, ignore_index=3, class_weights=jnp.linspace(0.5, 1.5, 10))
ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))
RNG = np.random.default_rng(0)
XS, YS = RNG.normal(size=(130, 8, 8, 1)).astype(np.float32), RNG.integers(0, 10, 130)
HELD_OUT = (XS[:50], YS[:50])  # not a multiple of eight


def train(**options):
    settings = {"key": jax.random.key(0), "epochs": 2, "batch_size": 24, "validation": HELD_OUT, "data": (XS, YS)}
    settings |= options
    return fnnet.fit(NET, LOSS, ADAM, settings.pop("data"), **settings)


@functools.cache
def on_one_device():
    return train()


def mesh_of(*sizes):
    return jax.make_mesh(sizes, tuple("ab"[: len(sizes)]))


def assert_same(ours, expected):
    """The same training up to rounding: |a - b| <= 1e-4 (|b| + rms of b) in the parameters, and the history's."""
    for a, b in zip(jax.tree.leaves(ours[0]), jax.tree.leaves(expected[0]), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert (np.abs(a - b) <= 1e-4 * (np.abs(b) + np.sqrt(np.mean(b * b)))).all()
    for record, wanted in zip(ours[1], expected[1], strict=True):
        assert record | {"seconds": 0} == pytest.approx(wanted | {"seconds": 0}, rel=1e-5)


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        pytest.param((8,), {}, marks=pytest.mark.slow),
        pytest.param((8,), {"shard_parameters": True}, marks=pytest.mark.slow),
        ((2, 2), {"shard_parameters": True, "accumulate": 3}),
    ],
)
def test_the_training_of_one_device(sizes, options):
    ours = train(mesh=mesh_of(*sizes), **options)
    assert_same(ours, on_one_device())
    kernel = ours[0]["dense_5"]["kernel"]
    assert kernel.sharding.spec == (P(tuple("ab"[: len(sizes)])) if options else P())
    assert len(kernel.sharding.device_set) == np.prod(sizes)


@pytest.mark.slow
def test_batches_of_an_iterable():
    data = [(XS[i : i + 24], YS[i : i + 24]) for i in range(0, 130, 24)]
    assert_same(train(data=data, mesh=mesh_of(8)), train(data=data))


def test_parameters_to_start_from_are_kept():
    params = NET.init(jax.random.key(3), (8, 8, 1))
    ours = train(params=params, mesh=mesh_of(8), shard_parameters=True, epochs=1)
    assert_same(ours, train(params=params, epochs=1))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))


class Killed(Exception):
    """Stands for whatever ends a process."""


class Mortal(fnnet.Checkpoints):
    """Checkpoints at every pause, which end the training after seven: in the second epoch."""

    pauses = 7

    def __call__(self, moment):
        super().__call__(moment)
        self.pauses -= 1
        if not self.pauses:
            raise Killed


@pytest.mark.parametrize("devices", [8, pytest.param(2, marks=pytest.mark.slow), None])
def test_goes_on_with_other_devices(tmp_path, devices):
    with pytest.raises(Killed):
        train(mesh=mesh_of(8), shard_parameters=True, checkpoints=Mortal(tmp_path, seconds=0))
    assert [path.name for path in sorted(tmp_path.iterdir())][-1] == "epoch-1-step-6"
    options = {} if devices is None else {"mesh": mesh_of(devices), "shard_parameters": devices == 8}
    ours = train(checkpoints=fnnet.Checkpoints(tmp_path), **options)
    assert_same(ours, on_one_device())


class MortalByOrbax(fnnet.OrbaxCheckpoints):
    """One checkpoint, in the second epoch, which ends the fitting."""

    pauses = 7

    def __call__(self, moment):
        self.pauses -= 1
        if not self.pauses:
            self.save(moment)
            raise Killed


@pytest.mark.slow
def test_goes_on_through_orbax_with_fewer_devices(tmp_path):
    with pytest.raises(Killed):
        train(mesh=mesh_of(8), shard_parameters=True, checkpoints=MortalByOrbax(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["12"]
    ours = train(mesh=mesh_of(2), shard_parameters=True, checkpoints=fnnet.OrbaxCheckpoints(tmp_path))
    assert_same(ours, on_one_device())


def test_what_orbax_wrote_comes_back_where_it_belongs(tmp_path):
    few, many = (placement_on("fit", mesh_of(n), True) for n in (2, 8))
    written = start(NET, ADAM, jax.random.key(0), (8, 8, 1), placement=many)
    with fnnet.OrbaxCheckpoints(tmp_path) as saves:
        saves.save(Moment(written, many.put(nothing_yet()), [{"epoch": 1, "loss": np.inf}], seconds=2.5))
    for net, key, config, message in (
        (OTHER, 0, {}, r"dense_5/bias is float32\[16\], but float32\[12\] is wanted"),
        (NET, 1, {}, r"resume: .* was trained with another key"),
        (NET, 0, {"rate": 1}, r"resume: .* was trained with another rate"),
    ):
        state = start(net, ADAM, jax.random.key(key), (8, 8, 1), placement=few)
        saves = fnnet.OrbaxCheckpoints(tmp_path, config=config)
        with saves, pytest.raises(ValueError, match=message):
            saves.resume(state)
    with fnnet.OrbaxCheckpoints(tmp_path) as saves:
        found = saves.resume(start(NET, ADAM, jax.random.key(0), (8, 8, 1), placement=few))
    assert (found.history, found.seconds) == ([{"epoch": 1, "loss": np.inf}], 2.5)
    for a, b in zip(jax.tree.leaves(found.state[:2]), jax.tree.leaves(written[:2]), strict=True):
        assert np.array_equal(a, b)
    kernel = found.state.params["dense_5"]["kernel"]
    assert len(kernel.sharding.device_set) == 2
    assert kernel.sharding.spec == few.spec(kernel)


@pytest.mark.parametrize("accumulate", one_in(2, [3, 1]))
@pytest.mark.parametrize("shard_parameters", [False, True])
def test_what_a_step_communicates(shard_parameters, accumulate):
    """One all-reduce for the gradients; parameters are gathered and gradients scattered where they are shared."""
    placement = placement_on("fit", mesh_of(8), shard_parameters)
    state = start(NET, ADAM, jax.random.key(0), (8, 8, 1), placement=placement)
    source = placement.source((XS, YS), 24, finite=True)
    programs = programs_for(NET, LOSS, ADAM, accumulate, placement)
    pace = batches.Pace()
    pace.begin(0)
    xs, ys, first, _ = next(source.epoch(programs.order, state, pace))
    assert {shard.data.shape for shard in xs.addressable_shards} == {(2, 3, 8, 8, 1)}  # each its examples
    tally = placement.put(nothing_yet())
    program = programs.run.lower(state, tally, xs, ys, first, 2).compile()
    found = collectives_in(program.as_text())
    shapes = [leaf.shape for leaf in jax.tree.leaves(state.params)]
    split = [leaf.shape for leaf in jax.tree.leaves(state.params) if placement.spec(leaf)]
    sums = [c for c in found if c.kind == "all-reduce" and max(map(len, c.shapes))]
    assert len(sums) == 1
    assert sorted(shape for c in found if c.kind == "all-gather" for shape in c.shapes) == sorted(split)
    if not shard_parameters:
        assert sorted(shape for shape in sums[0].shapes if shape) == sorted(shapes)
    moved = programs.run(state, tally, xs, ys, first, 2)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))
    assert jax.tree.leaves(jax.tree.map(lambda leaf: leaf.sharding.spec, moved[0].params)) == [
        placement.spec(leaf) for leaf in jax.tree.leaves(moved[0].params)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 12}, r"fit: the mesh's 8 devices must divide the mini-batch, which has 12 examples"),
        ({"accumulate": 2}, r"fit: the mesh's 8 devices, in 2 chunks each, must divide .* 24 examples"),
        ({"mesh": None, "shard_parameters": True}, r"fit: shard_parameters needs a mesh"),
        ({"data": (XS[:20], YS[:20])}, r"fit: batch_size \(=24\) must be at most the number of examples, 20"),
        ({"data": (np.where(XS > 2, np.nan, XS), YS)}, r"fit: what this process reads of the data has \d+ numbers"),
        ({"data": iter([(XS[:24], YS[:24])])}, r"fit: data is an iterator"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        train(**{"mesh": mesh_of(8)} | options)


def test_refuses_what_is_no_mesh(unchecked_shapes):
    with pytest.raises(TypeError, match=r"fit: mesh \(=8\) must be a jax.sharding.Mesh"):
        train(mesh=8)
