"""Convolution and pooling on configurations that hypothesis draws, against PyTorch: 100 of each, 2,000 in the slow run.

python -m pytest -m slow tests/external/test_properties_torch.py
"""

from typing import Any

import pytest
from drawn import strategies
from hypothesis import given, settings
from test_properties import agree, always

pytest.importorskip("torch", reason="PyTorch is not installed")

quick, long = settings(always, max_examples=100), settings(always, max_examples=2000)
DOUBLE: dict[str, Any] = {"dtypes": ("float64",), "levels": (0,)}


@quick
@given(strategies.convolutions(**DOUBLE))
def test_convolution(configuration):
    agree(configuration, "by_torch")


@quick
@given(strategies.poolings(**DOUBLE))
def test_pooling(configuration):
    agree(configuration, "by_torch")


@pytest.mark.slow
@long
@given(strategies.convolutions(**DOUBLE))
def test_convolution_at_length(configuration):
    agree(configuration, "by_torch")


@pytest.mark.slow
@long
@given(strategies.poolings(**DOUBLE))
def test_pooling_at_length(configuration):
    agree(configuration, "by_torch")
