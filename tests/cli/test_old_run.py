"""A run directory that fnnet 0.1.0 wrote is evaluated, exported and resumed.

data/old_run: `fnnet train --net lenet --optimizer momentum --epochs 8 --batch-size 16 --learning-rate 0.05` on the 64
images of 2 x 2 in its directory images. It was stopped after two of the four steps of the sixth epoch.
"""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from fnnet.cli.command import main

OLD = Path(__file__).parent / "data" / "old_run"
REST = {6: 0.41510882377624514, 7: 0.39740514755249023, 8: 0.3946306943893433}  # held-out losses of a whole training


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A copy, and its name from the directory that the images are found from."""
    shutil.copytree(OLD, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    with jax.numpy_dtype_promotion("standard"):  # for optax
        yield Path()


def test_it_is_evaluated(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    assert capsys.readouterr().out == "loss 0.4360, 100.00 % right of 20 images\n"


def test_it_is_exported(run, capsys):
    Image.fromarray(np.array([[10, 200], [30, 10]], np.uint8)).save("image.png")
    assert main(["export", str(run), "--platforms", "cpu"]) == 0
    capsys.readouterr()
    for network in (run, run / "network.fnnet"):
        assert main(["predict", str(network), "image.png"]) == 0
    ours, exported = capsys.readouterr().out.splitlines()
    assert ours == exported
    assert ours.startswith("image.png: 1 (")


def test_it_goes_on_to_the_same_end(run, capsys):
    assert main(["train", "--resume", str(run)]) == 0
    assert "going on after epoch 5 and 2 steps\n" in capsys.readouterr().out
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == list(range(1, 9))
    assert {record["epoch"]: record["validation_loss"] for record in history[5:]} == pytest.approx(REST, rel=1e-4)
