"""One training for `python docs/devices`: on some devices, or as one of several processes. Prints a line of JSON."""

import argparse
import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
import optax

import fnnet
from devices.collectives import collectives_in
from fnnet.training import batches, processes
from fnnet.training.device_mesh import placement_on
from fnnet.training.state import nothing_yet
from fnnet.training.steps import run, start

NET = fnnet.Sequential(
    fnnet.Conv(16, 3),
    fnnet.relu,
    fnnet.MaxPool(2),
    fnnet.Conv(32, 3),
    fnnet.relu,
    fnnet.Flatten(),
    fnnet.Dropout(0.2),
    fnnet.Dense(64),
    fnnet.relu,
    fnnet.Dense(10),
)
LOSS = fnnet.softmax_cross_entropy
OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
BATCH, EPOCHS = 64, 3
FEW = 32  # bytes: losses, weights and norms, which are single numbers


def main() -> None:
    """Train, and say what was communicated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, help="has xs.npy and ys.npy; the parameters go there, too")
    parser.add_argument("--name", required=True)
    parser.add_argument("--devices", type=int)
    parser.add_argument("--cluster", action="store_true")
    parser.add_argument("--shard-parameters", action="store_true")
    parser.add_argument("--checkpoints", type=Path)
    asked = parser.parse_args()
    if asked.cluster:
        processes.connect()
    xs, ys = (np.load(asked.directory / f"{name}.npy", mmap_mode="r") for name in ("xs", "ys"))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[: asked.devices]), ("data",)) if asked.devices != 0 else None
    sent: list[tuple[int, int]] = []

    def note(record: dict, state: Any) -> None:
        sent.append((loopback_bytes(), int(state.step)))

    saves = None
    if asked.checkpoints:
        batches.SECONDS_A_CALL = 0.001  # a pause, and so a checkpoint, after every few steps
        saves = fnnet.OrbaxCheckpoints(asked.checkpoints, seconds=0)
    shared = {} if mesh is None else {"mesh": mesh, "shard_parameters": asked.shard_parameters}
    try:
        params, history = fnnet.fit(
            NET,
            LOSS,
            OPTIMIZER,
            (xs, ys),
            key=jax.random.key(0),
            epochs=EPOCHS,
            batch_size=BATCH,
            callback=note,
            checkpoints=saves,
            progress=False,
            **shared,
        )
    except fnnet.ProcessLostError as error:
        print(json.dumps({"error": str(error), "at": time.time()}), flush=True)
        processes.leave(3)
    whole = processes.on_host(params)
    report: dict[str, Any] = {"loss": history[-1]["loss"]}
    if mesh is not None:
        report |= communicated(mesh, asked.shard_parameters, xs, ys)
    if asked.cluster and len(sent) > 1:
        (before, first), (after, last) = sent[0], sent[-1]
        report["loopback"] = (after - before) / (last - first) / jax.process_count()
    if processes.is_first():
        named = {"/".join(map(str, (layer, name))): leaf for layer, own in whole.items() for name, leaf in own.items()}
        np.savez(asked.directory / f"{asked.name}.npz", **named)
        print(json.dumps(report), flush=True)


def communicated(mesh: jax.sharding.Mesh, shard_parameters: bool, xs: Any, ys: Any) -> dict[str, Any]:
    """The collective operations of the compiled training program, and what a step of it moves a device."""
    placement = placement_on("devices", mesh, shard_parameters)
    state = start(NET, OPTIMIZER, jax.random.key(0), xs.shape[1:], placement=placement)
    source: Any = placement.source((xs, ys), BATCH, finite=False)
    program = jax.jit(placement.staying(functools.partial(run, NET, LOSS, OPTIMIZER, placement=placement)))
    rows = np.zeros(source.block, np.int32)
    hlo = program.lower(state, placement.put(nothing_yet()), *source.shapes(), rows, 1).compile().as_text()
    found, n = collectives_in(hlo or ""), placement.devices
    moved = sum(one.bytes * PER_BYTE[one.kind](n) for one in found if one.bytes > FEW)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.params))
    return {"collectives": [one.kind for one in found if one.bytes > FEW], "moved": moved, "parameters": size}


PER_BYTE = {  # of an operation's result, what a device sends in a ring of n
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: n - 1,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1,
    "collective-broadcast": lambda n: 1,
}


def loopback_bytes() -> int:
    """What the loopback interface has sent (Linux), or 0."""
    try:
        lines = Path("/proc/net/dev").read_text().splitlines()
    except OSError:
        return 0
    (line,) = (line for line in lines if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[8])


if __name__ == "__main__":
    main()
