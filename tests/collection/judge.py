"""What the checker says of a case, and whether that is what it has to say."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np

from collection.case import Case
from fnnet.checking import Report
from fnnet.checking.kinds import Remark
from fnnet.checking.runner import Run, run

# What the report of a case with all checks has to say. Of a wrong rule only the checks that ought to see it are run.
EXPECTED = {
    "right": ("right", "convention differs"),
    "trap": ("right", "convention differs"),
    "convention": ("convention differs",),
    "bad reference": ("reference is wrong",),
    "inconclusive": ("inconclusive",),
}


@dataclass(frozen=True)
class Judgement:
    """The checker's answer on one case.

    Args:
        case: Its name.
        seed: Of the checker.
        verdict: The report's.
        failed: Letters of the checks that failed.
        missed: Letters that ought to have seen a wrong rule, and did not, though another may have.
        problem: What the answer lacks, in a line; "" if it is as it has to be.
        report: The report in words, where there is a problem.
        seconds: What it took.
    """

    case: str
    seed: int
    verdict: str
    failed: str
    missed: str
    problem: str
    report: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Its fields, for JSON."""
        return asdict(self) | {"seconds": round(self.seconds, 2)}


def judge(case: Case, seed: int = 0) -> Judgement:
    """Check the case, and compare the report with what is known of the case."""
    return next(judgements(case, [seed]))


def judgements(case: Case, seeds: Sequence[int]) -> Iterator[Judgement]:
    """One judgement for each seed; what is compiled for the first serves the others."""
    begun: Run | None = None
    for seed in seeds:
        start = time.perf_counter()
        verdict = failed = missed = text = ""
        try:
            begun = begin(case, seed) if begun is None else begun.again(seed)
            report = finished(begun)
            failed = "".join(dict.fromkeys(failure.check for failure in report.failures))
            verdict, text = report.verdict, str(report)
            missed = "".join(sorted(case.caught_by - set(failed))) if case.verdict == "wrong" else ""
            problem = _problem(case, begun, report, seed)
        except Exception as raised:
            problem = f"check raises {type(raised).__name__}: {raised}"
        seconds = time.perf_counter() - start
        yield Judgement(case.name, seed, verdict, failed, missed, problem, text if problem else "", seconds)


def begin(case: Case, seed: int = 0, **options: Any) -> Run:
    """The run of a case: of a wrong rule by the checks that ought to see it, of the others by all."""
    checks = case.caught_by if case.verdict == "wrong" else None
    settings = {"reference": case.reference, "static": case.static, "name": case.name, "checks": checks, "seed": seed}
    return run(case.f, *case.args(), **(settings | options))


def finished(begun: Run) -> Report:
    """The report, when all checks have run."""
    for letter in begun.chosen:
        begun.line(letter)
    return begun.report()


def _problem(case: Case, begun: Run, report: Report, seed: int) -> str:
    if case.verdict == "wrong":
        if report.verdict != "wrong":
            return f"the verdict is {report.verdict}, not wrong"
        if not {failure.check for failure in report.failures if failure.blame == "rule"} & case.caught_by:
            return "no check that ought to see it blames the rule"
        return _waived(case, seed) if case.waiver else ""
    empty = not any(np.size(leaf) for leaf in jax.tree.leaves(case.args()))
    expected = EXPECTED["inconclusive" if empty else case.verdict]  # of arguments without entries nothing can be told
    if report.verdict not in expected:
        return f"the verdict is {report.verdict}, not {' or '.join(expected)}"
    if case.verdict == "trap" and not any(note.kind == Remark.JAX for note in begun.session.findings.notes):
        return "nothing is said of JAX's own batching"
    return ""


def _waived(case: Case, seed: int) -> str:
    report = finished(begin(case, seed, waive=dict.fromkeys(case.caught_by, case.waiver)))
    if not report.ok:
        return f"with the waiver the verdict is {report.verdict}"
    return "" if f"because: {case.waiver}" in str(report) else "the waiver's reason is not printed"
