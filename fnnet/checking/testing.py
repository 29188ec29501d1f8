"""The checks as pytest tests, one test id a check."""

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fnnet.checking.catalogue import NAMES, letters
from fnnet.checking.kinds import Status

if TYPE_CHECKING:  # pragma: no cover
    from fnnet.checking.runner import Run
    from fnnet.proofs.proof import Case, Proof

NEVER_FAIL = ("M", "W")
# Checks of fnnet/checking/contract.py, and at how many of the configurations that it chooses.
DRAWN = {"values_and_gradients": 100, "structure": 5, "low_precision": 5, "mapped": 5}
DECIDING = ("R", "F")  # if neither is reliable, the checker cannot decide


def as_tests(f: Any, *args: Any, checks: Iterable[str] | None = None, **options: Any) -> Callable:
    """Tests of a rule for pytest, one for each check: `test_dense = fnnet.checking.as_tests(dense, x, kernel, bias)`.

    Their ids are the names of the checks: `test_dense[reference]`, `test_dense[finite-differences]` and so on.
    Nothing is checked when the tests are collected. Each test runs its check alone; what they share is computed once.
    A test fails if its check fails, and the message is that part of the report. It is skipped, with the reason, if the
    check cannot run here or is inconclusive. It is an expected failure (xfail) if the check is waived and fails.

    Args:
        f: What `fnnet.check` takes. Or a `fnnet.proofs.Proof`, without other arguments: then its examples are checked,
            and the configurations that its sampler draws.
        *args: The example arguments.
        checks: Which checks, by letter or name; by default all that can fail, which memory and power cannot.
        **options: The other options of `fnnet.check`.

    Returns:
        A test function, parametrised by the checks.

    Raises:
        ValueError: There is no such check.
        ImportError: pytest is not installed.

    Example:
        import fnnet
        test_dense = fnnet.checking.as_tests(dense, x, kernel, bias, reference=lambda x, k, b: x @ k + b)
    """
    import pytest

    from fnnet.proofs.proof import Proof

    chosen = tuple(letter for letter in letters(checks) if checks is not None or letter not in NEVER_FAIL)
    each = []
    for title, begun in _runs(f, args, {**options, "checks": chosen}):
        for letter in chosen:
            name = "-".join([*title.split(), *NAMES[letter].split()])
            each.append(pytest.param(functools.partial(_outcome, begun, letter), id=name))
    if isinstance(f, Proof) and f.sample and checks is None:
        each += [
            pytest.param(functools.partial(_drawn, f, name), id=f"drawn-{name.replace('_', '-')}") for name in DRAWN
        ]

    @pytest.mark.parametrize("check", each)
    def test(check: Callable[[], tuple[Status, str]]) -> None:
        outcome, message = check()
        if outcome == Status.FAILED:
            pytest.fail(message, pytrace=False)
        if outcome == Status.NOT_RUN:
            pytest.skip(message)
        if outcome == Status.WAIVED:
            pytest.xfail(message)

    return test


def _runs(f: Any, args: tuple, options: dict[str, Any]) -> list[tuple[str, Callable[[], "Run"]]]:
    """A title and a run of the checker, which begins at the first call; for each example of a proof."""
    from fnnet.proofs.proof import Proof

    def of_arguments() -> "Run":
        from fnnet.checking.runner import run

        return run(f, *args, **options)

    def of_case(case: "Case") -> "Run":
        from fnnet.checking.own import begin

        return begin(case, **options)

    if not isinstance(f, Proof):
        return [("", functools.cache(of_arguments))]
    return [(c.configuration.title, functools.cache(functools.partial(of_case, c))) for c in f.at_examples()]


def _outcome(begun: Callable[[], "Run"], check: str) -> tuple[Status, str]:
    """What becomes of a check's test: passed, failed, not run or waived; and the message."""
    run = begun()
    line = run.line(check)
    if line.status == Status.WAIVED:
        return Status.WAIVED, f"waived: {run.waived[check]}"
    report = run.report(only=check)
    if report.failures or (check in DECIDING and report.inconclusive):
        return Status.FAILED, str(report)
    if line.status in (Status.NOT_RUN, Status.INCONCLUSIVE):
        return Status.NOT_RUN, line.detail
    return Status.PASSED, ""


def _drawn(proof: "Proof", name: str) -> tuple[Status, str]:
    """The outcome of a check of the contract, at drawn configurations that show all that the proof covers."""
    from fnnet.checking import contract

    wrong = contract.wrong_cases(getattr(contract, name), proof, contract.covering(proof)[: DRAWN[name]])
    return (Status.FAILED, "\n".join(wrong)) if wrong else (Status.PASSED, "")
