"""Each rule of today's networks beside autodiff of the usual code and beside PyTorch: time, and temporary memory.

    OMP_WAIT_POLICY=PASSIVE python experiments/rules_timed [ROW ...] [--seconds S] [--without-torch]

A row is one computation with all its gradients, compiled by `jax.jit` as a user would, or by PyTorch operation by
operation (channels last, where there are channels). All are called in turn in one process, in reversed order every
other round, and the medians of the rounds' ratios are shown. Memory is what XLA says of the compiled program. PyTorch's
threads would spin while XLA's compute, were they not told to wait.
"""

import argparse
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jax
import jax.numpy as jnp

import fnnet

if not __package__:  # run as a directory, which is then the first place of the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rules_timed import steps  # noqa: F401  # adds its rows
from rules_timed.rows import ROWS


def measured(name: str, torch: Any, seconds: float, options: dict | None) -> str:
    """A line of the table."""
    plain, ours, args, by_torch = ROWS[name](torch)
    args = jax.tree.map(jnp.asarray, args)
    programs = {
        "autodiff": jax.jit(plain).lower(*args).compile(),
        "fnnet": jax.jit(ours).lower(*args).compile(compiler_options=options),
    }
    answers = {key: program(*args) for key, program in programs.items()}
    worst = max(map(_difference, *map(jax.tree.leaves, answers.values())))
    calls: dict[str, Callable] = {key: functools.partial(_waited, program, args) for key, program in programs.items()}
    calls |= {"torch": by_torch} if by_torch else {}
    taken = _alternated(calls, seconds)
    memory = [_temporary(program) for program in programs.values()]

    def ratio(other: str) -> str:
        pairs = zip(taken["fnnet"], taken.get(other, ()), strict=False)
        ratios = [a / b for a, b in pairs]
        return f"{statistics.median(ratios):.2f}" if ratios else "-"

    shown = " / ".join(f"{1e3 * statistics.median(own):.2f}" for own in taken.values())
    megabytes = " / ".join(f"{size / 2**20:.1f}" for size in memory)
    cells = ratio("autodiff"), f"{memory[1] / max(memory[0], 1):.3f}", ratio("torch"), shown, megabytes
    return f"| {name} | {' | '.join(cells)} | {len(taken['fnnet'])} | {worst:.0e} |"


def _temporary(program: Any) -> int:
    """Bytes beside arguments and outputs."""
    return program.memory_analysis().temp_size_in_bytes


def _waited(program: Callable, args: tuple) -> None:
    jax.block_until_ready(program(*args))


def _difference(a: Any, b: Any) -> float:
    return float(jnp.abs(a - b).max() / (jnp.abs(a).max() + 1e-30))


def _alternated(calls: dict[str, Callable], seconds: float) -> dict[str, list[float]]:
    for call in calls.values():
        call()
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    while len(taken["fnnet"]) < 5 or time.perf_counter() - began < seconds:
        for name, call in list(calls.items())[:: 1 if len(taken["fnnet"]) % 2 else -1]:
            call()  # as in a loop: what another call left in caches, or gave back to the system, is not measured
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return taken


def main() -> None:
    """The table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="parts of the rows' names; all where there are none")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each row; at least 5 rounds (default: 10)")
    parser.add_argument("--without-torch", action="store_true", help="JAX alone")
    parser.add_argument("--safe", action="store_true", help="fnnet's programs with the options of fnnet.fit")
    parser.add_argument("--onednn", action="store_true", help="XLA calls oneDNN for convolutions: fnnet.use_onednn")
    arguments = parser.parse_args()
    fnnet.keep_memory()
    if arguments.onednn and not fnnet.use_onednn():
        parser.error("XLA cannot call oneDNN here")
    torch = None
    if not arguments.without_torch:
        import torch  # type: ignore[no-redef]
    wanted = arguments.rows or [""]
    options = fnnet.safe_options() if arguments.safe else None
    print(f"jax {jax.__version__}, {os.cpu_count()} cores" + (f", torch {torch.__version__}" if torch else ""))
    heads = "time / autodiff's", "memory / autodiff's", "time / PyTorch's", "ms", "MB", "rounds", "worst difference"
    print("| | " + " | ".join(heads) + " |")
    print("|" + "---|" * 8)
    for name in ROWS:
        if any(part in name for part in wanted):
            print(measured(name, torch, arguments.seconds, options), flush=True)


if __name__ == "__main__":
    main()
