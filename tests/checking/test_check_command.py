"""`python -m fnnet check`: the table, anybody's rule, exit status, and one line for every error."""

import dataclasses
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fnnet
from fnnet.checking import examples
from fnnet.cli.command import main
from fnnet.proofs import own

RULES = """
import functools
import jax, jax.numpy as jnp

def plain(x, k):
    return x @ k

def dense(backward):
    f = jax.custom_vjp(plain)
    f.defvjp(lambda x, k: (plain(x, k), (x, k)), lambda kept, g: backward(*kept, g))
    return f

right = dense(lambda x, k, g: (g @ k.T, x.T @ g))
wrong = dense(lambda x, k, g: (g @ k.T, x.T @ g / x.shape[0]))
pair = (lambda x, k: (plain(x, k), (x, k)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g))
scaled = lambda x, k, *, scale: scale * plain(x, k)
stopped = lambda x, k: plain(jax.lax.stop_gradient(x), k)

@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def power(n, x):
    return x ** n
power.defvjp(lambda n, x: (x ** n, x), lambda n, x, g: (g * n * x ** (n - 1),))

def layer(params, x):
    return right(x, params["kernel"]) + params["bias"]

def chaos(x):
    for _ in range(60):
        x = 3.99 * x * (1 - x)
    return x
rough = jax.custom_vjp(chaos)
rough.defvjp(lambda x: (chaos(x), x), lambda x, g: jax.vjp(chaos, x)[1](g))

def loss(z, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(z), labels[:, None], 1)[:, 0]

def boom(x):
    raise RuntimeError("boom\\nand more")

class inside:
    right = right
"""
PROOFS = """
import jax, jax.numpy as jnp, fnnet
from fnnet.proofs import Configuration, Proof
from rules_of_mine import right, wrong

arrays = lambda generator: {"x": generator.normal(size=(4, 3)), "k": generator.normal(size=(3, 2))}
RIGHT = Proof(right, jnp.matmul, [Configuration(arrays)], parameters=("k",))
WRONG = Proof(wrong, jnp.matmul, [Configuration(arrays, title="a mean")], parameters=("k",))
"""
ARGS = "--arg x=f32[4,3] --arg k=f32[3,2]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder, with modules of names that nothing else has."""
    path = tmp_path_factory.mktemp("rules")
    (path / "rules_of_mine.py").write_text(RULES)
    (path / "proofs_of_mine.py").write_text(PROOFS)
    (path / "broken_of_mine.py").write_text("import no_such_library\n")
    (path / "exits_of_mine.py").write_text("raise SystemExit(3)\n")
    np.save(path / "x.npy", np.ones((4, 3), np.float32))
    np.savez(path / "two.npz", a=1, b=2)
    (path / "text.npy").write_text("no array")
    return path


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [""] + [place for place in sys.path if place != str(folder)])


def call(line):
    return main(re.sub(r"\bmine:", "rules_of_mine:", line).split())


def test_a_table_of_own_rules(capsys, tmp_path):
    assert call(f"check tanh relu --checks SPE --jobs 1 --json {tmp_path}/all.json") == 0
    letters, header, relu, tanh, summary = capsys.readouterr().out.splitlines()
    assert letters == "checks: S structure, P primal, E edge values"
    assert header.split() == ["rule", "verdict", "passed", "s", "at", "kinks", "and", "ties"]
    assert relu.split()[:3] == ["relu", "right", "SPE"]
    assert relu.endswith("z: the slope from the left")
    assert tanh.split()[:3] == ["tanh", "right", "SPE"]
    assert summary.startswith("2 of 2 right; ")
    assert [report["name"] for report in json.loads((tmp_path / "all.json").read_text())] == ["relu", "tanh"]


def test_a_wrong_own_rule_is_told_below_the_table(capsys, monkeypatch):
    def replaced(function):
        monkeypatch.setitem(own(), "tanh", dataclasses.replace(tanh, function=function))

    tanh = own()["tanh"]
    replaced(fnnet.sigmoid)
    assert call("check tanh sigmoid --checks PR --jobs 1") == 1
    printed = capsys.readouterr().out
    assert "1 of 2 right" in printed
    assert "): reference is wrong" in printed
    replaced(lambda z: fnnet.relu(z) ** 0)
    assert call("check tanh --checks E") == 1


STATUS = {
    f"mine:right {ARGS}": (0, "right(x f32[4,3], k f32[3,2]): right"),
    f"mine:inside.right {ARGS}": (0, "): right"),
    f"mine:pair {ARGS}": (0, "): right"),
    f"mine:wrong {ARGS}": (1, "is the reference divided by 4 (the batch size)"),
    f"mine:wrong {ARGS} --waive R=a-mean --waive F=too": (0, "because: a-mean"),
    f"mine:right {ARGS} --reference mine:stopped": (1, "): reference is wrong"),
    f"mine:right {ARGS} --reference mine:plain": (0, "against the given reference"),
    f"mine:scaled {ARGS} --static scale=2": (0, "): right"),
    "mine:rough --arg x=f32[3]<1": (2, "): inconclusive"),
    "mine:power --static n=3 --arg x=f32[4]": (0, "power(x f32[4]): right"),
    "mine:right --arg k=f64[3,2] --arg x=f64[4,3]": (0, "right(x f64[4,3], k f64[3,2]): right"),
    "mine:right --arg x=x.npy --arg k=[[1,2.5],[0,1],[1,1]]": (0, "right(x f32[4,3], k f32[3,2]): right"),
    "mine:layer --arg x=f32[4,3] --arg params.kernel=f32[3,2] --arg params.bias=f32[2]": (0, "params['bias'] f32[2]"),
    "mine:loss --arg z=f32[4,3] --arg labels=i32[4]<3": (0, "loss(z f32[4,3], labels i32[4]): right"),
}


