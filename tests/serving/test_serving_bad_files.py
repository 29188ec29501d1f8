"""Files that are no exported network, or that somebody has changed: one line each."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export

import fnnet
from fnnet.cli.command import main
from fnnet.serving import exported, load

SHAPE = (6, 6, 2)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    net = fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(3))
    where = tmp_path_factory.mktemp("serving") / "network.fnnet"
    return fnnet.serving.export(net, net.init(jax.random.key(0), SHAPE), SHAPE, where, classes=("one", "two", "three"))


def parts(file):
    line, program = file.read_bytes().removeprefix(exported.FIRST_LINE).split(b"\n", 1)
    return json.loads(line), program


def joined(manifest, program):
    """With the checksum that this program has, as somebody would write it who means harm."""
    manifest = manifest | {"bytes": len(program), "sha256": hashlib.sha256(program).hexdigest()}
    return exported.FIRST_LINE + json.dumps(manifest).encode() + b"\n" + program


def other_program(function, *args, platforms=("cpu", "cuda", "rocm", "tpu")):
    return bytes(jax_export.export(jax.jit(function), platforms=platforms)(*args).serialize())


def calling_back():
    """A program that calls Python in the process that made it."""

    def run(xs):
        return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct((2, 3), np.float32), xs[:, 0, 0, :1] * jnp.ones(3))

    return jax.jit(run).trace(jax.ShapeDtypeStruct((2, *SHAPE), np.float32)).lower().as_text()


def bad_files(good):
    manifest, program = parts(good)
    whole = good.read_bytes()
    x = jax.ShapeDtypeStruct((2, *SHAPE), np.float32)
    two = other_program(lambda x, y: x + y, x, x)
    flat = other_program(lambda x: x + 1, jax.ShapeDtypeStruct((2, 72), np.float32))
    return {
        "empty": (b"", "must begin with"),
        "text": (b"hello\n" * 99, "must begin with"),
        "another format": (b"fnnet export 2\n" + whole, "must begin with"),
        "cut in the manifest": (whole[:100], "is damaged"),
        "cut in the program": (whole[:-7], "is damaged"),
        "longer": (whole + b"x", "is damaged"),
        "a bit": (whole[:-1] + bytes([whole[-1] ^ 1]), "is damaged"),
        "no JSON": (exported.FIRST_LINE + b"{\n", "is damaged"),
        "deep JSON": (exported.FIRST_LINE + b"[" * 100_000 + b"\n", "is damaged"),
        "an endless line": (exported.FIRST_LINE + b" " * 2_000_000, "is damaged"),
        "a list": (exported.FIRST_LINE + b"[]\n", "its manifest must have"),
        "another type": (joined(manifest | {"shape": "6"}, program), "its manifest must have"),
        "a huge shape": (joined(manifest | {"shape": [10**9, 10**9]}, program), "that no example has"),
        "no number": (joined(manifest | {"shape": [6, True, 2]}, program), "that no example has"),
        "escapes": (joined(manifest | {"classes": ["\x1b[2J"]}, program), "cannot be printed"),
        "a dtype": (joined(manifest | {"dtype": "object"}, program), "has a dtype"),
        "another shape": (joined(manifest | {"shape": [6, 6, 1]}, program), "is not a function of one mini-batch"),
        "other platforms": (joined(manifest | {"platforms": ["cpu"]}, program), "for other platforms"),
        "garbage": (joined(manifest, bytes(range(256)) * 20), "cannot read its program"),
        "no program": (joined(manifest, b""), "cannot read its program"),
        "half a program": (joined(manifest, program[: len(program) // 2]), "cannot read its program"),
        "two arguments": (joined(manifest, two), "is not a function of one mini-batch"),
        "flat": (joined(manifest, flat), "is not a function of one mini-batch"),
    }


def test_bad_files_are_one_line_each(file, tmp_path, capfd):
    for name, (content, message) in bad_files(file).items():
        bad = tmp_path / name.replace(" ", "-")
        bad.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load(bad)
        capfd.readouterr()  # MLIR itself complains there
        assert main(["predict", str(bad), "none.png"]) == 2, name
        ours = [line for line in capfd.readouterr().err.splitlines() if line.startswith("fnnet: ")]
        assert len(ours) == 1, name
        assert message in ours[0]


def test_what_is_no_plain_file(tmp_path, capsys):
    with pytest.raises(ValueError, match="is not a plain file"):
        load("/dev/zero")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")
    assert main(["predict", str(tmp_path / "nothing"), "none.png"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not a directory" in line


def test_calls_of_other_libraries_are_refused(file, monkeypatch):
    _, program = parts(file)
    read = jax_export.deserialize(bytearray(program))

    class Calling:
        in_avals, out_avals, platforms, call = read.in_avals, read.out_avals, read.platforms, read.call

        def mlir_module(self):
            return calling_back()

    monkeypatch.setattr(jax_export, "deserialize", lambda data: Calling())
    with pytest.raises(ValueError, match=r"its program calls xla\w*callback\w*, which is no part of a network"):
        load(file)
