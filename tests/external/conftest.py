"""The option --table, and each row's comparison with the committed page."""

from collections.abc import Callable
from pathlib import Path

import pytest

from external import conformance
from external.outcomes import Row

ROWS = pytest.StashKey[list[Row]]()


def pytest_addoption(parser):
    parser.addoption("--table", metavar="FILE", help="write the conformance page to FILE rather than compare with it")


def pytest_configure(config):
    config.stash[ROWS] = []
    if config.getoption("--table") and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--table needs all rows in one process: leave out -n")


@pytest.fixture
def conforms(pytestconfig) -> Callable[[Row], None]:
    """Asserts that no case of a row is wrong, and that the committed page has it as it is."""

    def compare(row: Row) -> None:
        assert not row.failures, row.told()
        if pytestconfig.getoption("--table"):
            pytestconfig.stash[ROWS].append(row)
            return
        line = conformance.committed().get((row.source, row.operator))
        assert row.line() == line, f"docs/conformance.md is out of date. Make it anew: {conformance.COMMAND}"

    return compare


def pytest_sessionfinish(session, exitstatus):
    table = session.config.getoption("--table")
    if not table or exitstatus != pytest.ExitCode.OK:
        return
    from external import onnx_cases

    Path(table).write_text(conformance.page(session.config.stash[ROWS], onnx_cases.bodies_of_other_operators()))
