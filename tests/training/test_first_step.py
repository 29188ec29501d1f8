"""What the first epoch of `fit` compiles: a process of its own counts the programs, and those of later epochs."""

import json
import subprocess
import sys

FIT = """
import json, sys
import jax, numpy as np
import fnnet

programs = []


def note(event, seconds, fun_name="", **_):
    if event == "/jax/core/compile/backend_compile_duration":
        programs.append(fun_name)


jax.monitoring.register_event_duration_secs_listener(note)
rng = np.random.default_rng(0)
data = rng.uniform(size=(32, 6, 6, 1)).astype(np.float32), rng.integers(0, 3, 32)
net = fnnet.Sequential(fnnet.Conv(4, 3), fnnet.relu, fnnet.MaxPool(2), fnnet.Flatten(), fnnet.Dense(3))
later = []
fnnet.fit(
    net,
    fnnet.softmax_cross_entropy,
    "adam",
    data,
    key=0,
    epochs=3,
    batch_size=8,
    validation=(data[0][:20], data[1][:20]),
    callback=lambda record, state: later.append(len(programs)),
)
print(json.dumps({"programs": programs, "after": later}))
"""


def test_the_first_epoch_compiles_few_programs_and_the_next_none(users_environment):
    ran = subprocess.run([sys.executable, "-c", FIT], env=users_environment, capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout)
    programs = [name.removeprefix("jit(").removesuffix(")") for name in found["programs"]]
    own = ["_begun", "_drawn", "_split", "_strange", "epoch_order", "nothing_yet", "run", "score"]
    assert sorted(name for name in programs if name in own) == own
    assert len(programs) <= 16, programs  # the others: the seed, and each array that goes to the device
    assert found["after"] == [len(programs)] * 3
