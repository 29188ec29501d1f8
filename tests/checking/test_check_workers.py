"""The processes that check own rules: order, death, errors, progress, and the table they fill."""

import re
import subprocess
import sys

import pytest

from fnnet.checking import workers
from fnnet.cli.command import main

CODE = """
import os, time
from fnnet.checking import workers

def prepare(given):
    def answer(number, show):
        show(f"at {number}")
        print("not an answer")
        if number == given["dies"]:
            os._exit(3)
        if number == given["refuses"]:
            raise ValueError("as it should")
        time.sleep(0.3 if number == 0 else 0)
        return {"number": number, "process": os.getpid()}
    return answer

workers.serve(prepare)
"""


def asked(count, jobs, dies=-1, refuses=-1):
    shown = []
    found = list(workers.answers(CODE, {"dies": dies, "refuses": refuses}, count, jobs, shown.append))
    return found, {text for text in shown if text}


def test_answers_come_in_order_from_several_processes():
    found, shown = asked(6, 2)
    assert [answer["number"] for answer in found] == list(range(6))
    assert len({answer["process"] for answer in found}) == 2
    assert shown == {f"at {number}" for number in range(6)}


def test_another_process_follows_one_that_dies():
    found, _ = asked(4, 1, dies=1)
    assert [answer and answer["number"] for answer in found] == [0, None, 2, 3]
    assert len({answer["process"] for answer in found if answer}) == 2


def test_an_error_ends_all():
    with pytest.raises(ValueError, match="as it should"):
        asked(3, 2, refuses=1)


def test_a_process_ends_with_the_one_that_asks():
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], stdin=subprocess.PIPE, env=workers.environment(), text=True
    )
    print('{"dies": 9, "refuses": 9}', file=process.stdin, flush=True)
    process.stdin.close()
    assert process.wait(60) == 0


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_table_of_several_processes_is_that_of_one(jobs, capsys):
    assert main(f"check tanh relu --checks SPE --jobs {jobs}".split()) == 0
    _, header, *rows, summary = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["rule", "verdict"]
    assert [re.sub(r" +\d+\.\d", " s", row) for row in rows] == [
        "relu  right               SPE s  z: the slope from the left",
        "tanh  right               SPE s",
    ]
    assert summary.startswith("2 of 2 right; ")
