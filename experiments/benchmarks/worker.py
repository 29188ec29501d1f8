"""A contestant's own process: `python -m benchmarks.worker NAME`, fed through its standard input request by request.

Requests and answers are pickled. Only this process imports the contestant's library.
"""

import os
import pickle
import sys
import traceback
from typing import Any, NamedTuple

from benchmarks import memory
from benchmarks.agreement import Reference
from benchmarks.clock import Sample, timed
from benchmarks.contestants import Program, Unsupported, load
from benchmarks.tasks import Task


class Prepared(NamedTuple):
    """A program that is ready: what it computes, what that took, and facts about it that need no clock."""

    answers: dict[str, Any]
    first: Sample
    facts: dict[str, float]


class Problem(NamedTuple):
    """Why there is no answer, in a line; the traceback goes to standard error."""

    message: str
    unsupported: bool = False


class Desk:
    """The requests that a worker understands, and the programs that it keeps for them."""

    def __init__(self, name: str):
        """Imports the contestant's library."""
        self.contestant = load(name)
        self.programs: dict[int, Program] = {}

    def versions(self) -> dict[str, str]:
        """Of the contestant's libraries."""
        return self.contestant.versions()

    def shapes(self, net: Any) -> dict[str, tuple[int, ...]]:
        """The contestant's own names of a network's parameters."""
        return self.contestant.shapes(net)

    def prepare(self, task: Task) -> tuple[int, Prepared]:
        """Compile, run once, and keep: a number for `time`."""
        program = self.contestant.program(task)
        program.reset()
        answers, first = timed(program.answers, program.units)
        number = len(self.programs)
        self.programs[number] = program
        return number, Prepared(answers, first, program.facts())

    def reference(self, task: Task, courses: int) -> Reference:
        """What the contestant computes in double precision, and how far rounding leads away from it."""
        return self.contestant.reference(task, courses)

    def time(self, number: int, passes: int) -> Sample:
        """One block of a program, from its initial state."""
        program = self.programs[number]
        program.reset()
        return timed(lambda: program.run(passes), passes * program.units)[1]

    def release(self) -> None:
        """Forget all programs."""
        self.programs.clear()
        self.contestant.clear()
        memory.give_back()


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    requests = sys.stdin.buffer
    try:
        desk: Desk | None = Desk(sys.argv[1])
        problem = None
    except Exception as error:
        desk, problem = None, _problem(error)
    while True:
        try:
            name, arguments = pickle.load(requests)
        except EOFError:
            return
        if desk is None:
            answer: Any = problem
        else:
            try:
                answer = getattr(desk, name)(*arguments)
            except Unsupported as error:
                answer = Problem(str(error), unsupported=True)
            except Exception as error:
                answer = _problem(error)
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


def _problem(error: Exception) -> Problem:
    traceback.print_exc()
    return Problem(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


if __name__ == "__main__":
    # What is pickled must not belong to "__main__", which is another module for the process that reads it.
    from benchmarks import worker

    worker.main()
