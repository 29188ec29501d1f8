"""What the first epoch of `fit` compiles, and what a directory of compiled programs saves the next process."""

import json
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

import fnnet

pytestmark = pytest.mark.usefixtures("standard_promotion")

FIT = """
import collections, hashlib, json, sys
import jax, numpy as np
import fnnet

programs, events = [], collections.Counter()


def note(event, seconds, fun_name="", **_):
    if event == "/jax/core/compile/backend_compile_duration":
        programs.append(fun_name.removeprefix("jit(").removesuffix(")"))


jax.monitoring.register_event_duration_secs_listener(note)
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.rpartition("/")[2]]))
rng = np.random.default_rng(0)
data = rng.uniform(size=(32, 6, 6, 1)).astype(np.float32), rng.integers(0, 3, 32)
net = fnnet.Sequential(fnnet.Conv(4, 3), fnnet.relu, fnnet.MaxPool(2), fnnet.Flatten(), fnnet.Dense(3))
after = []
params, history = fnnet.fit(
    net,
    fnnet.softmax_cross_entropy,
    "adam",
    data,
    key=0,
    epochs=3,
    batch_size=8,
    validation=(data[0][:20], data[1][:20]),
    callback=lambda record, state: after.append(len(programs)),
    compilation_cache=sys.argv[1] if sys.argv[1:] else None,
)
bits = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params))).hexdigest()
losses = [record["validation_loss"] for record in history]
found = {"programs": programs, "after": after, "events": events, "result": [bits, losses]}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def ran(users_environment, tmp_path_factory):
    """What three processes found, the first without a directory and the others with one; and what is in it."""
    own, given = (tmp_path_factory.mktemp(name) for name in ("own", "given"))
    environment = {**users_environment, "JAX_COMPILATION_CACHE_DIR": str(own)}

    def found(*place):
        command = [sys.executable, "-c", FIT, *map(str, place)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout) | {"files": sorted(path.name for path in given.iterdir()), "said": done.stderr}

    return found(), found(given), found(given)


def test_the_first_epoch_compiles_few_programs_and_the_next_none(ran):
    programs, after = ran[0]["programs"], ran[0]["after"]
    own = ["_begun", "_drawn", "_split", "_strange", "epoch_order", "nothing_yet", "run", "score"]
    assert sorted(name for name in programs if name in own) == own
    assert len(programs) <= 16, programs  # the others: the seed, and each array that goes to the device
    assert after == [len(programs)] * 3


def test_a_directory_of_compiled_programs_serves_the_next_process(ran):
    without, first, second = ran
    number = len(first["programs"])
    assert (first["events"]["cache_misses"], second["events"]["cache_hits"]) == (number, number)
    assert "cache_misses" not in second["events"]  # not even one compiled anew
    assert without["files"] == []
    assert len(first["files"]) == number
    assert second["files"] == first["files"]
    assert second["said"] == ""
    assert without["result"] == first["result"] == second["result"]


SETTINGS = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
NET = fnnet.Sequential(fnnet.Dense(3))
DATA = np.zeros((8, 4), np.float32), np.zeros(8, np.int32)


def test_jax_has_its_own_settings_again(tmp_path):
    before = [getattr(jax.config, name) for name in SETTINGS]
    within = []

    def callback(record, state):
        within.append([getattr(jax.config, name) for name in SETTINGS])
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fnnet.fit(
            *(NET, fnnet.softmax_cross_entropy, optax.sgd(0.1), DATA),
            **{"key": 0, "batch_size": 8, "callback": callback, "compilation_cache": tmp_path / "new"},
        )
    assert within == [[str(tmp_path / "new"), 0]]
    assert [getattr(jax.config, name) for name in SETTINGS] == before
    files = set((tmp_path / "new").iterdir())
    assert files
    jax.jit(lambda x: x * 3.25 - 7)(1.0)  # JAX writes it where it wrote before
    assert set((tmp_path / "new").iterdir()) == files


def test_refuses_what_is_no_directory(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for given, kind, message in (
        (True, TypeError, 'fit: compilation_cache must be a directory, such as "~/.cache/fnnet", not True'),
        (file, ValueError, f"fit: compilation_cache (='{file}') must be a directory: File exists"),
    ):
        with pytest.raises(kind) as raised:
            fnnet.fit(NET, fnnet.softmax_cross_entropy, "sgd", DATA, key=0, batch_size=8, compilation_cache=given)
        assert str(raised.value) == message
