"""Checkpoints of a training: from any pause on it goes on with the bits of one that was never stopped."""

import math
import os
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet
from fnnet.training import batches, checkpoint, lock, resumption
from fnnet.training.state import nothing_yet
from fnnet.training.steps import start

pytestmark = pytest.mark.usefixtures("standard_promotion")


NET = fnnet.Sequential(fnnet.Dense(6), fnnet.relu, fnnet.Dropout(0.3), fnnet.Dense(3))
OTHER = fnnet.Sequential(fnnet.Dense(5), fnnet.relu, fnnet.Dense(3))
LOSS = fnnet.softmax_cross_entropy
ADAM = optax.adam(optax.cosine_decay_schedule(1e-2, 24))
STEPS, EPOCHS = 6, 4  # of an epoch, of a training
XS = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
YS = (np.arange(50) % 3).astype(np.int32)


class Killed(Exception):
    """Stands for whatever ends a process."""


class Mortal(resumption.Checkpoints):
    """Checkpoints at every pause, which end the training after so many of them."""

    def __init__(self, directory, pauses, **options):
        super().__init__(directory, seconds=0, **options)
        self.pauses = pauses

    def __call__(self, moment):
        super().__call__(moment)
        self.pauses -= 1
        if not self.pauses:
            raise Killed


@pytest.fixture(autouse=True)
def one_step_a_call(monkeypatch):
    monkeypatch.setattr(batches, "SECONDS_A_CALL", 1e-9)


def train(net=NET, optimizer=ADAM, **options):
    settings = {"key": jax.random.key(0), "epochs": EPOCHS, "batch_size": 8, "validation": (XS[:10], YS[:10])}
    settings |= options
    return fnnet.fit(net, LOSS, optimizer, settings.pop("data", (XS, YS)), **settings)


def same_bits(found, wanted):
    """Parameters, and histories but for the time that they took."""
    chex.assert_trees_all_equal(found[0], wanted[0])
    for one, other in zip(found[1], wanted[1], strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}


WHOLE: dict = {}


def never_stopped(**options):
    name = repr(sorted(options))
    if name not in WHOLE:
        WHOLE[name] = train(**options)
    return WHOLE[name]


# An epoch has six pauses after a step (the last step's is one, too) and one at its end.
@pytest.mark.parametrize("pauses", [1, 6, 7, 8, 14, 17, 27])
def test_goes_on_as_if_never_stopped(tmp_path, pauses):
    with pytest.raises(Killed):
        train(checkpoints=Mortal(tmp_path, pauses))
    same_bits(train(checkpoints=fnnet.Checkpoints(tmp_path)), never_stopped())


def test_goes_on_after_many_stops(tmp_path):
    for _ in range(5):
        with pytest.raises(Killed):
            train(checkpoints=Mortal(tmp_path, 5))
    same_bits(train(checkpoints=fnnet.Checkpoints(tmp_path)), never_stopped())


def test_batches_from_an_iterable_go_on_at_the_right_one(tmp_path):
    data = [(XS[i : i + 8], YS[i : i + 8]) for i in range(0, 50, 8)]
    with pytest.raises(Killed):
        train(data=data, checkpoints=Mortal(tmp_path, 10))
    same_bits(train(data=data, checkpoints=fnnet.Checkpoints(tmp_path)), never_stopped(data=data))


@pytest.mark.parametrize(("pauses", "has"), [(10, "1 epochs and 3 steps"), (14, "2 epochs")])
def test_refuses_to_end_before_its_checkpoint(tmp_path, pauses, has):
    with pytest.raises(Killed):
        train(checkpoints=Mortal(tmp_path, pauses))
    words = rf"fit: the newest checkpoint has {has} already; epochs \(=1\) must be 2 or more"
    with pytest.raises(ValueError, match=words):
        train(epochs=1, checkpoints=fnnet.Checkpoints(tmp_path))


