"""The contestants' processes, from outside: started once, kept alive, and asked one at a time."""

import contextlib
import os
import pickle
import select
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import memory
from benchmarks.agreement import Reference
from benchmarks.contestants import CONTESTANTS
from benchmarks.tasks import Task
from benchmarks.worker import Problem

JUDGE = "autodiff-reshape"  # who computes what all are compared with, in a process that ends before anything is timed
COURSES = 8  # how many courses in single precision show what rounding can do


class Failed(Exception):
    """A contestant could not do what it was asked for; `unsupported` where its library has no such thing."""

    def __init__(self, message: str, unsupported: bool = False):
        """The message is one line."""
        super().__init__(message)
        self.unsupported = unsupported


class Worker:
    """One contestant under one memory setting, in a process of its own."""

    def __init__(self, contestant: str, setting: str, alone: bool = False):
        """Starts no process yet. `alone` says that no other contestant's process will be alive."""
        self.contestant, self.setting, self.alone = contestant, setting, alone
        self.process: subprocess.Popen | None = None

    def ask(self, request: str, *arguments: Any, limit: float | None = None) -> Any:
        """The answer of `worker.Desk`; raises Failed. A process that was lost is started anew for the next request.

        Without an answer within `limit` seconds the process is killed.
        """
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((request, arguments), process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            if limit is not None and not select.select([process.stdout], [], [], limit)[0]:
                process.kill()
                self.stop()
                raise Failed(f"no answer within {limit:g} s")
            answer = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            self.stop()
            raise Failed(f"the process ended with status {process.returncode}") from None
        if isinstance(answer, Problem):
            raise Failed(answer.message, answer.unsupported)
        return answer

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            process, self.process = self.process, None
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    if stream is not None:
                        stream.close()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _running(self) -> subprocess.Popen:
        if self.process is None:
            self.process = subprocess.Popen(
                command("benchmarks.worker", self.contestant),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment(self.setting, self.alone),
            )
        return self.process


def command(module: str, *arguments: str) -> list[str]:
    """A module of this package in a fresh Python."""
    return [sys.executable, "-m", module, *arguments]


def environment(setting: str, alone: bool) -> dict[str, str]:
    """For a fresh Python that can import this package.

    Idle threads of OpenMP, which PyTorch has, spin by default and slow down whoever runs next. A process that is alone
    keeps this default; others wait passively, unless the caller's environment says something else.
    """
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    own = {**memory.environment(setting), "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return own if alone else {"OMP_WAIT_POLICY": "PASSIVE", **own}


def installed(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The contestants whose libraries are here, and a line for each of the others."""
    here, missing = [], []
    for name in names:
        absent = [library for library in CONTESTANTS[name].needs if find_spec(library) is None]
        if absent:
            missing.append(f"{name} is left out: {', '.join(absent)} is not installed")
        else:
            here.append(name)
    return here, missing


class Crew:
    """All workers of a run; `contextlib.closing` ends their processes."""

    def __init__(self, contestants: Sequence[str], settings: Sequence[str], alone: bool = False):
        """One worker for each contestant and memory setting."""
        self.workers = [Worker(name, setting, alone) for setting in settings for name in contestants]

    def of(self, contestants: Iterable[str]) -> list[Worker]:
        """The workers of those contestants."""
        wanted = set(contestants)
        return [worker for worker in self.workers if worker.contestant in wanted]

    def reference(self, task: Task, limit: float) -> Reference:
        """What the task computes in double precision, and how far rounding leads away from it. Raises Failed."""
        judge = Worker(JUDGE, "default")
        try:
            return judge.ask("reference", task, COURSES, limit=limit)
        finally:
            judge.stop()

    def release(self) -> None:
        """Make all forget their programs."""
        for worker in self.workers:
            if worker.process is not None:
                try:
                    worker.ask("release")
                except Failed:
                    worker.stop()

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.stop()
