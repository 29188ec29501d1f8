"""1, 2, 4 and 8 simulated devices, and 2 and 4 processes, on the same training; then one of two processes is killed.

    python docs/devices

For each: the largest difference of a parameter from the training on one device, the collective operations in the
compiled training program, and the bytes that a device sends a step: by the program, by the model, and (of processes) as
counted on the loopback interface. Everything is computed on CPUs; a few minutes on two cores.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from fnnet import data
from fnnet.training import processes

WORKER = [sys.executable, str(Path(__file__).with_name("worker.py"))]
LIMIT = 600  # seconds for one training


def main() -> int:
    """All of it; the exit status is 1 where parameters differ by more than rounding."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        xs, ys = data.load("digits").train
        np.save(directory / "xs.npy", np.asarray(xs))
        np.save(directory / "ys.npy", np.asarray(ys))
        on_devices(directory, "one", 0)
        print(f"{'':24}{'difference':>12}{'sent, program':>15}{'model':>10}{'loopback':>10}   collectives", flush=True)
        worst = 0.0
        for sharded in (False, True):
            for number in (1, 2, 4, 8):
                report = on_devices(directory, f"{number} devices", number, sharded)
                worst = max(worst, shown(directory, f"{number} devices", number, sharded, report))
            for number in (2, 4):
                report = in_processes(directory, f"{number} processes", number, sharded)
                worst = max(worst, shown(directory, f"{number} processes", number, sharded, report))
        worst = max(worst, killed_and_resumed(directory))
    return int(worst > 1e-4)


def on_devices(directory: Path, name: str, number: int, sharded: bool = False, *more: str) -> dict:
    """In one process with so many simulated devices; without any mesh for 0."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={max(number, 1)}"
    command = [*WORKER, str(directory), "--name", name, "--devices", str(number), *more]
    command += ["--shard-parameters"] if sharded else []
    environment = os.environ | {"XLA_FLAGS": flags, "PJRT_NPROC": "24"}
    done = subprocess.run(command, env=environment, check=True, timeout=LIMIT, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def in_processes(directory: Path, name: str, number: int, sharded: bool) -> dict:
    """In so many processes, of one device each."""
    output = directory / "said"
    command = [*WORKER, str(directory), "--name", name, "--cluster", *(["--shard-parameters"] if sharded else [])]
    with output.open("w") as stream:
        children = processes.started(number, command, stdout=stream)
        if any(child.wait(LIMIT) for child in children):
            raise RuntimeError(f"{name}: {output.read_text()}")
    return json.loads(next(line for line in output.read_text().splitlines() if line.startswith("{")))


def difference(directory: Path, name: str) -> float:
    """The largest of |a - b| / (|b| + rms of b) over the entries of all parameters, b being the one device's."""
    ours, one = (np.load(directory / f"{which}.npz") for which in (name, "one"))
    return max(float(np.max(np.abs(ours[leaf] - b) / (np.abs(b) + np.sqrt(np.mean(b * b))))) for leaf, b in one.items())


def shown(directory: Path, name: str, number: int, sharded: bool, report: dict) -> float:
    """A line of the table; returns the difference."""
    off = difference(directory, name)
    model = 2 * (number - 1) / number * report["parameters"]
    counted = f"{report['loopback']:10.0f}" if "loopback" in report else " " * 10
    label = f"{name}, sharded" if sharded else name
    kinds = ", ".join(f"{times} {kind}" for kind, times in Counter(report["collectives"]).items()) or "none"
    print(f"{label:24}{off:12.1e}{report['moved']:15.0f}{model:10.0f}{counted}   {kinds}", flush=True)
    return off


def killed_and_resumed(directory: Path) -> float:
    """One of two processes ends by SIGKILL in the third epoch; one process goes on from the last checkpoint."""
    checkpoints = directory / "checkpoints"
    steps = len(np.load(directory / "ys.npy", mmap_mode="r")) // 64
    command = [*WORKER, str(directory), "--name", "broken", "--cluster", "--checkpoints", str(checkpoints)]
    output = directory / "said"
    with output.open("w") as stream:
        children = processes.started(2, command, stdout=stream)
        end = time.time() + LIMIT
        while not any(2 * 2 * steps + 2 <= number < 2 * 3 * steps for number in numbers(checkpoints)):
            if time.time() > end or any(child.poll() is not None for child in children):
                raise RuntimeError(f"there was no checkpoint in the third epoch: {output.read_text()}")
            time.sleep(0.01)
        children[1].kill()
        at = time.time()
        status = children[0].wait(LIMIT)
        took = time.time() - at
    said = [json.loads(line) for line in output.read_text().splitlines() if line.startswith("{")]
    words = said[-1]["error"] if said else "JAX ended it"  # so if the kill fell into the writing of a checkpoint
    print(f"\none of two processes killed: the other ended {took:.2f} s later, with status {status}: {words}")
    last = max(numbers(checkpoints))
    on_devices(directory, "resumed", 1, False, "--checkpoints", str(checkpoints))
    off = difference(directory, "resumed")
    print(f"resumed with one process from step {last // 2} of {3 * steps}: difference {off:.1e} from one never broken")
    return off


def numbers(checkpoints: Path) -> list[int]:
    """The names of the checkpoints that are whole."""
    return [int(path.name) for path in checkpoints.glob("*") if path.name.isdigit()]


if __name__ == "__main__":
    sys.exit(main())