@pytest.mark.parametrize("line", STATUS)
def test_somebodys_rule(line, here, capsys):
    status, text = STATUS[line]
    assert call(f"check {line} --checks SPRF") == status
    printed = capsys.readouterr().out
    assert text in printed


@pytest.mark.parametrize(
    ("target", "status", "rows"),
    [
        ("proofs_of_mine:RIGHT relu", 0, [["relu", "right"], ["plain", "right"]]),
        ("proofs_of_mine", 1, [["plain", "right"], ["plain,", "a", "mean", "wrong"]]),
    ],
)
def test_somebodys_proofs(target, status, rows, here, capsys):
    """Of a `jax.custom_vjp`, whose name is that of its primal."""
    assert call(f"check {target} --checks SR --jobs 1") == status
    printed = capsys.readouterr().out.splitlines()[2 : 2 + len(rows)]
    assert [line.split()[: len(row)] for line, row in zip(printed, rows, strict=True)] == rows


def test_report_and_picture_are_written(here, tmp_path, capsys):
    files = f"--json {tmp_path}/report.json --plot {tmp_path}/wrong.png"
    assert call(f"check mine:wrong {ARGS} --checks SPR --seed 3 {files}") == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["verdict"], report["failures"][0]["argument"]) == ("wrong", "k")
    assert (tmp_path / "wrong.png").stat().st_size > 5000
    assert call(f"check mine:right {ARGS} --checks SPR --plot {tmp_path}/right.png") == 0
    assert "right.png is not written" in capsys.readouterr().out
    assert not (tmp_path / "right.png").exists()


