"""fnnet's own rules, as the command line checks them."""

import ast
from pathlib import Path

import jax.numpy as jnp
import pytest
from contract.rows import ROWS

import fnnet
from fnnet.checking import own
from fnnet.proofs import activation_references, layer_references, loss_references
from fnnet.proofs.table import REFERENCES

PAGES = (layer_references, activation_references, loss_references)


def test_every_public_rule_is_there():
    assert {one.rule for one in own.OWN} == set(own.FUNCTIONS) == set(ROWS)
    assert all(getattr(fnnet, name) is function for name, function in own.FUNCTIONS.items())


def test_titles_are_unique():
    assert len({one.title for one in own.OWN}) == len(own.OWN)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.__name__)
def test_references_are_independent(page):
    tree = ast.parse(Path(page.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not {module for module in modules if module.startswith("fnnet")}
    assert {name for name in REFERENCES if REFERENCES[name].__module__ == page.__name__}


@pytest.mark.parametrize(
    "one", [pytest.param(one, id=one.title, marks=[pytest.mark.slow] * bool(one.variant)) for one in own.OWN]
)
def test_cheap_checks_pass(one):
    begun = one.begin(checks="SPRL")
    assert [begun.line(letter).status for letter in begun.chosen] == ["passed"] * 4, begun.report()
    assert begun.report().verdict == "right"


@pytest.mark.slow
@pytest.mark.parametrize("one", own.OWN, ids=lambda one: one.title)
def test_every_check_passes(one):
    begun = one.begin()
    assert {begun.line(letter).status for letter in begun.chosen} == {"passed"}, begun.report()
    assert begun.report().verdict == "right", begun.report()


def test_an_error_would_be_seen(monkeypatch):
    slipped = fnnet.rule(lambda z: (jnp.tanh(z), z), lambda z, y_bar: (y_bar * (1 - jnp.square(z)),))
    monkeypatch.setitem(own.FUNCTIONS, "tanh", slipped)
    (tanh,) = own.chosen(["tanh"])
    begun = tanh.begin(checks="R")
    begun.line("R")
    assert begun.report().verdict == "wrong"
