"""The command line on one's own network and data: folders of images, arrays, and the settings of a training."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fnnet.cli import runs, subjects
from fnnet.cli.command import main

NETWORKS = """
import fnnet

def small(classes, shape):
    return fnnet.Sequential(fnnet.Conv(4, 3), fnnet.relu, fnnet.Flatten(), fnnet.Dense(classes))

line = fnnet.Sequential(fnnet.Dense(2))
"""


pytestmark = pytest.mark.usefixtures("standard_promotion")


def call(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Networks of one's own, red and blue images of 6 x 8, and rows of a table whose test labels are the wrong ones."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(NETWORKS)
    rng = np.random.default_rng(0)
    for place, name in enumerate(("red", "sky")):
        (folder / "colours" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 60, (6, 8, 3), np.uint8)
            pixels[..., 2 * place] += 150
            Image.fromarray(pixels).save(folder / "colours" / name / f"{number}.png")
    labels = np.arange(64) % 2
    rows = rng.normal(size=(64, 3)) + 2 * labels[:, None]
    np.savez(folder / "table.npz", x_train=rows, y_train=labels, x_test=rows, y_test=1 - labels)
    return folder


@pytest.fixture(scope="module")
def colours(folder):
    """A run on the folder of images by a network of one's own."""
    settings = ("--weight-decay", 0.1, "--clip", 1, "--warmup", 2, "--schedule", "linear", "--label-smoothing", 0)
    arguments = ("--data", folder / "colours", "--net", f"{folder}/mine.py:small", "--epochs", 4, "--lr", 0.02)
    assert call("train", *arguments, *settings, "--output", folder / "run") == 0
    return folder / "run"


def test_a_folder_of_images(colours, folder, capsys, monkeypatch):
    config = json.loads((colours / "config.json").read_text())
    assert (config["classes"], config["shape"], config["batch_size"]) == (["red", "sky"], [6, 8, 3], 4)
    assert (config["net"], config["reading"]) == (f"{folder / 'mine.py'}:small", "photograph")
    assert {path.name for path in colours.glob("*.png")} == {"curves.png", "confusion.png", "wrong.png", "kernels.png"}
    monkeypatch.chdir(colours)
    capsys.readouterr()
    assert call("evaluate", colours) == 0
    assert capsys.readouterr().out.endswith(", 100.00 % right of 8 images\n")
    assert call("trace", colours, "--example", 1, "--output", "page.html") == 0
    assert call("evaluate", colours, "--data", folder / "table.npz") == 2
    assert "must have the shape (6, 8, 3) that the run was trained on" in capsys.readouterr().err


def test_other_data_are_evaluated_whole(colours, folder, tmp_path, capsys):
    shutil.copytree(folder / "colours", tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "sky")
    shutil.copytree(folder / "colours", tmp_path / "split" / "train")
    (tmp_path / "split" / "val" / "sky").mkdir(parents=True)
    shutil.copy(folder / "colours" / "sky" / "1.png", tmp_path / "split" / "val" / "sky")
    capsys.readouterr()
    for name, number in (("other", 20), ("split", 1)):
        assert call("evaluate", colours, "--data", tmp_path / name) == 0
        assert f" right of {number} images\n" in capsys.readouterr().out
    assert call("evaluate", colours, "--data", folder / "colours") == 0  # those of the training
    assert " right of 8 images\n" in capsys.readouterr().out


def test_data_that_have_changed_are_not_evaluated(colours, folder, tmp_path, capsys):
    changed, added = shutil.copytree(colours, tmp_path / "run"), folder / "colours" / "sky" / "more.png"
    shutil.copy(folder / "colours" / "sky" / "1.png", added)
    try:
        assert call("evaluate", changed) == 2
        assert call("trace", changed, "--output", tmp_path / "page.html") == 2
    finally:
        added.unlink()
    said = f"the data in {folder / 'colours'} are not those that the run was trained on, so it is unknown which of them"
    for command, line in zip(("evaluate", "trace"), capsys.readouterr().err.splitlines(), strict=True):
        assert line.startswith(f"fnnet: {command}: {said}")


