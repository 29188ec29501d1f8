"""Real faults: the short form of `python experiments/faults`, a few of each; the long one is slow."""

import re
import subprocess
import sys
from pathlib import Path

import faults
import fuzzing
import pytest

EXPERIMENTS = Path(faults.__file__).parents[1]


def table(environment, *arguments):
    environment = environment | {"PYTHONPATH": str(EXPERIMENTS.parent)}
    command = [sys.executable, EXPERIMENTS / "faults", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split(" | ") for line in re.findall(r"^\| (.*) \|$", done.stdout, flags=re.MULTILINE)][2:]


@pytest.mark.slow
def test_nothing_is_lost_by_a_few_of_each(users_environment):
    rows = table(users_environment, "--short")
    assert len(rows) == 8
    assert all(int(row[1]) == int(row[2]) > 0 for row in rows)


@pytest.mark.slow
def test_nothing_is_lost(users_environment):
    rows = table(users_environment)
    assert len(rows) == 9
    assert sum(int(row[1]) for row in rows) > 3000


@pytest.mark.parametrize("number", range(5))
def test_readers_raise_what_they_promise(tmp_path, number, monkeypatch):
    monkeypatch.setattr(fuzzing, "ROUND", 15)
    reader = fuzzing.readers(tmp_path)[number]
    reader.round()
    assert reader.tried >= 10
