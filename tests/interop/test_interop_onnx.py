"""`to_onnx` where the package onnx is not installed; tests/external has what it writes."""

import sys

import jax
import pytest

import fnnet
from fnnet import interop


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    net = fnnet.Sequential(fnnet.Dense(2))
    with pytest.raises(ImportError, match=r'^to_onnx: onnx must be installed: pip install "fnnet\[onnx\]"$'):
        interop.to_onnx(net, net.init(jax.random.key(0), (3,)), (3,))
