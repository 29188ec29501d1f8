"""`python -m fnnet check`: a table of fnnet's own rules, or the report of anybody's rule."""

import contextlib
import importlib.util
import json as json_text
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from fnnet.checking import examples, own
from fnnet.checking.catalogue import NAMES
from fnnet.checking.compilation import faults
from fnnet.checking.kinks import AS_THE_REFERENCE
from fnnet.checking.plotting import drawn_failures
from fnnet.checking.report import Report
from fnnet.checking.runner import Run, run
from fnnet.checking.subject import GIVEN
from fnnet.checking.targets import found, placed
from fnnet.core.compiler import FAULTS
from fnnet.core.one_line import in_one_line

STATUS = {
    "right": 0,
    "convention differs": 0,
    "wrong": 1,
    "reference is wrong": 1,
    "inconclusive": 2,
    "miscompiled": 3,
}
BY_WEIGHT = (0, 3, 2, 1)


def check(
    rules: Sequence[str],
    *,
    reference: str | None = None,
    arg: Sequence[str] = (),
    static: Sequence[str] = (),
    waive: Sequence[str] = (),
    json: Path | None = None,
    plot: Path | None = None,
    compiler: bool = False,
    **options: Any,
) -> int:
    """Check fnnet's own rules, of these names or all, or one of somebody's; prints, and returns the exit status.

    Args:
        rules: Names of public rules, of proofs "package.module:proof" or of modules of proofs; or one
            "package.module:function".
        reference: Where somebody's reference is, "package.module:function".
        arg: Its example arguments, each "name=value".
        static: Its static values, each "name=value".
        waive: Checks that may fail, each "check=reason".
        json: File of the report, or of the list of reports.
        plot: File of the picture.
        compiler: Look for the known faults of XLA instead.
        **options: Other options of `fnnet.check`.

    Raises:
        ValueError: One of these is unusable; the message says which, and what would do.
        ImportError: matplotlib is not installed, and a picture is asked for.
        OSError: A file cannot be read or written.
    """
    if compiler:
        if rules or arg or static or reference or plot:
            raise ValueError("check: --compiler takes no rule: it looks for the known faults of XLA on this machine")
        return the_compiler(json)
    _ask_for_two_devices()
    options["waive"] = dict(examples.named("--waive", text) for text in waive)
    if options.get("dtypes") is not None:
        options["dtypes"] = [examples.DTYPES.get(dtype, dtype) for dtype in options["dtypes"]]
    somebodys = [rule for rule in rules if set(rule) & set(":./") and not own.proofs_of(rule)]
    if somebodys and len(rules) > 1:
        raise ValueError(f"check: {somebodys[0]} must be alone: one rule of yours at a time")
    if somebodys:
        return somebodys_rule(somebodys[0], reference, arg, static, json, plot, options)
    for option, given in (("reference", reference), ("arg", arg), ("static", static), ("plot", plot)):
        if given:
            raise ValueError(f"check: --{option} is for a rule of yours, package.module:function")
    return own_rules(rules, json, options)


def the_compiler(json_file: Path | None) -> int:
    """A table of XLA's known faults: which are live on this machine, with its options in XLA_FLAGS."""
    _is_writable(json_file)
    print(f"jax {jax.__version__}, {jax.default_backend()}; every known fault is tried in a process of its own")
    width = max(len(fault.name) for fault in FAULTS)
    print(f"{'fault':{width}}  {'usual':5}  {'safe':5}  {'seen in jaxlib':16}  report")
    found = faults.outcomes()
    for fault, outcome in found:
        print(f"{fault.name:{width}}  {outcome.usual:5}  {outcome.safe:5}  {fault.versions:16}  {fault.report}")
    for fault, outcome in found:
        if outcome.is_live:
            print(f"\n{fault.name}\n  hits: {fault.programs}\n  to be safe: {fault.avoided}")
    known = ("name", "report", "versions", "programs", "avoided")
    _write(json_file, [{n: getattr(fault, n) for n in known} | outcome._asdict() for fault, outcome in found])
    live = sum(outcome.is_live for _, outcome in found)
    print(f"\n{live} of {len(found)} are live here")
    return STATUS["miscompiled"] if live else 0


def _ask_for_two_devices() -> None:
    """Check T has a part for a mesh of two devices; a processor can stand for two."""
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # JAX has looked for devices before
            jax.config.update("jax_num_cpu_devices", 2)


