"""The memory settings under which every contestant runs.

glibc takes large buffers from the kernel and gives them back at once, and each page of the next one is cleared again at
its first use. "kept" makes it keep what it has: no buffer is mapped by itself, the heap is never cut back, and there is
one heap only, since those of other threads have at most 64 MB. glibc reads these settings at the start of a process.
"""

import ctypes
import os

HUGE = str(1 << 32)
KEPT = {
    "MALLOC_MMAP_THRESHOLD_": HUGE,
    "MALLOC_TRIM_THRESHOLD_": HUGE,
    "MALLOC_TOP_PAD_": str(1 << 28),
    "MALLOC_ARENA_MAX": "1",
}
SETTINGS: dict[str, dict[str, str]] = {"default": {}, "kept": KEPT}


def environment(setting: str) -> dict[str, str]:
    """The environment of a worker: the caller's without memory settings of its own, and with this one."""
    own = {name: value for name, value in os.environ.items() if name not in KEPT}
    own.pop("JAX_COMPILATION_CACHE_DIR", None)  # compile times are measured
    own.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # on a GPU the first process would take most of its memory
    return {**own, **SETTINGS[setting]}


def give_back() -> None:
    """Return free memory to the kernel, whatever the setting: between two cells."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
