"""fnnet's own rules, as the command line checks them, and the proofs that say how."""

import ast
import dataclasses
import inspect
from pathlib import Path

import jax.numpy as jnp
import pytest

import fnnet
from fnnet.checking import own
from fnnet.proofs import Proof
from fnnet.proofs import own as proofs

CASES = own.chosen([])


def test_titles_are_unique():
    assert len({case.title for case in CASES}) == len(CASES)


def rules_in_functions(source):
    """The names that a file imports from other rooms of fnnet and uses inside a function, as a reference must not."""
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module.startswith("fnnet.")]
    rules = {alias.name for node in imports if not node.module.startswith("fnnet.proofs") for alias in node.names}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    return rules & {node.id for function in functions for node in ast.walk(function) if isinstance(node, ast.Name)}


def test_references_are_independent():
    files = set(Path(inspect.getfile(Proof)).parent.glob("*.py"))
    without_references = {"known.py", "proof.py"}
    assert {file.name for file in files if rules_in_functions(file.read_text())} == without_references
    assert rules_in_functions("from fnnet.rules import activations\nplain = lambda z: activations.tanh(z)")


FIRST = {case.proof.page: case for case in reversed(CASES)}  # of each page the usual example of its first rule
LONG = ("attention", "gru", "lstm", "transposed_convolution")  # to compile
USUAL = [case for page, case in FIRST.items() if page not in LONG]


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.title, marks=[pytest.mark.slow] * (case not in USUAL)) for case in CASES],
)
def test_cheap_checks_pass(case):
    begun = own.begin(case, checks="SPRL")
    assert [begun.line(letter).status for letter in begun.chosen] == ["passed"] * 4, begun.report()
    assert begun.report().verdict == "right"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_every_check_passes(case):
    begun = own.begin(case)
    assert {begun.line(letter).status for letter in begun.chosen} == {"passed"}, begun.report()
    assert begun.report().verdict == "right", begun.report()


def test_an_error_would_be_seen():
    slipped = fnnet.rule(lambda z: (jnp.tanh(z), z), lambda z, y_bar: (y_bar * (1 - jnp.square(z)),))
    (case,) = dataclasses.replace(proofs()["tanh"], function=slipped).at_examples()
    begun = own.begin(case, checks="R")
    begun.line("R")
    assert begun.report().verdict == "wrong"
