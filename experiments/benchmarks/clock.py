"""One timed block: wall time, processor time of this process, processor time of everybody else, page faults."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

STATISTICS = Path("/proc/stat")
IDLE = (3, 4)  # the columns of idle and of waiting for a disk


class Sample(NamedTuple):
    """Seconds and page faults of one block of `units` units."""

    units: int
    wall: float
    cpu: float
    elsewhere: float | None  # processor seconds of other processes, None where the system does not tell
    faults: int


def timed(run: Callable[[], Any], units: int) -> tuple[Any, Sample]:
    """What run() returned, and the sample; it has to wait until its work is done."""
    before = _reading()
    result = run()
    wall, cpu, busy, faults = (a - b for a, b in zip(_reading(), before, strict=True))
    return result, Sample(units, wall, cpu, max(busy - cpu, 0.0) if STATISTICS.exists() else None, int(faults))


def _reading() -> tuple[float, float, float, float]:
    return time.perf_counter(), time.process_time(), _busy(), _faults()


def _busy() -> float:
    """Processor seconds that the whole machine has spent since it was started."""
    if not STATISTICS.exists():
        return 0.0
    columns = STATISTICS.read_text().splitlines()[0].split()[1:9]  # guests count twice after these
    return sum(int(c) for i, c in enumerate(columns) if i not in IDLE) / os.sysconf("SC_CLK_TCK")


def _faults() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
