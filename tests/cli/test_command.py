"""The command line: a short training on the digits, what it leaves, and one line for every error."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fnnet import data
from fnnet.cli import presets, runs, signals
from fnnet.cli.command import main
from fnnet.cli.commands import train
from fnnet.cli.runs import directory
from fnnet.cli.runs.checkpoints import RunCheckpoints
from fnnet.cli.runs.compiling import Compiling
from fnnet.training import checkpoint, lock, resumption
from fnnet.training.state import State, nothing_yet

EPOCHS = 3
PICTURES = {"curves.png", "confusion.png", "wrong.png", "kernels.png"}


pytestmark = pytest.mark.usefixtures("standard_promotion")


def call(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def default_interrupts():
    """Ctrl-C raises KeyboardInterrupt, as in a user's shell; a shell's background jobs are started without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory: the default network and data, few epochs."""
    directory = tmp_path_factory.mktemp("command") / "run"
    assert call("train", "--epochs", EPOCHS, "--output", directory) == 0
    return directory


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What a short run of the plainest network is called with, and its directory."""
    directory = tmp_path_factory.mktemp("command") / "plain"
    arguments = ("--net", "mlp", "--optimizer", "sgd", "--epochs", 1)
    assert call("train", *arguments, "--seed", 1, "--accumulate", 1, "--output", directory) == 0
    return arguments, directory


@pytest.fixture(scope="module")
def digit():
    """A held-out digit in bytes, and its label."""
    xs, ys = data.digits().test
    return np.uint8(xs[0, ..., 0] * 255), int(ys[0])


def hashes(run):
    """The arrays of its newest checkpoint, as the manifest has them."""
    newest = resumption.found_in(run / "checkpoints")[0]
    return newest.name, json.loads((newest / "manifest.json").read_text())["arrays"]


def save(pixels, file, side=80):
    Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST).save(file)
    return file


def test_a_run_directory_is_complete(run):
    assert {path.name for path in run.iterdir()} == PICTURES | {"checkpoints", "config.json", "history.jsonl"}
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert history[-1]["validation_accuracy"] > 0.9
    (last,) = (run / "checkpoints").iterdir()
    trees, config = checkpoint.load(last)
    training = config.pop("training")
    assert training["history"] == history
    assert config == json.loads((run / "config.json").read_text())
    assert (config["net"], config["shape"], config["epochs"], config["seed"]) == ("lenet", [8, 8, 1], EPOCHS, 0)
    assert trees.keys() == {"params", "optimizer", "key", "epoch", "step", "tally"}
    for name in PICTURES:
        with Image.open(run / name) as picture:
            picture.load()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(run, tmp_path, capsys):
    cache = "--compilation-cache", tmp_path / "cache"
    assert call("train", "--epochs", EPOCHS, "--seed", 0, "--output", tmp_path / "again", *cache) == 0
    assert list((tmp_path / "cache").glob("jit_run-*"))
    printed = capsys.readouterr().out
    assert printed.count("epoch ") == EPOCHS
    assert re.search(r"\ncompiling\ncompiled in \d+\.\d s\nepoch 1/3 ", printed)
    assert printed.count("compil") == 2
    assert f"run: {tmp_path / 'again'}" in printed
    assert hashes(run) == hashes(tmp_path / "again")


