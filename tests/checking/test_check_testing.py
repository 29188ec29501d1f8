"""The pytest form: ids, outcomes and messages, in a pytest of its own."""

import ast
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fnnet
from fnnet.checking.catalogue import NAMES
from fnnet.proofs import own

MODULE = """
import jax, jax.numpy as jnp, numpy as np
import fnnet
from fnnet.checking import as_tests

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)

def unary(primal, backward):
    f = jax.custom_vjp(primal)
    f.defvjp(lambda x: (primal(x), x), lambda x, g: (backward(x, g),))
    return f

class Unseen:
    def __array__(self, *args, **kwargs):
        raise RuntimeError("somebody computes at collection")

test_right = as_tests(fnnet.tanh, X, reference=jnp.tanh, checks="SPRLFVTEBD2X")
test_halved = as_tests(unary(jnp.sin, lambda x, g: g * jnp.cos(x) / 2), X, checks="SPRLF")
test_shapeless = as_tests(unary(jnp.sin, lambda x, g: (g * jnp.cos(x))[0]), X, checks="SR")
test_reversed = as_tests(unary(lambda x: 1 * x, lambda x, g: -g), X, checks="RF", waive={"R": "on purpose", "F": "too"})
sine = unary(jnp.sin, lambda x, g: g * jnp.cos(x))
test_reference = as_tests(sine, X, reference=lambda x: jnp.sin(x) + x, checks="PR")
test_useless = as_tests(fnnet.tanh, X, reference=lambda x, y: x, checks="R")
test_lazy = as_tests(fnnet.tanh, Unseen(), checks="R")

def chaos(x):
    for _ in range(60):
        x = 3.99 * x * (1 - x)
    return x
test_chaos = as_tests(unary(chaos, lambda x, g: jax.vjp(chaos, x)[1](g)[0]), np.float32([0.3, 0.6]), checks="RF")
test_no_reference = as_tests(sine, X, checks="R2", second_order=False)
"""


@pytest.fixture(scope="module")
def pytest_says(tmp_path_factory):
    """Outcomes by test id, and all that is printed."""
    folder = tmp_path_factory.mktemp("users")
    (folder / "test_rules.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(fnnet.__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "--color=no", "-o", "addopts="]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    found = re.findall(r"^(PASSED|FAILED|SKIPPED|XFAIL|ERROR) .*?test_rules.py::(\S+)", done.stdout, flags=re.MULTILINE)
    return {test: outcome for outcome, test in found}, done.stdout + done.stderr


def test_ids_and_outcomes(pytest_says):
    outcomes, printed = pytest_says
    right = [name.replace(" ", "-") for letter, name in NAMES.items() if letter not in "MW"]
    assert outcomes == {
        **{f"test_right[{name}]": "PASSED" for name in right},
        **{f"test_halved[{name}]": "PASSED" for name in ("structure", "primal", "linearity")},
        "test_halved[reference]": "FAILED",
        "test_halved[finite-differences]": "FAILED",
        "test_shapeless[structure]": "FAILED",
        "test_reversed[reference]": "XFAIL",
        "test_reversed[finite-differences]": "XFAIL",
        "test_reference[primal]": "FAILED",
        "test_reference[reference]": "FAILED",
        "test_useless[reference]": "FAILED",
        "test_lazy[reference]": "FAILED",
        "test_chaos[reference]": "FAILED",
        "test_chaos[finite-differences]": "FAILED",
        "test_no_reference[reference]": "PASSED",
    }, printed
    assert "2 skipped" in printed


def test_messages(pytest_says):
    _, printed = pytest_says
    halved = printed[printed.index("_ test_halved[reference] _") : printed.index("_ test_halved[finite-differences] _")]
    assert "R reference: x: is the reference divided by 2" in halved
    assert "F finite" not in halved
    assert "Traceback" not in halved
    assert "test_rules.py" not in halved
    assert "x: has shape (3,); x has (4, 3)" in printed
    assert "waived: on purpose" in printed
    assert "reference is wrong" in printed
    assert "the given reference cannot be differentiated" in printed
    assert "somebody computes at collection" in printed
    assert "nothing can be decided about x" in printed
    assert re.search(r"SKIPPED \[1\] .*: the structure is wrong", printed)
    assert re.search(r"SKIPPED \[1\] .*: second_order=False", printed)


IDS = [name.replace(" ", "-") for letter, name in NAMES.items() if letter not in "MW"]


def cases_of(test):
    return {case.id: case.values[0] for case in test.pytestmark[0].args[1]}


def test_by_default_the_checks_that_can_fail():
    assert list(cases_of(fnnet.checking.as_tests(fnnet.tanh, 0.3))) == IDS
    with pytest.raises(ValueError, match="checks has 'Q'"):
        fnnet.checking.as_tests(fnnet.tanh, 0.3, checks="Q")


def test_pytest_is_imported_in_the_function_alone():
    tree = ast.parse(Path(fnnet.checking.as_tests.__code__.co_filename).read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert "pytest" not in {alias.name for node in top for alias in node.names}


def test_of_a_proof_its_examples_and_what_it_draws():
    drawn = ["drawn-values-and-gradients", "drawn-structure", "drawn-low-precision", "drawn-mapped"]
    slopes = [f"negative-slope-{name}" for name in IDS]
    assert list(cases_of(fnnet.checking.as_tests(own()["leaky_relu"]))) == [*IDS, *slopes, *drawn]
    swapped = dataclasses.replace(own()["leaky_relu"], function=lambda z, slope=0.01: fnnet.leaky_relu(z, -slope))
    cases = cases_of(fnnet.checking.as_tests(swapped))
    for name in ("reference", "negative-slope-reference", "drawn-values-and-gradients"):
        outcome, message = cases[name]()
        assert outcome == "failed"
        assert "cases are wrong" in message or "R reference" in message


test_of_this_proof = fnnet.checking.as_tests(own()["relu"], checks="SP")
test_of_this_very_kind = fnnet.checking.as_tests(fnnet.tanh, 0.3, checks="SPRLF")