@pytest.mark.parametrize("pauses", [9, 16])
def test_patience_goes_on_with_its_best_epoch(tmp_path, pauses):
    quick = optax.sgd(1.5)  # soon worse on the held-out examples; without a state of its own
    settings = {"patience": 2, "epochs": 30, "optimizer": quick}
    whole = train(**settings)
    assert 3 <= len(whole[1]) < 30
    with pytest.raises(Killed):
        train(**settings, checkpoints=Mortal(tmp_path, pauses))
    same_bits(train(**settings, checkpoints=fnnet.Checkpoints(tmp_path)), whole)
    same_bits(train(**settings, checkpoints=fnnet.Checkpoints(tmp_path)), whole)  # it had ended: nothing more


@pytest.mark.parametrize("implementation", ["rbg", "threefry2x32"])
def test_a_key_comes_back_with_its_implementation(tmp_path, implementation):
    key = jax.random.key(3, impl=implementation)
    saved = checkpoint.save(tmp_path / "a", {"keys": jax.random.split(key)}, config={})
    found = checkpoint.load(saved)[0]["keys"]
    assert found.dtype == key.dtype
    assert np.array_equal(jax.random.key_data(found), jax.random.key_data(jax.random.split(key)))
    like = {"keys": jax.random.split(jax.random.key(0, impl="unsafe_rbg"))}
    with pytest.raises(ValueError, match=r"keys is key<\w+>\[2\], but key<urbg>\[2\] is wanted"):
        checkpoint.restore(checkpoint.load(saved)[0], like, name="")


def test_a_training_with_a_key_of_another_implementation(tmp_path):
    key = jax.random.key(3, impl="rbg")
    with pytest.raises(Killed):
        train(key=key, checkpoints=Mortal(tmp_path, 9))
    same_bits(train(key=key, checkpoints=fnnet.Checkpoints(tmp_path)), train(key=key))


def test_the_last_ones_are_kept(tmp_path):
    train(checkpoints=Mortal(tmp_path, 99, keep=2))
    assert [path.name for path in resumption.found_in(tmp_path)] == ["epoch-4-step-24", "epoch-3-step-24"]
    assert len(list(tmp_path.iterdir())) == 2


def test_one_is_written_when_it_is_due_and_at_the_end(tmp_path):
    train(checkpoints=fnnet.Checkpoints(tmp_path, seconds=3600))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-4-step-24"]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "removed"])
def test_a_damaged_one_is_named_and_the_one_before_taken(tmp_path, damage):
    with pytest.raises(Killed):
        train(checkpoints=Mortal(tmp_path, 10))
    weights = resumption.found_in(tmp_path)[0] / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    if damage == "removed":
        weights.unlink()
    else:
        weights.write_bytes(content if damage == "flipped" else content[:-1])
    said = []
    same_bits(train(checkpoints=fnnet.Checkpoints(tmp_path, report=said.append)), never_stopped())
    assert len(said) == 1
    assert str(weights) in said[0]
    (aside,) = (path for path in tmp_path.iterdir() if path.name.startswith("damaged-"))
    assert aside.name in said[0]


def test_damage_is_a_warning_if_nothing_else_is_asked_for(tmp_path):
    (tmp_path / "epoch-1-step-6").mkdir()
    with pytest.warns(UserWarning, match=r"cannot be read.* left out"):
        train(epochs=1, checkpoints=fnnet.Checkpoints(tmp_path))


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (
            {"net": OTHER},
            ["params/dense_0/kernel is float32[4, 6], but float32[4, 5] is wanted", "params/dense_2/bias is missing"],
        ),
        ({"optimizer": optax.sgd(0.1)}, ["optimizer/0/mu/dense_0/bias is unexpected"]),
        ({"key": jax.random.key(1)}, ["was trained with another key"]),
        ({"key": jax.random.key(0, impl="rbg")}, ["key is key<fry>[], but key<rbg>[] is wanted"]),
    ],
)
def test_another_training_gets_a_list_of_differences(tmp_path, options, messages):
    with pytest.raises(Killed):
        train(checkpoints=Mortal(tmp_path, 3))
    with pytest.raises(ValueError, match=r"^(restore|resume): ") as caught:
        train(checkpoints=fnnet.Checkpoints(tmp_path), **options)
    for message in messages:
        assert message in str(caught.value)
    assert resumption.found_in(tmp_path)[0].name == "epoch-0-step-3"


