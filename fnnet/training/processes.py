"""Several processes, each with devices of its own, that train together.

`launch` starts them on one machine. On a cluster its own launcher does, and `connect` finds the addresses where JAX
looks for them: Slurm, Open MPI, Cloud TPU, Kubernetes.

A process that ends unexpectedly closes its connections: the others' collective operations fail at once. One that hangs,
or whose machine is gone, is missed after HEARTBEAT seconds, and then JAX ends the others; `launch` ends what hangs on.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from fnnet.core.jax_messages import is_process_lost

HEARTBEAT = 30  # seconds without a sign of life
PLACE = "FNNET_PROCESS"  # "1 of 4", for the processes of `launch`


class ProcessLostError(RuntimeError):
    """Another process of the training has ended; what was trained since the last checkpoint is lost."""


def connect() -> None:
    """Join the processes that were started with this one, whose addresses the environment has.

    Raises:
        ValueError: The environment says nothing of other processes.
        RuntimeError: They could not be reached.
    """
    place = re.fullmatch(r"(\d+) of (\d+)", os.environ.get(PLACE, ""))
    known: dict[str, Any] = {} if place is None else {"process_id": int(place[1]), "num_processes": int(place[2])}
    try:
        jax.distributed.initialize(**known, heartbeat_timeout_seconds=HEARTBEAT, shutdown_timeout_seconds=HEARTBEAT)
    except ValueError as error:
        raise ValueError(
            f"connect: the environment says nothing of other processes (Slurm, Open MPI and the like do): {error}"
        ) from None


def started(number: int, command: Sequence[str], **options: Any) -> list[subprocess.Popen]:
    """`number` processes of this machine that run a command, which `connect` joins; `options` of Popen."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = (
        os.environ
        | options.pop("env", {})
        | {"JAX_COORDINATOR_ADDRESS": address, "JAX_COORDINATOR_BIND_ADDRESS": address}
    )
    return [
        subprocess.Popen(command, env=settings | {PLACE: f"{place} of {number}"}, start_new_session=True, **options)
        for place in range(number)
    ]


def launch(number: int, command: Sequence[str]) -> int:
    """Run `started(number, command)` to the end, and hand on signals; returns the worst status.

    Where a process fails, or hangs, the others end with an error within HEARTBEAT seconds or little more. What has not
    ended as long after that hangs, and is killed.
    """
    children = started(number, command)
    with _handed_on(children):
        hanging = _ended(children)
    statuses = [child.wait() for child in children]
    killed = [
        f"{place} ({signal.Signals(-status).name})"
        for place, status in enumerate(statuses)
        if status < 0 and place not in hanging
    ]
    if hanging:
        places = ", ".join(map(str, hanging))
        print(
            f"fnnet: of {number} processes these hung, and were killed: {places}; the training can go on from its last "
            "checkpoint",
            file=sys.stderr,
        )
    if killed:
        print(f"fnnet: of {number} processes these were killed: {', '.join(killed)}", file=sys.stderr)
    return max(status if status >= 0 else 128 - status for status in statuses)


def _ended(children: Sequence[subprocess.Popen]) -> list[int]:
    """Wait for all; kill those that run on HEARTBEAT seconds after another failed, and return their places."""
    failed = None
    while None in (statuses := [child.poll() for child in children]):
        now = time.monotonic()
        if failed is None and any(statuses):
            failed = now
        if failed is not None and now - failed > HEARTBEAT:
            hanging = [place for place, status in enumerate(statuses) if status is None]
            for place in hanging:
                children[place].kill()
            return hanging
        time.sleep(0.05)
    return []


@contextlib.contextmanager
def _handed_on(children: Sequence[subprocess.Popen]) -> Iterator[None]:
    """SIGINT and SIGTERM go to the children, each once."""

    def hand_on(number: int, frame: object) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for child in children:
            if child.poll() is None:
                child.kill()


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def leave(status: int) -> None:
    """End this process now: at an ordinary exit JAX would wait for those that are lost, or still train."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def on_host(tree: Any) -> Any:
    """A tree of arrays in NumPy, whole in every process."""
    if jax.process_count() > 1:
        shardings = jax.tree.map(lambda leaf: NamedSharding(leaf.sharding.mesh, P()), tree)
        tree = jax.jit(lambda tree: tree, out_shardings=shardings)(tree)
    return jax.tree.map(np.asarray, tree)


def agreed(value: int) -> int:
    """What the first process says: all must take the same steps, and clocks differ."""
    return int(_of_first(np.int32(value))) if jax.process_count() > 1 else value


def agreed_text(text: str) -> str:
    """The same for a text of at most 4096 bytes."""
    if jax.process_count() == 1:
        return text
    return bytes(_of_first(np.frombuffer(text.encode().ljust(4096, b"\0"), np.uint8))).rstrip(b"\0").decode()


def largest(value: int) -> int:
    """The largest of what the processes say."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def smallest(value: int) -> int:
    """The smallest of what the processes say."""
    return -largest(-value)


@contextlib.contextmanager
def lost_ones_named(where: str) -> Iterator[None]:
    """Raises ProcessLostError where JAX says in its own words that another process is gone."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # a ValueError where NumPy reads what was not computed
        if jax.process_count() == 1 or not is_process_lost(error):
            raise
        said = " ".join(str(error).split())[:200]
        raise ProcessLostError(
            f"{where}: another of the {jax.process_count()} processes was lost; the training can go on from its last "
            f"checkpoint, with fewer or more processes ({said})"
        ) from error


def _of_first(value: np.ndarray | np.generic) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(value))
