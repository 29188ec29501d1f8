"""`fnnet train --trace-every N`: the parameters that it keeps, their page, and a training that is resumed."""

import json
import shutil

import numpy as np
import pytest

from fnnet.cli import runs
from fnnet.cli.command import main
from fnnet.cli.runs.moments import Moments
from fnnet.training import checkpoint, resumption

pytestmark = pytest.mark.usefixtures("standard_promotion")


def call(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four epochs, of which every second is kept; and checkpoints as often as can be."""
    directory = tmp_path_factory.mktemp("moments") / "run"
    options = "--net", "mlp", "--epochs", 4, "--trace-every", 2, "--save-every", 0, "--output", directory
    assert call("train", *options) == 0
    return directory


def bits(run):
    return {path.parent.name: path.read_bytes() for path in (run / "moments").glob("*/weights.safetensors")}


def test_every_second_epoch_is_kept_and_the_start(run):
    assert set(bits(run)) == {"epoch-0", "epoch-2", "epoch-4"}
    last, _ = checkpoint.load(run / "moments" / "epoch-4")
    for layer, arrays in runs.load(run).params.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(last["params"][layer][name], array)
    first, _ = checkpoint.load(run / "moments" / "epoch-0")
    assert not first["params"]["dense_1"]["bias"].any()


def test_one_page_has_all_moments(run, tmp_path, capsys):
    page = (run / "trace.html").read_text(encoding="utf-8")
    assert all(f'"label":"{label}"' in page for label in ("epoch 0", "epoch 2", "epoch 4"))
    assert call("trace", run, "--example", 3, "--output", tmp_path / "page.html") == 0
    assert f"page: {tmp_path / 'page.html'}, with epoch 0, epoch 2, epoch 4\n" in capsys.readouterr().out


def test_the_best_epoch_stands_at_its_place(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    losses = enumerate((0.9, 0.5, 0.2, 0.4), 1)
    lines = [json.dumps({"epoch": epoch, "validation_loss": loss}) for epoch, loss in losses]
    trained = runs.load(copy)
    trained = trained._replace(config=trained.config | {"patience": 2})
    last, _ = runs.traced(trained, 0)
    for kept_best, expected in (
        (3, ["epoch 0", "epoch 2", "epoch 3, the best", "epoch 4"]),
        (2, ["epoch 0", "epoch 2, the best", "epoch 4"]),
    ):
        (copy / "history.jsonl").write_text("\n".join(lines[:kept_best] + lines[:1] * (4 - kept_best)))
        moments = runs.moments_of(copy, trained, last)
        assert list(moments) == expected
        assert moments[f"epoch {kept_best}, the best"] is last


def test_a_resumed_training_makes_the_later_moments_again(run, tmp_path):
    """As after a crash: the newest checkpoints are gone, a moment is half-written, and one is of other settings."""
    copy = shutil.copytree(run, tmp_path / "run")
    found = resumption.found_in(copy / "checkpoints")
    kept = next(path for path in found if path.name.startswith(("epoch-2", "epoch-3")))
    for newer in found[: found.index(kept)]:
        shutil.rmtree(newer)
    moments = copy / "moments"
    shutil.copytree(moments / "epoch-0", moments / "epoch-8")
    shutil.rmtree(moments / "epoch-4")
    shutil.copytree(moments / "epoch-0", moments / "epoch-4")
    shutil.copytree(moments / "epoch-0", moments / ".epoch-4.0123")
    assert call("train", "--resume", copy) == 0
    assert bits(copy) == bits(run)


def test_a_damaged_moment_is_left_out(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "moments" / "epoch-2" / "weights.safetensors").write_bytes(b"nothing")
    assert call("trace", copy, "--example", 0) == 0
    captured = capsys.readouterr()
    assert "has 7 bytes; its manifest says" in captured.err
    assert captured.out.endswith(", with epoch 0, epoch 4\n")


def test_a_full_disk_does_not_end_the_training(tmp_path, capsys):
    (tmp_path / "moments").write_text("a file in its place")
    Moments(tmp_path, 1).keep(3, {"w": np.ones(2)})
    assert "the parameters of epoch 3 cannot be kept: " in capsys.readouterr().err


def test_without_the_option_nothing_is_kept(tmp_path):
    assert call("train", "--net", "mlp", "--epochs", 1, "--output", tmp_path / "run") == 0
    assert not (tmp_path / "run" / "moments").exists()
    assert not (tmp_path / "run" / "trace.html").exists()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["trace_every"] is None
