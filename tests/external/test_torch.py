"""PyTorch's OpInfo samples and error inputs, by fnnet's functions."""

import functools

import jax
import jax.numpy as jnp
import pytest

import fnnet
from external.outcomes import judged

pytest.importorskip("torch", reason="PyTorch is not installed")
from external import torch_cases, torch_errors


def rows(check, info, cases):
    return ((f"case {number}", functools.partial(check, info, case)) for number, case in enumerate(cases))


@pytest.mark.parametrize("name", list(torch_cases.infos()))
def test_sample_inputs(name, conforms):
    info = torch_cases.infos()[name]
    conforms(judged(torch_cases.SAMPLES, name, rows(torch_cases.check, info, torch_cases.samples(info))))


@pytest.mark.parametrize("name", [name for name, info in torch_cases.infos().items() if torch_errors.refuses(info)])
def test_error_inputs(name, conforms):
    info = torch_cases.infos()[name]
    conforms(judged(torch_errors.ERRORS, name, rows(torch_errors.check, info, info.error_inputs("cpu"))))


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda z: jnp.tanh(z) * (1 + 1e-9), "value 0"),
        (fnnet.rule(lambda z: (jnp.tanh(z), z), lambda z, bar: (bar * (1 - 0.999 * jnp.tanh(z) ** 2),)), "gradient 0"),
        (
            fnnet.rule(lambda z: (jnp.tanh(z),) * 2, lambda y, bar: (bar * (1 - y * jax.lax.stop_gradient(y)),)),
            "second derivative 0",
        ),
    ],
    ids=["value", "gradient", "second derivative"],
)
def test_an_error_would_be_seen(monkeypatch, wrong, what):
    monkeypatch.setitem(torch_cases.OPERATORS, "tanh", wrong)
    torch_cases.program.cache_clear()
    info = torch_cases.infos()["tanh"]
    (sample,) = torch_cases.samples(info)
    assert torch_cases.check(info, sample).startswith(what)
    torch_cases.program.cache_clear()


def test_a_missing_error_would_be_seen(monkeypatch):
    info = torch_cases.infos()["nn.functional.gelu"]
    (case,) = info.error_inputs("cpu")
    assert torch_errors.check(info, case) is None
    monkeypatch.setitem(torch_cases.OPERATORS, info.name, lambda z, approximate: z)
    assert torch_errors.check(info, case).startswith("no error, where torch says")
    monkeypatch.setitem(torch_cases.OPERATORS, info.name, lambda z, approximate: z + int(approximate))
    assert "not in the name of a function of fnnet" in torch_errors.check(info, case)
