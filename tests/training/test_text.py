"""Training and evaluation on windows of a text are those on an array of all windows."""

import chex
import jax
import numpy as np
import optax
import pytest
from sampled import one_in

import fnnet
from fnnet.training import batches

TOKENS = np.random.default_rng(0).integers(0, 16, 700).astype(np.uint8)
TOKENS[1::2] = TOKENS[::2]  # every second token can be learned
PAIR = fnnet.data.windows(TOKENS, 8)
ARRAYS = tuple(map(np.asarray, PAIR))
NET = fnnet.Sequential(fnnet.Embedding(16, 8), fnnet.LSTM(8), fnnet.Dense(16))


def loss(logits, labels):
    return fnnet.softmax_cross_entropy(logits, labels).mean(-1)


pytestmark = pytest.mark.usefixtures("standard_promotion")


def train(data, **options):
    settings = {"key": jax.random.key(0), "epochs": 2, "batch_size": 16, "validation": data, "progress": False}
    return fnnet.fit(NET, loss, optax.adam(1e-2), data, **(settings | options))


def without_seconds(history):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


@pytest.mark.parametrize("options", one_in(3, [{"mesh": (2,), "accumulate": 2}, {}, {"accumulate": 2}]))
def test_as_from_an_array_of_all(options):
    if "mesh" in options:
        options = options | {"mesh": jax.make_mesh(options["mesh"], ("data",))}
    (ours, history), (expected, of_arrays) = train(PAIR, **options), train(ARRAYS, **options)
    chex.assert_trees_all_equal(ours, expected)
    assert without_seconds(history) == without_seconds(of_arrays)


def test_it_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "SECONDS_A_CALL", 1e-9)
    expected, _ = train(PAIR)

    class Stop(Exception):
        pass

    class Stopping(fnnet.Checkpoints):
        def save(self, moment):
            super().save(moment)
            if int(moment.tally.steps) == 3:
                raise Stop

    with pytest.raises(Stop):
        train(PAIR, checkpoints=Stopping(tmp_path, seconds=0))
    ours, _ = train(PAIR, checkpoints=fnnet.Checkpoints(tmp_path))
    chex.assert_trees_all_equal(ours, expected)


def test_the_accuracy_is_of_tokens():
    params, _ = train(PAIR, epochs=1)
    scores = fnnet.evaluate(NET, params, loss, PAIR, batch_size=10)
    outputs = jax.vmap(NET.apply, (None, 0))(params, ARRAYS[0])
    assert scores["accuracy"] == pytest.approx(np.mean(outputs.argmax(-1) == ARRAYS[1]))
    assert scores["loss"] == pytest.approx(float(loss(outputs, ARRAYS[1]).mean()), rel=1e-5)


def test_the_compiled_epoch_holds_no_window_but_a_mini_batchs():
    tokens = np.zeros(2**20 + 1, np.uint8)
    xs, ys = fnnet.data.windows(tokens, 64)

    def total(xs, ys, rows):
        return jax.lax.map(lambda at: (xs[at] * ys[at]).sum(), rows).sum()

    rows = np.arange(2**14, dtype=np.int32).reshape(-1, 16)
    memory = jax.jit(total).lower(xs, ys, rows).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2**18 < 4 * 2**20  # of all windows in int32
