"""The committed page: complete, of the installed versions, and with little that is not supported."""

import pytest

from external import conformance

pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed")
from external import onnx_cases, torch_cases, torch_errors


@pytest.fixture(autouse=True)
def committed_page(pytestconfig):
    if pytestconfig.getoption("--table"):
        pytest.skip("the page is being made")


def test_it_has_every_row_and_no_other():
    samples = {(torch_cases.SAMPLES, name) for name in torch_cases.infos()}
    errors = {(torch_errors.ERRORS, name) for name, info in torch_cases.infos().items() if torch_errors.refuses(info)}
    assert set(conformance.committed()) == set(onnx_cases.by_row()) | samples | errors


def test_its_sums_and_versions_are_those_of_its_rows():
    rows = [conformance.read(*key, line) for key, line in conformance.committed().items()]
    assert all(row.passed + row.reasons.total() == row.cases for row in rows)
    text = conformance.PAGE.read_text()
    assert conformance.summary(rows) in text
    introduction = conformance.INTRODUCTION.format(
        command=conformance.COMMAND,
        versions=conformance.versions(),
        bodies=onnx_cases.bodies_of_other_operators(),
    )
    assert text.startswith(introduction)


def test_less_than_a_twentieth_is_not_supported():
    rows = [conformance.read(*key, line) for key, line in conformance.committed().items()]
    assert sum(row.reasons.total() for row in rows) < sum(row.cases for row in rows) / 20
