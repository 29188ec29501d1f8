"""How the checker is reached: `fnnet.check`, and the names of `fnnet.checking`."""

import inspect

import pytest

import fnnet
from fnnet import checking
from fnnet.checking import programs, runner


def test_check_is_public():
    assert fnnet.check is checking.check
    report = fnnet.check(fnnet.tanh, 0.3, checks="SPR")
    assert isinstance(report, checking.Report)
    assert report.ok


def test_check_and_a_run_take_the_same_options():
    options, same = (inspect.signature(f).parameters for f in (checking.check, runner.request))
    assert [str(p) for p in options.values()] == [str(p) for p in same.values()]


def test_a_failure_is_an_assertion():
    wrong = fnnet.rule(lambda x: (2 * x, ()), lambda kept, y_bar: (y_bar,))
    report = fnnet.check(wrong, 0.3, checks="R")
    assert isinstance(report.failures[0], checking.Failure)
    with pytest.raises(AssertionError, match="wrong") as raised:
        report.raise_if_failed()
    assert raised.type is checking.CheckFailedError


def test_a_check_is_run_once_and_a_report_holds_what_ran():
    begun = runner.run(fnnet.tanh, 0.3, checks="SPR")
    assert begun.report().checks == ()
    line = begun.line("R")
    assert begun.line("R") is line
    assert begun.report().checks == (line,)


def test_after_a_wrong_structure_nothing_else_runs():
    wrong = fnnet.rule(lambda x: (2 * x, ()), lambda kept, y_bar: (y_bar[None],))
    report = fnnet.check(wrong, 0.3)
    assert [line.status for line in report.checks] == ["failed"] + 13 * ["not run"]
    assert set(report.not_run.values()) == {"the structure is wrong"}


def test_a_compiler_option_that_this_version_does_not_know_is_left_out(monkeypatch):
    known = programs.compiler_options(safe=False)
    programs.compiler_options.cache_clear()
    monkeypatch.setitem(programs.QUICK, "xla_no_such_option", False)
    assert programs.compiler_options(safe=False) == known
    assert programs.compiler_options() == {**known, **fnnet.safe_options()}
    programs.compiler_options.cache_clear()
