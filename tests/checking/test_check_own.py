"""fnnet's own rules, as the command line checks them, and the proofs that say how."""

import dataclasses
import dis
import inspect

import jax.numpy as jnp
import pytest

import fnnet
from fnnet.checking import own
from fnnet.proofs import own as proofs

CASES = own.chosen([])


def test_titles_are_unique():
    assert len({case.title for case in CASES}) == len(CASES)


def globals_of(code):
    """The names of globals that a function's code loads, inner functions included."""
    inner = (constant for constant in code.co_consts if inspect.iscode(constant))
    own_names = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return own_names.union(*map(globals_of, inner))


def names_in_fnnet(function, seen=()):
    """The names of fnnet, outside the proofs, that a function of the proofs reaches."""
    found = set()
    named = {n: vars(inspect.getmodule(function)).get(n) for n in globals_of(function.__code__)}
    for name, value in (named | inspect.getclosurevars(function).nonlocals).items():
        module = getattr(value, "__module__", None) or getattr(value, "__name__", "")
        if module.startswith("fnnet.proofs.") and inspect.isfunction(value) and value not in seen:
            found |= names_in_fnnet(value, (*seen, function))
        elif module.startswith("fnnet.") and not module.startswith("fnnet.proofs."):
            found.add(f"{module}: {name}")
    return found


@pytest.mark.parametrize("proof", proofs().values(), ids=list(proofs()))
def test_references_are_independent(proof):
    assert proof.reference.__module__.split(".")[0] != "fnnet" or names_in_fnnet(proof.reference) == set()


def test_a_reference_that_calls_a_rule_is_seen():
    from fnnet.rules.activations import tanh

    def inner(z):
        return (lambda z: tanh(z))(z)

    inner.__module__ = "fnnet.proofs.planted"
    assert names_in_fnnet(lambda z: inner(z)) == {"fnnet.rules.activations: tanh"}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.title, marks=[pytest.mark.slow] * bool(case.configuration.title)) for case in CASES],
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