MISTAKES = {
    "convv": "there is no rule 'convv'; did you mean conv?",
    "conv2-d": "did you mean conv?",
    "dense mine:right": "must be alone",
    "conv --arg x=f32[3]": "--arg is for a rule of yours",
    "conv --plot a.png": "--plot is for a rule of yours",
    "mine.proofs": "there is no module mine, neither here nor installed",
    "rules_of_mine.right": "there is no module rules_of_mine.right, neither here nor installed",
    "rules_of_mine": "module rules_of_mine registers no proof; a function of it is rules_of_mine:function",
    "rules_of_mine.py": "must be a module, a colon and a name",
    "mine: ": "must be a module, a colon and a name",
    "rules_of_mine.py:right": "right needs --arg x=...; its arguments are x, k",
    "rules_of_his.py:right": "there is no file rules_of_his.py",
    "./rules_of_mine:right": "must name a module or a .py file; did you mean ./rules_of_mine.py:right?",
    "rules_of_his:right": "there is no module rules_of_his",
    "mine:rigt": "rules_of_mine has no 'rigt'; did you mean right?",
    "broken_of_mine:f": "importing broken_of_mine raises ModuleNotFoundError: No module named 'no_such_library'",
    "exits_of_mine:f": "importing exits_of_mine raises SystemExit: 3",
    "mine:RULES": "rules_of_mine has no 'RULES'",
    "mine:right": "right needs --arg x=...; its arguments are x, k",
    "mine:right --arg x=f32[4,3]": "right needs --arg k=...",
    f"mine:right {ARGS} --arg kk=f32[3]": "--arg kk: right has no such array; did you mean k?",
    f"mine:right {ARGS} --arg x=f32[3]": "--arg x is given twice",
    f"mine:right {ARGS} --arg x.a=f32[3]": "--arg x.a: x is an array already",
    f"mine:right {ARGS} --static stride=2": "--static stride: right has no such argument; there are x, k",
    f"mine:right {ARGS} --static k=2": "k is given by --arg and by --static",
    f"mine:scaled {ARGS}": "scaled needs --static scale=...",
    f"mine:scaled {ARGS} --arg scale=2": "use --static for it",
    f"mine:scaled {ARGS} --static scale": "must be a name, = and a value, such as stride=2",
    "mine:right --arg x=f23[2]": "there is no dtype 'f23'; did you mean f32?",
    "mine:right --arg x=f32[2,a]": "a shape must be whole numbers",
    "mine:right --arg x=f32[2]<-1": "the bound '-1' must be a positive number",
    "mine:right --arg x=bool[2]<1": "bool takes no bound",
    "mine:right --arg x": "must be a name, = and a value, such as x=f32[2,5]",
    "mine:right --arg x=gaussian": "must be one of f32[2,5] (normal numbers",
    "mine:right --arg x=[[1,2],[3]]": "in lists of the same length",
    "mine:right --arg x=no.npy": "no.npy: No such file",
    "mine:right --arg x=text.npy": "text.npy is no file of an array",
    "mine:right --arg x=two.npz": "it must be a .npy file of one",
    "mine:right --arg x=f32[900000,900000,900] --arg k=f32[1]": "Unable to allocate",
    "mine:loss --arg z=f32[4,3] --arg labels=i32[4]": "integers need a bound, such as i32[4]<10",
    "mine:loss --arg z=f32[4,3] --arg labels=u8[4]<300": "must be a whole number of 1 or more within u8",
    "mine:right --arg x=f32[4,3] --arg k=f32[4,2]": "right raises at the arguments x f32[4,3], k f32[4,2]: TypeError",
    "mine:boom --arg x=f32[2]": "boom raises at the arguments x f32[2]: RuntimeError: boom and more",
    f"mine:right {ARGS} --reference mine:scaled": "rules_of_mine:scaled cannot be differentiated: TypeError",
    f"mine:right {ARGS} --reference plain": "--reference plain must be a module",
    f"mine:right {ARGS} --checks SQ": "checks has 'Q'; the checks are S structure",
    f"mine:right {ARGS} --checks=": "checks is empty",
    f"mine:right {ARGS} --ties frist": "there are any, reference",
    f"mine:right {ARGS} --waive R=": "must be a name, = and a value",
    f"mine:right {ARGS} --waive Q=why": "waive has 'Q'",
    f"mine:right {ARGS} --dtypes f33": "dtypes has 'f33'; it must hold some of float64",
    f"mine:right {ARGS} --mapped q --checks V": "mapped names ['q'], but the arguments are x, k",
    f"mine:right {ARGS} --seed x": "'x' must be a whole number",
    f"mine:right {ARGS} --json nowhere/a.json": "nowhere/a.json: No such file or directory",
    f"mine:right {ARGS} --plot a.foo": "its name must end in one of .",
    f"mine:right {ARGS} --plot nowhere/a.png": "nowhere/a.png: No such file or directory",
    f"mine:right {ARGS} --check S": "unknown argument --check; did you mean --checks?",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line(line, here, capsys):
    assert call(f"check {line}") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("fnnet: ")
    assert printed.err.count("\n") == 1
    assert MISTAKES[line] in printed.err


def test_what_is_drawn():
    drawn = {
        text: examples.argument("x", text, 0) for text in ("f32[500]", "f16[300]<1", "bf16[2]", "c64[3]", "bool[9]")
    }
    assert {text.partition("[")[0]: str(array.dtype) for text, array in drawn.items()} == {
        "f32": "float32", "f16": "float16", "bf16": "bfloat16", "c64": "complex64", "bool": "bool"
    }  # fmt: skip
    assert abs(drawn["f32[500]"].std() - 1) < 0.2
    assert 0 <= drawn["f16[300]<1"].min() < 0.1 < 0.9 < drawn["f16[300]<1"].max() <= 1
    labels = examples.argument("labels", "u8[200]<3", 0)
    assert (labels.dtype, set(labels.tolist())) == (np.uint8, {0, 1, 2})
    assert examples.argument("x", "f32[]", 0).shape == ()
    assert examples.argument("x", "None", 0) is None
    assert examples.argument("x", "0.5", 0) == 0.5


def test_what_is_drawn_depends_on_name_and_seed_alone():
    one, same, name, seed = (
        examples.argument(n, "f32[3]", s).tolist() for n, s in (("x", 0), ("x", 0), ("k", 0), ("x", 1))
    )
    assert one == same
    assert len({tuple(one), tuple(name), tuple(seed)}) == 3


def on_a_terminal(folder, environment, *arguments):
    """The command with its standard error on a terminal: the process, and a function that reads the terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fnnet", "check", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    return process, ours


def read_all(terminal, said):
    while True:
        try:
            read = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            return
        if not read:
            return
        said.append(read.decode())


@pytest.fixture
def environment(users_environment):
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return {**users_environment, "PYTHONPATH": path}


def test_progress_on_a_terminal_and_a_mesh_of_two(folder, environment):
    process, terminal = on_a_terminal(folder, environment, "tanh", "--checks", "SPT")
    said = []
    reader = threading.Thread(target=read_all, args=(terminal, said))
    reader.start()
    printed, _ = process.communicate(timeout=120)
    reader.join()
    assert process.returncode == 0
    assert "tanh" in printed
    assert "not run" not in printed
    assert "1 of 1: tanh: T transforms (3 of 3)" in "".join(said)
    assert "".join(said).endswith("\r\x1b[K")


def test_ctrl_c(folder, environment):
    process, terminal = on_a_terminal(folder, environment, "conv")
    said = []
    reader = threading.Thread(target=read_all, args=(terminal, said))
    reader.start()
    deadline = time.monotonic() + 60
    while "1 of" not in "".join(said) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    reader.join()
    assert process.returncode == 130
    assert "".join(said).endswith("fnnet: interrupted\r\n")
    assert "Traceback" not in "".join(said)
