"""The ONNX backend's cases, by fnnet's functions."""

import functools

import pytest

import fnnet
from external.outcomes import judged

pytest.importorskip("onnx", reason="ONNX is not installed")
from external import onnx_cases


@pytest.mark.parametrize(("source", "operator"), list(onnx_cases.by_row()))
def test_cases(source, operator, conforms):
    cases = onnx_cases.by_row()[source, operator]
    conforms(judged(source, operator, ((case.name, functools.partial(onnx_cases.check, case)) for case in cases)))


def test_an_error_would_be_seen(monkeypatch):
    case = onnx_cases.by_row()[onnx_cases.BODY, "Softmax"][0]
    assert onnx_cases.check(case) is None
    monkeypatch.setattr(
        onnx_cases.OPERATORS["Softmax"], "function", staticmethod(lambda z, axis: 1.01 * fnnet.softmax(z, axis))
    )
    assert "Not equal to tolerance" in onnx_cases.check(case)