def test_the_images_of_a_folder_are_predicted_as_they_were_read(colours, folder, tmp_path, capsys):
    red, sky = folder / "colours" / "red" / "1.png", folder / "colours" / "sky" / "1.png"
    (tmp_path / "broken.png").write_text("no image")
    shown = tmp_path / "seen"
    assert (
        call("predict", colours, red, tmp_path / "broken.png", sky, tmp_path / "none.png", "--save-input", shown) == 2
    )
    printed = capsys.readouterr()
    first, second = printed.out.splitlines()
    assert first.startswith(f"{red}: red (")
    assert second.startswith(f"{sky}: sky (")
    broken, none = printed.err.splitlines()
    assert call("predict", colours, folder) == 2
    assert f"{folder} is a directory; name its files, such as {folder}/*.png" in capsys.readouterr().err
    assert broken.startswith(f"fnnet: read_photograph: {tmp_path / 'broken.png'} cannot be read as a PNG or JPEG image")
    assert none == f"fnnet: {tmp_path / 'none.png'}: No such file or directory"
    assert sorted(path.name for path in shown.iterdir()) == ["1-1.png", "1-3.png"]
    assert call("predict", colours, red, "--save-input", tmp_path / "one.png") == 0
    with Image.open(tmp_path / "one.png") as seen, Image.open(red) as given:
        assert seen.size == (8 * 35, 6 * 35)
        np.testing.assert_array_equal(np.asarray(seen)[::35, ::35], np.asarray(given))


def test_an_exported_network_reads_images_alike(colours, folder, tmp_path, capsys):
    assert call("export", colours, "--output", tmp_path / "network.fnnet", "--platforms", "cpu") == 0
    capsys.readouterr()
    for network in (colours, tmp_path / "network.fnnet"):
        assert call("predict", network, folder / "colours" / "red" / "2.png") == 0
    ours, exported = capsys.readouterr().out.splitlines()
    assert ours == exported


def test_weight_decay_spares_biases(folder, tmp_path):
    """In the first step the gradients are the same with decay and without it."""
    kernels = []
    for decay in (0, 0.5):
        arguments = ("--net", f"{folder}/mine.py:small", "--data", folder / "colours", "--epochs", 1)
        settings = ("--batch-size", 32, "--optimizer", "sgd", "--weight-decay", decay, "--lr", 0.1)
        assert call("train", *arguments, *settings, "--output", tmp_path / str(decay)) == 0
        kernels.append(runs.load(tmp_path / str(decay)).params["dense_3"])
    plain, decayed = kernels
    assert (np.asarray(plain["bias"]) == decayed["bias"]).all()
    assert (np.abs(decayed["kernel"]) < np.abs(plain["kernel"])).mean() > 0.9


def test_patience_keeps_the_best_epoch(folder, tmp_path, capsys):
    arguments = ("--data", folder / "table.npz", "--net", f"{folder}/mine.py:line", "--optimizer", "sgd", "--seed", 3)
    assert call("train", *arguments, "--epochs", 9, "--patience", 2, "--output", tmp_path / "run") == 0
    printed = capsys.readouterr().out
    assert "at most 9 epochs in batches of 8, until 2 bring no lower held-out loss" in printed
    assert "epoch 1 of 3 had the lowest held-out loss, and its network is kept" in printed
    assert "ended after epoch 3 of 9: no lower held-out loss since epoch 1 (--patience 2)\n" in printed
    assert call("train", *arguments, "--epochs", 1, "--output", tmp_path / "one") == 0
    best, one = (runs.load(tmp_path / name).params["dense_0"] for name in ("run", "one"))
    np.testing.assert_array_equal(best["kernel"], one["kernel"])
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {"curves.png", "confusion.png"}
    assert call("predict", tmp_path / "run", "a.png") == 2
    assert "predict: the network is of arrays of shape (3,), not of images in [0, 1]" in capsys.readouterr().err
    assert call("evaluate", tmp_path / "run", "--data", folder / "colours") == 2
    assert "colours has a class 'red'; the classes are 0, 1" in capsys.readouterr().err
    # The same epochs again train nothing, and say why; more epochs begin a new patience.
    assert call("train", "--resume", tmp_path / "run") == 0
    assert "ended after epoch 3 of 9: no lower held-out loss since epoch 1" in capsys.readouterr().out
    assert call("train", "--resume", tmp_path / "run", "--epochs", 10) == 0
    assert "ended after epoch 5 of 10: no lower held-out loss since epoch 1 (--patience 2)\n" in capsys.readouterr().out