def test_another_configuration_is_refused(tmp_path):
    config = {"rate": 0.1, "shape": (8, 8), "same": None}
    with pytest.raises(Killed):
        train(checkpoints=Mortal(tmp_path, 3, config=config))
    with pytest.raises(ValueError, match=r"was trained with another rate, which$"):
        train(checkpoints=fnnet.Checkpoints(tmp_path, config=config | {"rate": 0.2, "which": 1}))
    same_bits(train(checkpoints=fnnet.Checkpoints(tmp_path, config=config)), never_stopped())


def test_one_training_at_a_time(tmp_path):
    with (
        fnnet.Checkpoints(tmp_path) as first,
        first,  # the same may enter twice
        pytest.raises(ValueError, match="is in use by another training"),
    ):
        train(checkpoints=fnnet.Checkpoints(tmp_path))
    with lock.held(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    for name in (f".epoch-1-step-6.{'0' * 32}", "notes", ".epoch-of-mine"):
        (tmp_path / name).mkdir()
    with fnnet.Checkpoints(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {"notes", ".epoch-of-mine"}


def test_a_full_disk_does_not_end_the_training(tmp_path, monkeypatch):
    written, calls = os.fsync, []

    def sometimes_full(descriptor):
        calls.append(descriptor)
        if 10 < len(calls) < 30:
            raise OSError(28, "No space left on device")
        written(descriptor)

    monkeypatch.setattr(checkpoint.os, "fsync", sometimes_full)
    said = []
    same_bits(train(checkpoints=Mortal(tmp_path, 99, report=said.append)), never_stopped())
    assert len(said) == 19  # each failed at its first call
    assert all("No space left on device; the training goes on" in line for line in said)
    monkeypatch.setattr(checkpoint.os, "fsync", lambda descriptor: calls[-1:].index(None))
    with pytest.raises(ValueError, match="not in list"):  # and what is no fault of the disk is not hidden
        train(epochs=1, checkpoints=fnnet.Checkpoints(tmp_path / "new"))


def test_the_last_checkpoint_must_be_written(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        train(epochs=1, checkpoints=fnnet.Checkpoints(tmp_path))


def test_a_history_with_infinities_comes_back(tmp_path):
    state = start(NET, ADAM, jax.random.key(0), (4,))
    history = [{"epoch": 1, "loss": 0.1 + 0.2, "validation_loss": math.inf, "note": "x", "other": np.float32(0.1)}]
    moment = resumption.Moment(state, nothing_yet(), history, (math.nan, state.params), 3, 1.5)
    saves = fnnet.Checkpoints(tmp_path)
    saves.save(moment)
    found = saves.resume(state)
    assert found.history == history
    assert math.isnan(found.best[0])
    assert (found.since_best, found.seconds, found.ended) == (3, 1.5, False)
    chex.assert_trees_all_equal(found.best[1], state.params)


def test_an_older_checkpoint_of_parameters_alone_is_named(tmp_path):
    checkpoint.save(tmp_path / "epoch-1-step-6", {"params": jnp.ones(2)}, config={})
    faults = []
    assert resumption.newest(tmp_path, lambda path, error: faults.append(str(error))) is None
    assert "is no checkpoint of a training run" in faults[0]


def test_a_checkpoint_is_found_wherever_it_is_moved(tmp_path):
    with pytest.raises(Killed):
        train(checkpoints=Mortal(tmp_path / "here", 10))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    same_bits(train(checkpoints=fnnet.Checkpoints(tmp_path / "there")), never_stopped())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, r"keep \(=0\) must be 1 or more"),
        ({"seconds": -1}, r"seconds \(=-1\)"),
        ({"config": {"training": 1}}, "must not have a key 'training'"),
        ({"config": {"a": math.nan}}, "must be JSON"),
    ],
)
def test_refuses(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        fnnet.Checkpoints(tmp_path, **options)
