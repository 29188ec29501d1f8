"""Answers from several processes: each gets the next question as soon as it is free.

A process reads lines of JSON on its standard input: first what all questions have in common, then the number of each
question. It answers each with a line of JSON: a dictionary, {"error": message} for a ValueError. A line that is a
string is a sign of progress. `serve` is the process's side; it ends when its standard input ends.
"""

import collections
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

Answer = dict[str, Any]
Show = Callable[[str], None]


def answers(code: str, given: Any, count: int, jobs: int, show: Show) -> Iterator[Answer | None]:
    """The answers to `count` questions in order, each as soon as it is there; None if its process ended.

    Args:
        code: What a process runs: Python that calls `serve`.
        given: What all questions have in common.
        count: How many questions there are.
        jobs: How many processes answer.
        show: Called with each sign of progress.
    """
    numbers, found = collections.deque(range(count)), {}
    heard: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    workers = [_Worker(code, json.dumps(given), numbers, heard) for _ in range(min(jobs, count))]
    try:
        for number in range(count):
            while number not in found:
                answered, what = heard.get()
                if isinstance(what, Exception):
                    raise what
                if isinstance(what, str):
                    show(what)
                elif what is not None and "error" in what:
                    raise ValueError(what["error"])
                else:
                    found[answered] = what
            show("")
            yield found.pop(number)
    finally:
        numbers.clear()
        for worker in workers:
            worker.end()


class _Worker(threading.Thread):
    """A process, and the thread that asks it; a new process follows one that ended."""

    def __init__(self, code: str, given: str, numbers: collections.deque[int], heard: queue.SimpleQueue):
        super().__init__(daemon=True)
        self.code, self.given, self.numbers, self.heard = code, given, numbers, heard
        self.process = self._new_process()
        self.start()

    def run(self) -> None:
        while self.numbers:
            try:
                number = self.numbers.popleft()
                answer = self._answer(number)
                if answer is None:
                    _end(self.process)
                    self.process = self._new_process()
            except IndexError:  # another worker took the last question
                return
            except Exception as error:  # for the thread that waits
                self.heard.put((-1, error))
                return
            self.heard.put((number, answer))

    def end(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.join()
        _end(self.process)

    def _answer(self, number: int) -> Answer | None:
        try:
            print(number, file=self.process.stdin, flush=True)
        except OSError:  # the process has ended
            return None
        for line in self.process.stdout or ():
            heard = json.loads(line)
            if isinstance(heard, dict):
                return heard
            self.heard.put((number, heard))
        return None

    def _new_process(self) -> subprocess.Popen:
        command = [sys.executable, "-c", self.code]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
        print(self.given, file=process.stdin, flush=True)
        return process


def _end(process: subprocess.Popen) -> None:
    process.kill()
    with contextlib.suppress(BrokenPipeError), process:
        pass


def environment() -> dict[str, str]:
    """An environment for another process, in which modules are found as they are here."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def serve(prepare: Callable[[Any], Callable[[int, Show], Answer]]) -> None:
    """Answer questions until standard input ends: prepare(given) returns answer(number, show)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the one that asks ends this one
    with os.fdopen(os.dup(1), "w") as ours:
        os.dup2(2, 1)  # whatever else is printed goes to standard error

        def say(what: Any) -> None:
            print(json.dumps(what), file=ours, flush=True)

        answer = prepare(json.loads(sys.stdin.readline()))
        for line in sys.stdin:
            try:
                say(answer(int(line), say))
            except ValueError as error:
                say({"error": str(error)})