def test_a_run_goes_on_with_its_settings(colours, tmp_path, capsys):
    more = shutil.copytree(colours, tmp_path / "more")
    assert call("train", "--resume", more, "--epochs", 5) == 0
    printed = capsys.readouterr().out
    wanted = (
        "adamw, learning rate 0.02 after 2 steps of warm-up, down to 0 by a linear schedule; weight decay 0.1; "
        "gradients clipped to a norm of 1; 5 epochs in batches of 4\n"
    )
    assert wanted in printed
    assert "the losses are of" not in printed


@pytest.mark.slow
def test_images_are_changed_by_the_key_and_resumed(folder, tmp_path, capsys):
    arguments = ("--data", folder / "colours", "--net", f"{folder}/mine.py:small", "--augment", "shift,flip,crop=0.7")
    settings = ("--schedule", "constant", "--seed", 5)
    for epochs in (1, 2):
        assert call("train", *arguments, *settings, "--epochs", epochs, "--output", tmp_path / str(epochs)) == 0
    assert "images changed by shift=1,flip,crop=0.7; 2 epochs in batches of 4\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "2" / "config.json").read_text())["augment"] == {
        "shift": 1,
        "flip": True,
        "crop": 0.7,
    }
    assert call("train", "--resume", tmp_path / "1", "--epochs", 2) == 0
    one, two = (runs.load(tmp_path / str(epochs)).params["dense_3"]["kernel"] for epochs in (1, 2))
    np.testing.assert_array_equal(one, two)
    plain = ("--data", folder / "colours", "--net", f"{folder}/mine.py:small", "--epochs", 2, *settings)
    assert call("train", *plain, "--output", tmp_path / "plain") == 0
    assert (np.asarray(runs.load(tmp_path / "plain").params["dense_3"]["kernel"]) != two).mean() > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"augment": {"shift": -1}}, "config.json has no augment, or in another form"),
        ({"schedule": "cos"}, "config.json has no schedule, or in another form"),
        ({"warmup": -1, "clip": "1"}, "has no warmup, clip, or in another form"),
        ({"net": "nowhere.py:small"}, "there is no file nowhere.py"),
    ],
)
def test_settings_of_another_form_are_refused(colours, tmp_path, capsys, change, message):
    changed = shutil.copytree(colours, tmp_path / "changed")
    config = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | change))
    assert call("train", "--resume", changed) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_devices_on_a_processor_need_no_variables(tmp_path, users_environment):
    bare = {name: value for name, value in users_environment.items() if name not in ("XLA_FLAGS", "PJRT_NPROC")}
    arguments = "train", "--net", "mlp", "--epochs", "1", "--devices", "2", "--output", str(tmp_path / "run")
    done = subprocess.run([sys.executable, "-m", "fnnet", *arguments], env=bare, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "on 2 devices of 1 processes" in done.stdout


@pytest.mark.parametrize(
    ("images", "reading"),
    [
        (lambda ones: 0 * ones, "grey"),
        (lambda ones: 0.8 * ones, "photograph"),
        (lambda ones: np.repeat(0.5 * ones, 3, -1), "photograph"),
        (lambda ones: 255 * ones, None),
        (lambda ones: -0.5 * ones, None),
        (lambda ones: ones[..., 0, 0], None),
    ],
)
def test_how_images_of_arrays_are_read(images, reading):
    xs, ys = images(np.ones((4, 8, 8, 1), np.float32)), np.zeros(4, np.int32)
    found = subjects.Examples((xs, ys), (xs, ys), ("cat", "dog"), "pets")
    assert subjects.IMAGES.reading("pets.npz", found) == reading


def test_large_numbers_are_named_where_the_loss_is_not_finite(folder, tmp_path, capsys):
    labels = np.arange(64) % 2
    np.savez(tmp_path / "large.npz", x=1e30 * (1 + np.random.default_rng(0).random((64, 3))), y=labels)
    arguments = ("--data", tmp_path / "large.npz", "--net", f"{folder}/mine.py:line", "--optimizer", "sgd")
    assert call("train", *arguments, "--epochs", 3, "--output", tmp_path / "run") == 2
    assert "; the data have numbers up to 2e+30, and should be scaled to about 1\n" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
