"""On what machine, and with which versions, a run was made."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path


def description(versions: Mapping[str, str]) -> dict[str, str]:
    """Processor, cores, system, versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "processor": _processor(),
        "cores": str(cores),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
        "XLA's flags": os.environ.get("XLA_FLAGS", ""),
        **versions,
    }


def kept(directory: Path) -> dict[str, str]:
    """What stands beside the records; nothing where there are none."""
    path = directory / "machine.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(directory: Path, found: Mapping[str, str]) -> dict[str, str]:
    """Write it beside the records, or see that it is what stands there: ratios are of one machine.

    Raises:
        ValueError: The directory has records of another machine or other versions.
    """
    path = directory / "machine.json"
    before = kept(directory)
    differing = [name for name in found if name in before and before[name] != found[name]]
    if differing:
        name = differing[0]
        raise ValueError(
            f"output {directory} has records with {name} {before[name]}; this run has {found[name]}: take another one"
        )
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**before, **found}, indent=1) + "\n")
    return {**before, **found}


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return platform.processor() or platform.machine()
    lines = information.read_text().split("\n\n")[0].splitlines()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "").split()
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if flag in flags]
    return f"{fields.get('model name', platform.machine())} ({', '.join([platform.machine(), *wide])})"


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{size / 2**30:.0f} GiB"
