"""The table of `python -m fnnet check`: a row for each example of fnnet's own rules, and of proofs of other rules."""

import contextlib
import gc
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from fnnet.checking import own, workers
from fnnet.checking.catalogue import NAMES, letters, with_name
from fnnet.checking.kinds import Status, Verdict
from fnnet.checking.output import STATUS, begun, checked, require_writable, show_progress, write_json
from fnnet.checking.runner import request
from fnnet.proofs import Case

BY_WEIGHT = (0, 3, 2, 1)  # of exit statuses
CODE = "from fnnet.checking import table, workers; workers.serve(table.answerer)"
Row = dict[str, Any]


def own_rules(names: Sequence[str], json_file: Path | None, options: Mapping[str, Any], jobs: int | None) -> int:
    """Print a table of these rules, and return the exit status."""
    cases, begin = own.chosen(names), time.perf_counter()
    for case in cases:
        own.begin(case, request, **options)  # for its errors
    require_writable(json_file)
    print(f"checks: {', '.join(map(with_name, letters(options.get('checks'))))}")
    width = max(len(case.title) for case in cases)
    print(_line(width, "rule", "verdict", "passed", "s", "at kinks and ties"), flush=True)
    rows = []
    with contextlib.closing(_rows(names, cases, options, jobs or cores())) as found:
        for row in found:
            rows.append(row)
            cells = row["title"], row["verdict"], row["passed"], f"{row['seconds']:.1f}", row["conventions"]
            print(_line(width, *cells), flush=True)
    write_json(json_file, [row["content"] for row in rows])
    bad = [row for row in rows if row["status"]]
    for row in bad:
        print(f"\n{row['report']}")
    for why in dict.fromkeys(why for row in rows for why in row["not_run"]):
        print(f"not run: {why}")
    print(f"{len(rows) - len(bad)} of {len(rows)} right; {time.perf_counter() - begin:.0f} s")
    return max((row["status"] for row in bad), key=BY_WEIGHT.index, default=0)


def cores() -> int:
    """How many processes check at a time: one for each core, or a single one if they would share an accelerator."""
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def answerer(given: Mapping[str, Any]) -> Callable[[int, workers.Show], Row]:
    """What a process of its own does: the row of a number."""
    ask_for_two_devices()
    cases = own.chosen(given["names"])
    gc.freeze()  # modules, jaxprs and compiled programs stay: Python need not look through them again and again
    gc.set_threshold(100_000, 20, 50)

    def answer(number: int, show: workers.Show) -> Row:
        return _row(cases, number, given["options"], show)

    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_traceback_in_locations_limit", 0)
    return answer


def ask_for_two_devices() -> None:
    """Check T has a part for a mesh of two devices; a processor can stand for two."""
    os.environ.setdefault("PJRT_NPROC", "8")  # a device that waits for another keeps its thread: docs/devices.md
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # JAX has looked for devices before
            jax.config.update("jax_num_cpu_devices", 2)


def _rows(names: Sequence[str], cases: list[Case], options: Mapping[str, Any], jobs: int) -> Generator[Row, None, None]:
    if min(jobs, len(cases)) == 1:
        yield from (_row(cases, number, options, show_progress) for number in range(len(cases)))
        return
    given = {"names": list(names), "options": dict(options)}
    for number, row in enumerate(workers.answers(CODE, given, len(cases), jobs, show_progress)):
        yield _of_a_dead_process(cases[number].title) if row is None else row


def _row(cases: list[Case], number: int, options: Mapping[str, Any], show: workers.Show) -> Row:
    case, begin = cases[number], time.perf_counter()
    run = own.begin(case, begun, **options)
    report = checked(run, f"{number + 1} of {len(cases)}: {case.title}", show)
    return {
        "title": case.title,
        "verdict": report.verdict,
        "passed": "".join(line.check for line in report.checks if line.status == Status.PASSED),
        "seconds": time.perf_counter() - begin,
        "conventions": "; ".join([*report.conventions, *(shared.short for shared in run.shared_conventions())]),
        "status": STATUS[Verdict(report.verdict)],
        "report": str(report),
        "content": report.content(),
        "not_run": [f"{with_name(letter)}: {why}" for letter, why in report.not_run.items()],
    }


def _of_a_dead_process(title: str) -> Row:
    text = f"{title}: its process ended; look above for what it said"
    words = {"title": title, "verdict": Verdict.INCONCLUSIVE, "passed": "", "conventions": "its process ended"}
    content = {"name": title, "verdict": Verdict.INCONCLUSIVE, "ok": False}
    return {
        **words,
        "seconds": 0.0,
        "status": STATUS[Verdict.INCONCLUSIVE],
        "report": text,
        "content": content,
        "not_run": [],
    }


def _line(width: int, rule: str, verdict: str, passed: str, seconds: str, conventions: str) -> str:
    return f"{rule:{width}}  {verdict:18}  {passed:{len(NAMES)}}  {seconds:>5}  {conventions}".rstrip()
