"""`fit` and `evaluate` on an iterable in two processes, each of which gives its own part."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import fnnet
from fnnet.training import processes, sharded_batches
from fnnet.training.device_mesh import placement_on
from fnnet.training.steps import epoch_order, start

RNG = np.random.default_rng(0)
XS, YS = RNG.normal(size=(96, 5)).astype(np.float32), RNG.integers(0, 3, 96)
HELD_OUT = RNG.normal(size=(50, 5)).astype(np.float32), RNG.integers(0, 3, 50)
NET = fnnet.Sequential(fnnet.Dense(8), fnnet.relu, fnnet.Dense(3))

WORKER = """
import json, pathlib, sys
import jax, numpy as np, optax
import fnnet
from fnnet import processes

processes.connect()
here, directory = jax.process_index(), pathlib.Path(sys.argv[1])
data = np.load(directory / "data.npz")
net = fnnet.Sequential(fnnet.Dense(8), fnnet.relu, fnnet.Dense(3))


class Parts:
    def __init__(self, xs, ys, bounds):
        self.parts = [(xs[a:b], ys[a:b]) for a, b in bounds]

    def __iter__(self):
        return iter(self.parts)


def train(parts, **options):
    return fnnet.fit(
        net, fnnet.softmax_cross_entropy, optax.adam(1e-2), parts, key=jax.random.key(0), epochs=2, progress=False,
        mesh=jax.make_mesh((jax.device_count(),), ("data",)), **options,
    )


def refusal(*bounds):
    try:
        train(Parts(data["xs"], data["ys"], bounds))
    except ValueError as error:
        return str(error)


said = {"size": refusal((0, 12 - 2 * here)), "none": refusal(*[(0, 12)] * (1 - here))}
own = Parts(data["xs"], data["ys"], [(i + 12 * here, i + 12 * here + 12) for i in range(0, 96 - 24 * here, 24)])
held_out = Parts(data["held_xs"], data["held_ys"], [(0, 13), (13, 25), (25, 30)] if here == 0 else [(30, 50)])
params, history = train(own, validation=held_out)
params = processes.on_host(params)
(directory / f"{here}.json").write_text(json.dumps(said | {"history": history}))
np.savez(directory / f"{here}.npz", *jax.tree.leaves(params))
"""


pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.mark.slow
def test_each_process_gives_its_part(tmp_path, users_environment):
    """The training of one device on the parts together; an epoch ends where the shorter one does."""
    np.savez(tmp_path / "data.npz", xs=XS, ys=YS, held_xs=HELD_OUT[0], held_ys=HELD_OUT[1])
    root = str(Path(fnnet.__file__).parent.parent)
    own = [sys.executable, "-c", WORKER, str(tmp_path)]
    children = processes.started(2, own, cwd=root, env={"XLA_FLAGS": ""}, stderr=subprocess.PIPE, text=True)
    for child in children:
        _, errors = child.communicate(timeout=300)
        assert child.returncode == 0, errors
    whole = [(XS[i : i + 24], YS[i : i + 24]) for i in range(0, 72, 24)]
    settings = {"key": jax.random.key(0), "epochs": 2, "progress": False, "validation": HELD_OUT}
    params, history = fnnet.fit(NET, fnnet.softmax_cross_entropy, optax.adam(1e-2), whole, **settings)
    for here in range(2):
        said = json.loads((tmp_path / f"{here}.json").read_text())
        assert said["size"].startswith("fit: the first batch of each process must have the shapes and dtypes")
        assert said["none"].startswith("fit: data is empty")
        for ours, wanted in zip(said["history"], history, strict=True):
            assert ours | {"seconds": 0} == pytest.approx(wanted | {"seconds": 0}, rel=1e-5)
        found = np.load(tmp_path / f"{here}.npz")
        for name, b in zip(found, jax.tree.leaves(params), strict=True):
            a, b = np.asarray(found[name], np.float64), np.asarray(b, np.float64)
            assert (np.abs(a - b) <= 1e-4 * (np.abs(b) + np.sqrt(np.mean(b * b)))).all()


def test_pieces_of_any_sizes_on_eight_devices():
    params = NET.init(jax.random.key(0), (5,))
    mesh = jax.make_mesh((8,), ("data",))
    pieces = [(HELD_OUT[0][a:b], HELD_OUT[1][a:b]) for a, b in ((0, 3), (3, 20), (20, 50))]
    loss = fnnet.softmax_cross_entropy
    wanted = fnnet.evaluate(NET, params, loss, HELD_OUT)
    assert fnnet.evaluate(NET, params, loss, pieces, mesh=mesh, batch_size=16) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ValueError, match="evaluate: data is empty"):
        fnnet.evaluate(NET, params, loss, [], mesh=mesh)


def test_an_epoch_ends_in_all_processes_where_it_ends_in_one(monkeypatch):
    """As another process would say it: that there is no third mini-batch."""
    placement = placement_on("fit", jax.make_mesh((8,), ("data",)), False)
    source = sharded_batches.ShardedBatches([(XS[:24], YS[:24])] * 4, placement)
    answers = iter([1, 1, 0])
    monkeypatch.setattr(sharded_batches, "smallest", lambda value: min(value, next(answers)))
    pace = sharded_batches.SharedPace()
    pace.begin(0)
    state = start(NET, optax.adam(1e-2), jax.random.key(0), (5,), placement=placement)
    assert len(list(source.epoch(epoch_order, state, pace))) == 2


def test_parts_that_differ_are_refused(monkeypatch):
    placement = placement_on("fit", jax.make_mesh((8,), ("data",)), False)
    answers = iter([1, 0])
    monkeypatch.setattr(sharded_batches, "smallest", lambda value: min(value, next(answers)))
    with pytest.raises(ValueError, match=r"fit: the first batch of each process must have .* float32\(24, 5\) and int"):
        sharded_batches.ShardedBatches([(XS[:24], YS[:24])], placement)
