"""Real processes on the loopback interface: the training of one device, one that is killed, and going on without it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import fnnet
from fnnet.cli import runs
from fnnet.cli.command import main
from fnnet.training import processes

HERE = str(Path(fnnet.__file__).parent.parent)
TRAIN = ["train", "--net", "mlp", "--epochs", "2"]


pytestmark = pytest.mark.usefixtures("standard_promotion")


def command(*arguments):
    return [sys.executable, "-m", "fnnet", *map(str, arguments)]


def close(ours, one):
    """|a - b| <= 1e-4 (|b| + rms of b)."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(one), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert (np.abs(a - b) <= 1e-4 * (np.abs(b) + np.sqrt(np.mean(b * b)))).all()


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory):
    directory = tmp_path_factory.mktemp("one") / "run"
    subprocess.run(command(*TRAIN, "--output", directory), check=True, cwd=HERE, env=environment())
    return runs.load(directory).params


def environment():
    return {**os.environ, "XLA_FLAGS": ""}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "more"), [(2, []), (4, ["--shard-parameters"])])
def test_the_training_of_one_device(tmp_path, on_one_device, number, more):
    """And evaluated, and gone on with, in one process."""
    run = tmp_path / "run"
    done = subprocess.run(
        command(*TRAIN, "--processes", number, *more, "--output", run),
        cwd=HERE,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert f"on {number} devices of {number} processes" in done.stdout
    assert done.stdout.count("epoch 2/2") == 1
    close(runs.load(run).params, on_one_device)
    assert json.loads((run / "config.json").read_text())["epochs"] == 2


@pytest.mark.slow
def test_one_of_two_is_killed_and_one_goes_on(tmp_path, on_one_device):
    """The other ends with an error that says so, within a few seconds; what is resumed ends where it would have."""
    run = tmp_path / "run"
    own = command(*TRAIN, "--save-every", "0", "--output", run, "--cluster")
    children = processes.started(2, own, cwd=HERE, env={"XLA_FLAGS": ""}, stderr=subprocess.PIPE, text=True)
    end = time.time() + 300
    while not any((run / "checkpoints").glob("[0-9]*")) and time.time() < end:
        time.sleep(0.01)
    children[1].kill()
    _, said = children[0].communicate(timeout=processes.HEARTBEAT + 30)  # the load of the machine besides
    children[1].communicate()
    assert children[0].returncode == 2
    assert "another of the 2 processes was lost" in said
    subprocess.run(command("train", "--resume", run), check=True, cwd=HERE, env=environment(), timeout=300)
    close(runs.load(run).params, on_one_device)


@pytest.mark.slow
def test_a_signal_stops_all_of_them(tmp_path):
    run = tmp_path / "run"
    arguments = [*TRAIN[:-1], "2000", "--save-every", "1000", "--processes", "2", "--output", run]
    parent = subprocess.Popen(command(*arguments), cwd=HERE, env=environment(), stderr=subprocess.PIPE, text=True)
    end = time.time() + 300
    history = run / "history.jsonl"
    while not (history.exists() and history.read_text()) and time.time() < end:
        time.sleep(0.05)
    parent.send_signal(signal.SIGTERM)
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 143
    assert f"fnnet train --resume {run} goes on" in said


def test_one_process_agrees_with_itself():
    assert processes.agreed(3) == processes.largest(3) == 3
    assert processes.agreed_text("a") == "a"
    assert processes.is_first()


def test_what_jax_says_of_a_lost_process(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for kind in (jax.errors.JaxRuntimeError, ValueError):
        with (
            pytest.raises(
                fnnet.ProcessLostError, match=r"fit: another of the 2 processes was lost; .*Connection reset"
            ),
            processes.lost_ones_named("fit"),
        ):
            raise kind("UNKNOWN: Gloo all-reduce failed: Connection reset by peer")
    for error in (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), ValueError("fit: no connection")):
        with pytest.raises(type(error)), processes.lost_ones_named("fit"):
            raise error


def test_nothing_to_connect_to():
    strange = ("SLURM", "OMPI", "JAX_COORD", "KUBERNETES", processes.PLACE)
    bare = {name: value for name, value in environment().items() if not name.startswith(strange)}
    done = subprocess.run(command("train", "--cluster"), cwd=HERE, env=bare, capture_output=True, text=True)
    assert done.returncode == 2
    assert "fnnet: connect: the environment says nothing of other processes" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "9"], "train: --devices 9 must be at most the number of devices here, 8 (cpu); XLA_FLAGS="),
        (["--devices", "3"], "train: the mesh's 3 devices must divide the mini-batch, which has 32 examples"),
        (["--devices", "8", "--accumulate", "8"], "the mesh's 8 devices, in 8 chunks each, must divide"),
        (["--shard-parameters"], "train: --shard-parameters needs --devices or --processes"),
        (["--cluster", "--devices", "8"], "all devices of all processes share the work; leave out --devices"),
    ],
)
def test_refuses(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(processes, "leave", lambda status: None)
    assert main(["train", "--batch-size", "32", "--output", str(tmp_path / "run"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_train_on_eight_devices_and_go_on_with_two(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "--net", "mlp", "--epochs", "1", "--devices", "8", "--output", str(run)]) == 0
    assert "on 8 devices of 1 processes" in capsys.readouterr().out
    one = runs.load(run).params
    assert main(["train", "--resume", str(run), "--devices", "2", "--shard-parameters"]) == 0  # it had ended
    close(runs.load(run).params, one)


@pytest.mark.slow
@pytest.mark.parametrize("hanging", [1, 0])
def test_one_of_two_hangs(tmp_path, hanging):
    """The other, be it the first or not, is ended by JAX when it misses the heartbeats."""
    run = tmp_path / "run"
    own = command(*TRAIN[:-1], "2000", "--save-every", "1000", "--output", run, "--cluster")
    children = processes.started(2, own, cwd=HERE, env={"XLA_FLAGS": ""}, stderr=subprocess.PIPE, text=True)
    history, end = run / "history.jsonl", time.time() + 300
    while not (history.exists() and history.read_text()) and time.time() < end:
        time.sleep(0.05)
    children[hanging].send_signal(signal.SIGSTOP)
    try:
        _, said = children[1 - hanging].communicate(timeout=2 * processes.HEARTBEAT + 30)  # the load besides
    finally:
        children[hanging].kill()
        children[hanging].communicate()
    assert children[1 - hanging].returncode == -signal.SIGABRT
    assert "heartbeat" in said.lower()


def test_what_hangs_is_killed(monkeypatch, capsys):
    """One fails, and another does not end."""
    monkeypatch.setattr(processes, "HEARTBEAT", 0.2)
    hang = f"import os, time; time.sleep(600) if os.environ[{processes.PLACE!r}] == '1 of 2' else exit(3)"
    assert processes.launch(2, [sys.executable, "-c", hang]) == 128 + signal.SIGKILL
    assert capsys.readouterr().err == (
        "fnnet: of 2 processes these hung, and were killed: 1; the training can go on from its last checkpoint\n"
    )


ADDRESSES = {
    "Slurm": lambda place, job: {
        "SLURM_JOB_ID": job,
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": place,
        "SLURM_LOCALID": place,
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_JOB_NUM_NODES": "1",
    },
    "Open MPI": lambda place, job: {
        "OMPI_MCA_orte_hnp_uri": f"{job}.0;tcp://127.0.0.1:34911",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": place,
        "OMPI_COMM_WORLD_LOCAL_RANK": place,
    },
}
MEETING = """
import jax
from fnnet.training import processes
processes.connect()
print(jax.process_index(), jax.process_count(), processes.largest(7 * jax.process_index()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ADDRESSES)
def test_addresses_of_a_launcher(launcher):
    """`connect` joins two processes that have only what the launcher sets."""
    strange = ("SLURM", "OMPI", "JAX_COORD", "KUBERNETES", processes.PLACE)
    bare = {name: value for name, value in environment().items() if not name.startswith(strange)}
    job = str(os.getpid())  # the port is made of it
    children = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING],
            cwd=HERE,
            env=bare | ADDRESSES[launcher](str(place), job),
            stdout=subprocess.PIPE,
            text=True,
        )
        for place in range(2)
    ]
    for place, child in enumerate(children):
        said, _ = child.communicate(timeout=120)
        assert said.splitlines()[-1] == f"{place} 2 7"
