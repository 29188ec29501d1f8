"""The command line on a network with batch normalisation: trained, traced, exported, on two devices in bf16."""

import json

import numpy as np
import pytest

import fnnet
from fnnet.cli import runs
from fnnet.cli.command import main

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("standard_promotion")]


def call(*arguments):
    return main([str(argument) for argument in arguments])


def test_a_run(tmp_path, capsys):
    run = tmp_path / "run"
    assert call("train", "--net", "resnet", "--epochs", 2, "--output", run) == 0
    last = json.loads((run / "history.jsonl").read_text().splitlines()[-1])
    assert last["validation_accuracy"] > 0.9
    trained, (xs, ys) = runs.load(run), fnnet.data.digits().test
    assert (np.argmax(trained(xs), -1) == ys).mean() == pytest.approx(last["validation_accuracy"])
    assert call("evaluate", run) == 0
    assert call("trace", run) == 0
    assert "residual_9/batch_norm_4" in capsys.readouterr().out
    assert call("export", run, "--output", tmp_path / "network.fnnet", "--platforms", "cpu") == 0
    np.testing.assert_allclose(fnnet.serving.load(tmp_path / "network.fnnet")(xs), trained(xs), rtol=1e-4, atol=1e-5)


def test_in_bf16_on_two_devices(tmp_path):
    run = tmp_path / "two"
    options = "--net", "resnet", "--epochs", 2, "--compute-dtype", "bfloat16", "--devices", 2, "--output", run
    assert call("train", *options) == 0
    assert json.loads((run / "history.jsonl").read_text().splitlines()[-1])["validation_accuracy"] > 0.8
    statistics = runs.load(run).params["residual_9"]["batch_norm_1"]
    assert {a.dtype.name for a in statistics.values()} == {"float32"}
    assert float(statistics["variance"].min()) > 0
