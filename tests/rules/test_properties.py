"""Convolution and pooling on configurations that hypothesis draws: always the same, 5 of each, 2,000 in the slow run.

    python -m pytest -m slow tests/rules/test_properties.py

A configuration that fails is made smaller by hypothesis, and told as a line for the shell.
"""

import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from drawn import by_taps, by_torch, strategies
from drawn.configuration import Configuration
from hypothesis import HealthCheck, Phase, example, given, settings

from fnnet.rules import convolution as conv_page

drawn = itertools.count()
KEPT = 200  # the most compiled programs kept

always = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
quick, long = settings(always, max_examples=5), settings(always, max_examples=2000)
quick_large, long_large = settings(always, max_examples=3), settings(always, max_examples=200)

ORACLES = {"": None, "by_taps": by_taps.pulled, "by_torch": by_torch.pulled}
LARGE: dict[str, Any] = {"dtypes": ("float64", "float32"), "levels": (0,), "large": True}


def agree(configuration: Configuration, oracle: str = "") -> None:
    """Fails where the configuration disagrees with the oracle, or with autodiff of the plain form."""
    if next(drawn) % KEPT == KEPT - 1:
        jax.clear_caches()
    try:
        findings = configuration.findings(ORACLES[oracle])
    except Exception as error:
        error.add_note(configuration.line(oracle))
        raise
    if findings:
        raise AssertionError("\n".join([*map(str, findings), configuration.line(oracle)]))


# A window of 2 with stride 2 and padding 1 along one axis, and fewer places than taps along the others: jax.grad of the
# plain form aborts XLA's compiler, that of jax 0.10.2 and 0.12.0, and fnnet's own gradient did.
ABORTED = Configuration(
    rule="conv",
    shapes={"x": (1, 4, 4, 3), "kernel": (2, 3, 2, 3, 3)},
    static={"padding": 1, "groups": 1, "stride": (2, 3, 2)},
)


@quick
@given(strategies.convolutions())
@example(ABORTED)
def test_convolution(configuration):
    agree(configuration)


@quick
@given(strategies.poolings())
def test_pooling(configuration):
    agree(configuration)


@quick_large
@given(strategies.convolutions(**LARGE))
def test_large_convolution(configuration):
    agree(configuration, "by_taps")


@quick_large
@given(strategies.poolings(**LARGE))
def test_large_pooling(configuration):
    agree(configuration, "by_taps")


@pytest.mark.slow
@long
@given(strategies.convolutions())
def test_convolution_at_length(configuration):
    agree(configuration)


@pytest.mark.slow
@long
@given(strategies.poolings())
def test_pooling_at_length(configuration):
    agree(configuration)


@pytest.mark.slow
@long_large
@given(strategies.convolutions(**LARGE))
def test_large_convolution_at_length(configuration):
    agree(configuration, "by_taps")


@pytest.mark.slow
@long_large
@given(strategies.poolings(**LARGE))
def test_large_pooling_at_length(configuration):
    agree(configuration, "by_taps")


@settings(always, max_examples=6)
@given(strategies.convolutions(("float64",), (0,)) | strategies.poolings(("float64",), (0,)))
def test_the_oracle_by_taps_agrees_with_autodiff(configuration):
    agree(configuration, "by_taps")
    agree(configuration)


@pytest.mark.parametrize("oracle", ["", "by_taps"])
def test_a_planted_error_is_found_and_told_by_a_line(oracle, monkeypatch):
    def unflipped(kernel, y_bar, **static):
        return conv_page.x_gradient(jnp.flip(kernel, range(kernel.ndim - 2)), y_bar, **static)

    monkeypatch.setitem(conv_page.form.derivatives, "x_bar", unflipped)

    @settings(always, max_examples=30, phases=[Phase.generate])
    @given(strategies.convolutions(("float64",), (0,)))
    def wrong(configuration):
        agree(configuration, oracle)

    with pytest.raises(AssertionError, match=r"gradient of x: \d+ of \d+ entries differ") as caught:
        wrong()
    code = re.search(r'^PYTHONPATH=tests python -c "(.*)"$', str(caught.value), flags=re.MULTILINE)[1]
    told = []
    exec(code, {"print": lambda *findings, sep: told.extend(findings)})
    assert any("gradient of x" in str(finding) for finding in told)
