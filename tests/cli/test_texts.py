"""The command line on texts: a training on a small file, and what can be done with its run."""

import json
import math

import jax
import numpy as np
import pytest

import fnnet
from fnnet.cli import presets, runs
from fnnet.cli.command import main

TEXT = b"the cat sat on the mat. " * 300


pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / "cat.txt"
    file.write_bytes(TEXT)
    return file


@pytest.fixture(scope="module")
def run(file):
    """A run directory of a recurrent network."""
    arguments = ("--net", "lstm", "--data", file, "--epochs", 3, "--batch-size", 4, "--output", file.parent / "run")
    assert call("train", *arguments) == 0
    return file.parent / "run"


def call(*arguments):
    return main([str(argument) for argument in arguments])


def test_a_run_directory(run, file):
    assert {path.name for path in run.iterdir()} == {"checkpoints", "config.json", "history.jsonl", "curves.png"}
    config = json.loads((run / "config.json").read_text())
    assert (config["data"], config["shape"], len(config["classes"])) == (str(file), [256], 256)
    assert [config["classes"][byte] for byte in b"a\n\xff"] == ["'a'", r"'\n'", r"'\xff'"]


def test_evaluate_says_bits_per_byte(run, capsys):
    last = json.loads((run / "history.jsonl").read_text().splitlines()[-1])
    loss, accuracy = last["validation_loss"], last["validation_accuracy"]
    assert call("evaluate", run) == 0
    wanted = (
        f"loss {loss:.4f}, {loss / math.log(2):.3f} bits per byte (perplexity {math.exp(loss):.2f}), "
        f"{100 * accuracy:.2f} % of the bytes right of 2 windows\n"
    )
    assert capsys.readouterr().out == wanted
    trained = runs.load(run)
    split = round(0.9 * len(TEXT))
    held_out = fnnet.data.windows(TEXT[split:], 256)
    logits = jax.vmap(trained.net.apply, (None, 0))(trained.params, np.asarray(held_out[0]))
    assert fnnet.softmax_cross_entropy(logits, np.asarray(held_out[1])).mean() == pytest.approx(loss, rel=1e-4)


def test_it_classifies_no_images(run, file, capsys):
    assert call("predict", run, "a.png") == 2
    assert (
        capsys.readouterr().err
        == "fnnet: predict: the network is of a text, not of images; fnnet sample RUN draws from it\n"
    )


@pytest.mark.slow
def test_it_is_traced(run, capsys):
    assert call("trace", run) == 0
    assert "lstm_1" in capsys.readouterr().out
    assert call("trace", run, "--example", 2) == 2
    assert "--example 2 must be less than 2, the number of held-out windows" in capsys.readouterr().err


def test_it_is_exported(run, file):
    assert call("export", run, "--output", file.parent / "network.fnnet", "--platforms", "cpu") == 0
    network, trained = fnnet.serving.load(file.parent / "network.fnnet"), runs.load(run)
    xs = np.frombuffer(TEXT[:512], np.uint8).reshape(2, 256)
    assert (network.dtype, network.shape) == (np.int32, (256,))
    np.testing.assert_allclose(network(xs), trained(xs), rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="Exported: xs of dtype float32 must be integers"):
        network(xs.astype(np.float32))


def test_it_is_sampled(run, capsys):
    arguments = ("sample", run, "--prompt", "the \u00e9", "--length", 30)
    assert call(*arguments, "--temperature", 0.0) == 0
    trained = runs.load(run)
    expected = fnnet.generate(trained.net, trained.params, list("the \u00e9".encode()), 30, temperature=0)
    first = capsys.readouterr().out
    assert first == "the \u00e9" + bytes(np.uint8(expected)).decode(errors="replace") + "\n"
    drawn = []
    for seed in (1, 1, 2):
        assert call(*arguments, "--seed", seed, "--top-k", 50) == 0
        drawn.append(capsys.readouterr().out)
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.slow
def test_in_bf16_on_two_devices(file, capsys):
    arguments = ("--data", file, "--net", "lstm", "--batch-size", 4, "--compute-dtype", "bfloat16", "--devices", 2)
    assert call("train", *arguments, "--epochs", 1, "--output", file.parent / "two") == 0
    assert json.loads((file.parent / "two" / "history.jsonl").read_text())["loss"] < math.log(256)
    assert "cat: 25 windows to train on, 2 held out; lstm: 410880 parameters" in capsys.readouterr().out


def test_a_file_is_for_gpt(file, monkeypatch):
    from fnnet.cli.commands import train

    monkeypatch.chdir(file.parent)
    (file.parent / "digits").write_text("a file of that name")
    configs = []
    monkeypatch.setattr(train.runs, "train", lambda config, *_, **__: configs.append(config))
    for arguments in (("--data", file), ("--data", "topics"), ("--net", "lstm"), ()):
        assert call("train", *arguments) == 0
    found = [(config["data"], config["net"]) for config in configs]
    assert found == [(str(file), "gpt"), ("topics", "gpt"), ("topics", "lstm"), ("digits", "lenet")]


@pytest.mark.parametrize("name", presets.TEXT_NETS)
def test_a_networks_last_layer_says_a_number_for_each_byte(name):
    net = presets.NETS[name](256, (256,))
    params = jax.eval_shape(lambda key: net.init(key, (256,)), jax.random.key(0))
    assert jax.eval_shape(net.apply, params, jax.ShapeDtypeStruct((256,), np.int32)).shape == (256, 256)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --net gpt --data .", "Is a directory"),
        ("train --net gpt --data nowhere", "nowhere: No such file"),
        ("train --net lenet --data topics", "source 'topics' must be \"digits\" or a directory"),
        ("sample nowhere", "run nowhere is not a directory"),
        ("sample nowhere --temperature -1", "'-1' must be a number of 0 or more"),
        ("train --data short", "text of 63 tokens must have more than the 256 of a window"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_bytes(b"a" * 70)
    assert call(*arguments.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("fnnet: ")
    assert error.count("\n") == 1
    assert message in error