def own_rules(names: Sequence[str], json_file: Path | None, options: Mapping[str, Any]) -> int:
    """A table of fnnet's own rules, and of others that have a proof."""
    chosen, reports, begin = own.chosen(names), [], time.perf_counter()
    _is_writable(json_file)
    width = max(len(case.title) for case in chosen)
    print(_row(width, "rule", "verdict", "passed", "s", "at kinks and ties"), flush=True)
    for number, case in enumerate(chosen, 1):
        began = time.perf_counter()
        report = _checked(own.begin(case, **options), f"{number} of {len(chosen)}: {case.title}")
        reports.append(report)
        passed = "".join(line.check for line in report.checks if line.status == "passed")
        seconds = f"{time.perf_counter() - began:.1f}"
        print(_row(width, case.title, report.verdict, passed, seconds, _conventions(report)), flush=True)
    _write(json_file, [report.content() for report in reports])
    bad = [report for report in reports if not report.ok]
    for report in bad:
        print(f"\n{report}")
    for why in dict.fromkeys(f"{letter} {NAMES[letter]}: {why}" for r in reports for letter, why in r.not_run.items()):
        print(f"not run: {why}")
    print(f"{len(reports) - len(bad)} of {len(reports)} right; {time.perf_counter() - begin:.0f} s")
    return max((STATUS[report.verdict] for report in bad), key=BY_WEIGHT.index, default=0)


def somebodys_rule(
    target: str,
    reference: str | None,
    arguments: Sequence[str],
    static: Sequence[str],
    json_file: Path | None,
    plot_file: Path | None,
    options: Mapping[str, Any],
) -> int:
    """The report of the rule `module:function`."""
    _is_writable(json_file)
    _is_drawable(plot_file)
    f = found("", target)
    plain = None if reference is None else found("--reference", reference)
    given = [examples.named("--arg", text) for text in arguments]
    values = {name: examples.static(text) for name, text in (examples.named("--static", s) for s in static)}
    name = target.partition(":")[2]
    with jax.enable_x64(True) if any(examples.is_wide(text) for _, text in given) else contextlib.nullcontext():
        drawn = [(name, examples.argument(name, text, options.get("seed", 0))) for name, text in given]
        args, values = placed(name, f, examples.nested(drawn), values)
        with _in_a_line(name):
            begun = run(f, *args, reference=plain, static=values, name=name, **options)
            if begun.session.failures:  # before any check: what is wrong is what was typed
                wrong = begun.session.failures[0].diagnosis.removeprefix(GIVEN)
                raise ValueError(f"check: --reference {reference}{wrong}")
            report = _checked(begun, name)
    print(report, flush=True)
    _write(json_file, report.content())
    if plot_file is not None and drawn_failures(report):
        report.plot(plot_file)
    elif plot_file is not None:
        print(f"{plot_file} is not written: no cotangent differs from a reference's")
    return STATUS[report.verdict]


# Running and printing.


@contextlib.contextmanager
def _in_a_line(name: str) -> Iterator[None]:
    """What the caller's functions raise, as a ValueError of one line."""
    try:
        yield
    except Exception as problem:
        if str(problem).startswith("check: "):
            raise ValueError(str(problem)) from problem
        notes = [note for note in getattr(problem, "__notes__", ()) if note.startswith("check: ")]
        where = notes[0] if notes else f"check: {name} cannot be checked"
        raise ValueError(f"{where}: {in_one_line(problem)}") from problem


def _checked(begun: Run, what: str) -> Report:
    """Run the checks, with a line of progress on a terminal."""
    try:
        for number, letter in enumerate(begun.chosen, 1):
            _progress(f"{what}: {letter} {NAMES[letter]} ({number} of {len(begun.chosen)})")
            begun.line(letter)
        return begun.report()
    finally:
        _progress("")


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _row(width: int, rule: str, verdict: str, passed: str, seconds: str, conventions: str) -> str:
    return f"{rule:{width}}  {verdict:18}  {passed:{len(NAMES)}}  {seconds:>5}  {conventions}".rstrip()


def _conventions(report: Report) -> str:
    shared = (text.partition(AS_THE_REFERENCE)[0] for text in report.shared_conventions)
    return "; ".join([*report.conventions, *shared])


def _write(file: Path | None, content: Any) -> None:
    if file is not None:
        file.write_text(json_text.dumps(content, indent=2) + "\n")


def _is_writable(file: Path | None) -> None:
    """OSError now, and not after minutes, where a file could not be written."""
    if file is not None:
        existed = file.exists()
        with file.open("ab"):
            pass
        if not existed:
            file.unlink()


def _is_drawable(file: Path | None) -> None:
    if file is not None:
        if importlib.util.find_spec("matplotlib") is None:
            raise ImportError('check: --plot needs matplotlib: pip install "fnnet[train]"')
        from matplotlib.figure import Figure

        known = Figure().canvas.get_supported_filetypes()
        if file.suffix.removeprefix(".") not in known:
            raise ValueError(f"check: --plot {file}: its name must end in one of .{', .'.join(sorted(known))}")
        _is_writable(file)