def test_where_a_progress_bar_says_compiling_no_line_does(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    compiling = Compiling()
    compiling.begin()
    compiling.end()
    compiling.end()
    assert capsys.readouterr().out == "compiled in 0.0 s\n"


def test_a_cache_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").touch()
    message = f"train: --compilation-cache (='{tmp_path}/file') must be a directory: File exists"
    complains(capsys, "train", "--output", tmp_path / "run", "--compilation-cache", tmp_path / "file", of=message)


@pytest.mark.slow
def test_another_seed_gives_other_bits(plain, tmp_path):
    arguments, directory = plain
    assert call("train", *arguments, "--seed", 2, "--output", tmp_path / "2") == 0
    one, two = (runs.load(run).params["dense_1"]["kernel"] for run in (directory, tmp_path / "2"))
    assert (one != two).mean() > 0.9


@pytest.mark.slow
def test_a_run_in_chunks_learns_the_same(plain, tmp_path):
    arguments, directory = plain
    assert call("train", *arguments, "--seed", 1, "--accumulate", 4, "--output", tmp_path / "4") == 0
    whole, chunked = (runs.load(run) for run in (directory, tmp_path / "4"))
    assert (whole.config["accumulate"], chunked.config["accumulate"]) == (1, 4)
    np.testing.assert_allclose(
        chunked.params["dense_1"]["kernel"], whole.params["dense_1"]["kernel"], rtol=1e-3, atol=1e-5
    )


def test_evaluate_gives_the_figures_of_the_training(run, capsys):
    last = json.loads((run / "history.jsonl").read_text().splitlines()[-1])
    assert call("evaluate", run) == 0
    wanted = f"loss {last['validation_loss']:.4f}, {100 * last['validation_accuracy']:.2f} % right of 360 images\n"
    assert capsys.readouterr().out == wanted


def test_predict_names_the_class_and_three_probabilities(run, digit, tmp_path, capsys):
    pixels, label = digit
    files = [save(pixels, tmp_path / "dark.png"), save(255 - pixels, tmp_path / "light.png")]
    assert call("predict", run, *files) == 0
    dark, light = capsys.readouterr().out.splitlines()
    assert dark.startswith(f"{files[0]}: {label} (")
    assert dark.count(" %)") == 3
    assert dark.removeprefix(str(files[0])) == light.removeprefix(str(files[1]))
    answers = runs.classify(runs.load(run), str(files[0])).classes
    assert np.isclose(sum(chance for _, chance in answers), 1, atol=1e-5)
    assert [chance for _, chance in answers] == sorted((chance for _, chance in answers), reverse=True)


@pytest.mark.parametrize("kind", ["text", "truncated", "huge", "huger", "none"])
def test_a_broken_image_is_one_line(kind, run, digit, tmp_path, capsys):
    file = tmp_path / "a.png"
    if kind == "text":
        file.write_text("no image")
    elif kind == "truncated":
        file.write_bytes(save(digit[0], file).read_bytes()[:120])
    elif kind != "none":
        Image.new("1", (8000, 8000) if kind == "huge" else (12000, 12000)).save(file)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        complains(capsys, "predict", run, file, of=str(file))
    assert not warned


def complains(capsys, *arguments, of):
    """Exit status 2, and one line on standard error that says `of`."""
    assert call(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("fnnet: ")
    assert captured.err.count("\n") == 1
    assert of in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "required: COMMAND"),
        ("train --net lenett", "there is no network 'lenett'; did you mean lenet?"),
        ("train --net nothing", "there are lenet, cnn, mlp"),
        ("train --optimizer adan", "did you mean adam?"),
        ("train --nett lenet", "unknown argument --nett; did you mean --net?"),
        ("train --epochs 0", "--epochs: '0' must be a whole number of 1 or more"),
        ("train --batch-size x", "--batch-size: 'x' must be a whole number"),
        ("train --seed -1", "'-1' must be a whole number from 0 to 4294967295"),
        ("train --learning-rate nan", "'nan' must be a positive number"),
        ("train --batch-size 2000", "at most the number of images, 1437"),
        ("train --accumulate 5", "accumulate 5 must divide batch size 32"),
        ("train --data nowhere", "'nowhere' must be"),
        ("train --data mnist", "fnnet.data.fetch('mnist', directory)"),
        ("train --save-every -1", "'-1' must be a number of 0 or more"),
        ("train --resume nowhere", "run nowhere is not a directory"),
        ("train --resume nowhere --seed 0 --epochs 3", "leave out --seed"),
        ("evaluate", "required: RUN"),
        ("evaluate nowhere", "run nowhere is not a directory"),
        ("predict nowhere a.png", "run nowhere is not a directory"),
        ("evaluate a b", "unknown argument b"),
        ("export nowhere --format onx", "there is no format 'onx'; did you mean onnx?"),
        ("export nowhere --format onnx --platforms cpu", "the same for all platforms: leave out --platforms"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    complains(capsys, *arguments.split(), of=message)
    assert list(tmp_path.iterdir()) == []


def test_several_processes_are_started_with_the_same_settings(monkeypatch):
    started = []
    monkeypatch.setattr(train, "launch", lambda *of: started.append(of) or 3)
    assert call("train", "--data", "a b", "--learning-rate", 1e-3, "--processes=2", "--allow-nonfinite") == 3
    settings = ["--data=a b", "--allow-nonfinite", "--learning-rate=0.001", "--cluster"]
    assert started == [(2, [sys.executable, "-m", "fnnet", "train", *settings])]


def test_an_existing_run_is_left_alone(run, capsys):
    before = (run / "history.jsonl").read_text()
    complains(capsys, "train", "--epochs", 1, "--output", run, of=f"{run}: File exists")
    assert (run / "history.jsonl").read_text() == before


def test_a_run_without_a_whole_checkpoint_is_refused(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    complains(capsys, "evaluate", tmp_path / "empty", of="checkpoints has no whole checkpoint")
    saved = resumption.newest(run / "checkpoints", pytest.fail)
    trees, config = {"params": saved.trees["params"]}, saved.config
    changes = (
        ({"net": "lenett"}, "no configuration"),
        ({"shape": None}, "no configuration"),
        ({"net": "mlp"}, "not fit"),
    )
    for number, (change, message) in enumerate(changes):
        changed = tmp_path / str(number)
        changed.mkdir()
        checkpoint.save(changed / "checkpoint", trees, config=config | change)
        complains(capsys, "evaluate", changed, of=message)


def test_a_finished_run_is_drawn_again_and_a_damaged_configuration_found_in_the_checkpoint(run, tmp_path, capsys):
    again = shutil.copytree(run, tmp_path / "again")
    (again / "config.json").write_text("{")
    (again / "curves.png").unlink()
    (again / "history.jsonl").write_text("cut off in the mid")
    assert call("train", "--resume", again, "--compilation-cache", tmp_path / "cache") == 0
    said = capsys.readouterr()
    assert "going on after epoch 3\n" in said.out
    assert "compil" not in said.out  # no step is left
    assert "has the configuration, too" in said.err
    assert hashes(again) == hashes(run)
    for name in ("config.json", "history.jsonl"):
        assert (again / name).read_text() == (run / name).read_text()
    assert (again / "curves.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "x"}, "config.json has no seed, or in another form"),
        ({"epochs": True, "net": ["mlp"]}, "has no epochs, net, or"),
        ({"data_sha256": "0"}, "the data in digits are not those that"),
        ({"learning_rate": 0.5}, "was trained with another learning_rate"),
    ],
)
def test_a_run_goes_on_with_its_own_settings_alone(run, tmp_path, capsys, change, message):
    changed = shutil.copytree(run, tmp_path / "changed")
    config = json.loads((run / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(config | change))
    complains(capsys, "train", "--resume", changed, of=message)
    with lock.held(changed):
        complains(capsys, "train", "--resume", changed, of="is in use by another training")


def test_a_run_of_the_first_layout_is_read_but_not_gone_on_with(run, tmp_path, capsys):
    saved = resumption.newest(run / "checkpoints", pytest.fail)
    (tmp_path / "old").mkdir()
    checkpoint.save(tmp_path / "old" / "checkpoint", {"params": saved.trees["params"]}, config=saved.config)
    assert call("evaluate", run) == call("evaluate", tmp_path / "old") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    complains(capsys, "train", "--resume", tmp_path / "old", of="has no training state, only parameters")


def test_data_of_another_size_are_refused(run, tmp_path, capsys):
    directory = idx_files(tmp_path / "idx", size=12)
    complains(capsys, "evaluate", run, "--data", directory, of="(12, 12, 1) must have the shape (8, 8, 1)")


def idx_files(directory, size):
    """A data set of MNIST's format: 64 random images for training and 20 for testing."""
    rng = np.random.default_rng(0)
    directory.mkdir()
    for part, number in (("train", 64), ("t10k", 20)):
        images = rng.integers(0, 256, (number, size, size), np.uint8)
        header = b"\0\0\x08\x03" + np.array(images.shape, ">i4").tobytes()
        (directory / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = np.arange(number, dtype=np.uint8) % 3
        (directory / f"{part}-labels-idx1-ubyte").write_bytes(
            b"\0\0\x08\x01" + np.array([number], ">i4").tobytes() + labels.tobytes()
        )
    return directory


def test_a_directory_of_idx_files_and_the_default_place(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    idx_files(tmp_path / "idx", size=12)
    assert (
        call("train", "--data", "idx", "--net", "mlp", "--epochs", 2, "--batch-size", 16, "--optimizer", "momentum")
        == 0
    )
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("idx-mlp-")
    assert runs.load(run).config["classes"] == ["0", "1", "2"]
    monkeypatch.chdir(run)
    capsys.readouterr()
    assert call("evaluate", run) == 0  # the data are found from any directory
    assert "of 20 images" in capsys.readouterr().out


@pytest.mark.parametrize("size", [8, 16, 28])
@pytest.mark.parametrize("name", ["lenet", "cnn", "mlp"])
def test_networks_adapt_to_the_images(name, size):
    net = presets.NETS[name](7, (size, size, 1))
    params = jax.eval_shape(lambda key: net.init(key, (size, size, 1)), jax.random.key(0))
    x = jax.ShapeDtypeStruct((size, size, 1), np.float32)
    assert jax.eval_shape(net.apply, params, x).shape == (7,)
    if (name, size) == ("mlp", 28):
        assert params["dense_1"]["kernel"].shape == (784, 512)


def test_a_loss_that_explodes_is_one_line_with_advice_and_leaves_no_directory(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("--net", "mlp", "--optimizer", "sgd", "--learning-rate", 1e30, "--epochs", 2)
    advice = "; --learning-rate 1e+29, a tenth, usually helps, or --clip 1"
    complains(capsys, "train", *arguments, of=advice)
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_some_epochs_keeps_its_history_when_it_fails(tmp_path):
    for name in ("untrained", "trained"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "untrained" / "history.jsonl").write_text("")
    (tmp_path / "trained" / "history.jsonl").write_text('{"epoch": 1}\n')
    for name in ("untrained", "trained"):
        directory.remove_untrained(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["trained"]


def test_a_finished_run_goes_on_to_more_epochs(plain, tmp_path, capsys):
    arguments, one = plain
    more = shutil.copytree(one, tmp_path / "more")
    assert call("train", "--resume", more, "--epochs", 3) == 0
    assert "3 epochs in place of 1: the same as 3 from the start\n" in capsys.readouterr().out
    assert call("train", *arguments, "--epochs", 3, "--seed", 1, "--output", tmp_path / "three") == 0
    assert hashes(more) == hashes(tmp_path / "three")
    assert (more / "config.json").read_text() == (tmp_path / "three" / "config.json").read_text()
    complains(capsys, "train", "--resume", more, "--epochs", 2, of="has 3 epochs already; --epochs 2 must be 3 or more")
    assert json.loads((more / "config.json").read_text())["epochs"] == 3


def test_a_run_does_not_end_before_its_checkpoint(tmp_path, monkeypatch):
    """Of a checkpoint in the middle of epoch 3."""
    state = State({}, {}, jax.random.key(0), np.int32(2), np.int32(9))  # type: ignore[arg-type]
    moment = resumption.Moment(state, nothing_yet()._replace(steps=np.int32(3)), [{}, {}])  # type: ignore[arg-type]
    monkeypatch.setattr(resumption.Checkpoints, "resume", lambda *_: moment)
    saves = RunCheckpoints(tmp_path, {"net": "mlp", "epochs": 2}, 30.0, signals.StopRequest())
    with pytest.raises(ValueError, match=r"stopped in epoch 3; --epochs 2 must be 3 or more"):
        saves.resume(state)
    assert not list(tmp_path.iterdir())


def test_a_schedule_that_ends_is_told_of(run, tmp_path, capsys):
    more = shutil.copytree(run, tmp_path / "more")
    assert call("train", "--resume", more, "--epochs", EPOCHS + 1) == 0
    printed = capsys.readouterr().out
    assert "4 epochs in place of 3: the cosine schedule is from here on that of 4, so the result is not" in printed
    assert (more / "history.jsonl").read_text().startswith((run / "history.jsonl").read_text())


def test_the_end_says_what_the_loss_is_of_and_what_comes_next(run, tmp_path, capsys):
    again = shutil.copytree(run, tmp_path / "again")
    assert call("train", "--resume", again) == 0
    printed = capsys.readouterr().out
    settings = "adamw, learning rate 0.002, down to 0 by a cosine schedule; weight decay 0.01; labels smoothed by 0.1; "
    assert f"{settings}3 epochs in batches of 32\n" in printed
    assert (
        "the losses are of labels smoothed by 0.1: none is below 0.500 (--label-smoothing 0 trains without)" in printed
    )
    *_, last = printed.splitlines()
    commands = ["evaluate {}", "predict {} IMAGE.png", "trace {}", "train --resume {} --epochs 6"]
    assert last == "next: " + "; ".join(f"fnnet {command.format(again)}" for command in commands)


@pytest.mark.usefixtures("default_interrupts")
def test_ctrl_c_is_one_line_and_the_history_stays(tmp_path, capsys):
    history = tmp_path / "run" / "history.jsonl"

    def interrupt():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if history.exists() and history.read_text().count("\n") >= 2:
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert call("train", "--net", "mlp", "--epochs", 3000, "--output", tmp_path / "run") == 130
    thread.join()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "fnnet: SIGINT: saving and leaving; once more: leaving at once"
    assert said[1].startswith("fnnet: SIGINT: stopped in epoch ")
    assert said[1].endswith(f"has it; fnnet train --resume {tmp_path / 'run'} goes on from there")
    assert [json.loads(line)["epoch"] for line in history.read_text().splitlines()][:2] == [1, 2]


def test_help_of_the_module_is_quick_and_says_what_predict_inverts(users_environment):
    began = time.perf_counter()
    show = "import sys, fnnet.cli.command; fnnet.cli.command._parser(); print([m for m in sys.modules if m in HEAVY])"
    heavy = "HEAVY = {'matplotlib', 'sklearn', 'optax', 'safetensors', 'PIL', 'tqdm'}"
    loaded = subprocess.run(
        [sys.executable, "-c", f"{heavy}; {show}"], env=users_environment, capture_output=True, text=True
    )
    assert (loaded.stdout, loaded.stderr) == ("[]\n", "")
    shown = subprocess.run(
        [sys.executable, "-m", "fnnet", "predict", "--help"], env=users_environment, capture_output=True, text=True
    )
    assert shown.returncode == 0
    assert "inverted" in shown.stdout
    assert time.perf_counter() - began < 30


def test_an_onnx_model_needs_its_package(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    file = tmp_path / "network.onnx"
    complains(capsys, "export", run, "--format", "onnx", "--output", file, of='pip install "fnnet[onnx]"')
    assert not file.exists()


def test_trace_writes_a_page(run, tmp_path, capsys):
    assert call("trace", run, "--example", 3, "--since", run, "--output", tmp_path / "page.html") == 0
    printed = capsys.readouterr().out
    assert "of one example" in printed
    assert "first problem now" in printed or "no problem now" in printed
    assert f"page: {tmp_path / 'page.html'}" in printed
    assert "held-out image 3" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_trace_explains_and_follows_entries(run, tmp_path, capsys):
    entries = "conv_0.kernel[0,0, 0,1]", "conv_0.y[3,-1,2,0]", "loss.loss[3]"
    given = [argument for entry in entries for argument in ("--entry", entry)]
    assert call("trace", run, "--output", tmp_path / "page.html", *given) == 0
    printed = capsys.readouterr().out
    assert "update / weight" in printed
    assert "updates by adamw at the learning rate 0.002, the highest of the training" in printed
    assert printed.count("followed to the loss") == 3
    assert "conv_0: kernel_bar[0, 0, 0, 1] = " in printed
    assert "conv_0: y[3, 7, 2, 0] = " in printed
    assert "  +1 at loss[3]" in printed


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("conv_9.kernel[0]", "there is no layer conv_9; there are conv_0, relu_1,"),
        (
            "conv_0.weights[0]",
            "conv_0 has no weights; it has x (8, 8, 1), bias (16,), kernel (3, 3, 1, 16), y (8, 8, 16)",
        ),
        ("conv_0.kernel[1,1]", "--entry conv_0.kernel[1,1]: kernel has the shape (3, 3, 1, 16)"),
        ("conv_0.kernel[a]", "must be a layer, its array and an index: conv_0.kernel[0,0,0,1]"),
    ],
)
def test_trace_answers_what_there_is(run, entry, words, capsys):
    complains(capsys, "trace", run, "--example", 0, "--entry", entry, of=words)


def test_the_last_optimizer_is_the_runs(run, plain, tmp_path):
    """Its state is that of the checkpoint; where the schedule has come to 0, it goes on at the highest rate."""
    trained = runs.load(run)
    optimizer, state, _ = runs.last_optimizer(trained)
    saved = checkpoint.load(resumption.found_in(run / "checkpoints")[0])[0]["optimizer"]
    ours = jax.tree.leaves(state)
    assert sorted(map(np.shape, ours)) == sorted(map(np.shape, jax.tree.leaves(saved)))
    assert sum(np.abs(leaf).sum() for leaf in ours) == pytest.approx(
        sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(saved)), rel=1e-6
    )
    zeros = jax.tree.map(jnp.zeros_like, trained.params)
    moved, _ = optimizer.update(zeros, state, trained.params)  # by the momentum and the decay alone
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(moved)) > 1e-4

    _, directory = plain
    rate = runs.last_optimizer(runs.load(directory)).rate
    assert rate == "updates by sgd at the learning rate 0.03, as after 44 steps"
    early = trained._replace(training=trained.training | {"step": np.int32(10), "epoch": np.int32(1)})
    assert "at the learning rate 0.0015, as after 10 steps" in runs.last_optimizer(early).rate
    old = runs.last_optimizer(trained._replace(training={}))
    assert old.state is None


def test_trace_of_no_image(run, capsys):
    assert call("trace", run, "--example", 360) == 2
    assert "--example 360 must be less than 360" in capsys.readouterr().err
