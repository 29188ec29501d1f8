"""A disk that is full or cannot be written, and two trainings that want one directory."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults.kills import full
from faults.trials import (
    KEEP,
    Trials,
    ended,
    forked,
    goes_on,
    killed,
    lost,
    moment,
    newest,
    of_fault,
    place,
    told,
    whole,
)
from fnnet.training.resumption import Checkpoints

SIZE = 20_000  # parameters: a checkpoint of 160 kB
MOUNTED = "mount -t tmpfs -o size=2m fnnet-faults {directory} && exec {python} -m faults.disks {directory} {times}"


def disk_full(directory: Path, times: int) -> Trials:
    """A small tmpfs in a namespace of its own, filled up such that a save ends at `times` places; else a file limit."""
    mountpoint = directory / "tmpfs"
    mountpoint.mkdir()
    command = MOUNTED.format(directory=mountpoint, python=sys.executable, times=times)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", command], env=environment, capture_output=True, text=True, check=True
        )
        return Trials(*json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no tmpfs here ({error}): a limit on the size of files instead", file=sys.stderr)
        return _limited_files(directory / "limited", times)


@of_fault("disk full (a tmpfs of 2 MB)")
def _in_a_small_disk(directory: Path, times: int) -> Iterator[str | None]:
    run, ballast = directory / "run", directory / "ballast"
    full(run, SIZE)
    disk = os.statvfs(directory)
    size = sum(file.stat().st_size for path in run.iterdir() for file in path.iterdir()) // KEEP
    for number in range(times):
        before = whole(run)
        step = place(newest(before))[1] + 1
        free = disk.f_frsize * os.statvfs(directory).f_bavail
        with ballast.open("wb") as file:
            file.write(bytes(max(0, free - size * number // times)))
        failure = _full(run, step)
        ballast.unlink()
        yield failure or lost(before, whole(run)) or goes_on(run, SIZE)


@of_fault("disk full (a limit on the size of files)")
def _limited_files(run: Path, times: int) -> Iterator[str | None]:
    full(run, SIZE)
    size = max(file.stat().st_size for path in run.iterdir() for file in path.iterdir())
    for number in range(times):
        before = whole(run)
        step = place(newest(before))[1] + 1

        def work(tell: Callable[[], Any], limit: int = size * number // times, step: int = step) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            os._exit(0 if _full(run, step) is None else 1)

        status = ended(*forked(work))
        yield lost(before, whole(run)) or goes_on(run, SIZE) or (None if not status else "no error was raised")


def _full(run: Path, step: int) -> str | None:
    said: list[str] = []
    Checkpoints(run, keep=KEEP, seconds=0, report=said.append)(moment(step, SIZE))
    reasons = (os.strerror(errno.ENOSPC), os.strerror(errno.EFBIG))
    if len(said) != 1 or not any(reason in said[0] for reason in reasons) or "the training goes on" not in said[0]:
        return f"what was said of a full disk: {said}"
    return None


@of_fault("a directory that cannot be written")
def not_writable(directory: Path, times: int) -> Iterator[str | None]:
    """Without permission to write, as somebody who is not root."""
    run = directory / "closed"
    full(run, SIZE)
    for path in (directory, *directory.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o555)  # so that somebody else comes as far as this
    for _ in range(times):
        before = whole(run)
        step = place(newest(before))[1] + 1
        run.chmod(0o555)

        def work(tell: Callable[[], Any], step: int = step) -> None:
            if os.geteuid() == 0:
                os.setuid(65534)
            said: list[str] = []
            Checkpoints(run, keep=KEEP, seconds=0, report=said.append)(moment(step, SIZE))
            os._exit(0 if len(said) == 1 and os.strerror(errno.EACCES) in said[0] else 1)

        status = ended(*forked(work))
        run.chmod(0o755)
        named = None if status == 0 else "what was said of a directory that cannot be written"
        yield named or lost(before, whole(run)) or goes_on(run, SIZE)


@of_fault("two trainings in one directory")
def two_at_once(directory: Path, times: int) -> Iterator[str | None]:
    """While one process trains, another is refused; when it is killed, the next one gets in."""
    run = directory / "two"
    full(run, SIZE)

    def hold(tell: Callable[[], Any]) -> None:
        with Checkpoints(run):
            tell()
            time.sleep(600)

    def intrude(tell: Callable[[], Any]) -> None:
        try:
            with Checkpoints(run):
                os._exit(1)
        except ValueError as error:
            os._exit(0 if "is in use by another training" in str(error) else 2)

    for _ in range(times):
        before = whole(run)
        process, reading = forked(hold)
        told(reading, 1)
        status = ended(*forked(intrude))
        killed(process, reading)
        refused = None if status == 0 else f"the second one got in, or was refused otherwise: {status}"
        yield refused or lost(before, whole(run)) or goes_on(run, SIZE)


if __name__ == "__main__":
    print(json.dumps(tuple(_in_a_small_disk(Path(sys.argv[1]), int(sys.argv[2])))))
