"""`python -m fnnet check`: a table of fnnet's own rules, or the report of anybody's rule."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from fnnet.checking import examples, own
from fnnet.checking.compilation import faults
from fnnet.checking.kinds import Verdict
from fnnet.checking.output import STATUS, begun, checked, require_drawable, require_writable, write_json
from fnnet.checking.plotting import drawn_failures
from fnnet.checking.table import ask_for_two_devices, own_rules
from fnnet.checking.targets import in_order
from fnnet.core.compiler import FAULTS
from fnnet.core.importing import found


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
    jobs: int | None = None,
    **options: Any,
) -> int:
    """Check fnnet's own rules, all or those of these names, or one rule of the caller's. Returns the exit status.

    Args:
        rules: Names of public rules, of proofs "package.module:proof" or of modules of proofs; or one
            "package.module:function".
        reference: Where the caller's reference is, "package.module:function".
        arg: Its example arguments, each "name=value".
        static: Its static values, each "name=value".
        waive: Checks that may fail, each "check=reason".
        json: File of the report, or of the list of reports.
        plot: File of the picture.
        compiler: Look for the known faults of XLA instead.
        jobs: How many processes check own rules; by default one for each core.
        **options: Other options of `fnnet.check`.

    Raises:
        ValueError: One of these is unusable; the message says which, and what would do.
        ImportError: A picture is wanted, and matplotlib is not installed.
        OSError: A file cannot be read or written.
    """
    if compiler:
        if rules or arg or static or reference or plot:
            raise ValueError("check: --compiler takes no rule: it looks for the known faults of XLA on this machine")
        return the_compiler(json)
    ask_for_two_devices()
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
    return own_rules(rules, json, options, jobs)


def the_compiler(json_file: Path | None) -> int:
    """A table of XLA's known faults: which are live on this machine, with its options in XLA_FLAGS."""
    require_writable(json_file)
    print(f"jax {jax.__version__}, {jax.default_backend()}; every known fault is tried in a process of its own")
    width = max(len(fault.name) for fault in FAULTS)
    print(f"{'fault':{width}}  {'usual':5}  {'safe':5}  {'seen in jaxlib':16}  report")
    outcomes = faults.outcomes()
    for fault, outcome in outcomes:
        print(f"{fault.name:{width}}  {outcome.usual:5}  {outcome.safe:5}  {fault.versions:16}  {fault.report}")
    for fault, outcome in outcomes:
        if outcome.is_live:
            print(f"\n{fault.name}\n  hits: {fault.programs}\n  to be safe: {fault.avoided}")
    known = ("name", "report", "versions", "programs", "avoided")
    write_json(json_file, [{n: getattr(fault, n) for n in known} | outcome._asdict() for fault, outcome in outcomes])
    live = sum(outcome.is_live for _, outcome in outcomes)
    print(f"\n{live} of {len(outcomes)} are live here")
    return STATUS[Verdict.MISCOMPILED] if live else 0


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
    require_writable(json_file)
    require_drawable(plot_file)
    f = found(f"check: {target}", target)
    plain = None if reference is None else found(f"check: --reference {reference}", reference)
    given = [examples.named("--arg", text) for text in arguments]
    values = {name: examples.static(text) for name, text in (examples.named("--static", s) for s in static)}
    name = target.partition(":")[2]
    with jax.enable_x64(True) if any(examples.is_wide(text) for _, text in given) else contextlib.nullcontext():
        drawn = [(name, examples.argument(name, text, options.get("seed", 0))) for name, text in given]
        args, values = in_order(name, f, examples.nested(drawn), values)
        run = begun(f, *args, reference=plain, static=values, name=name, **options)
        if plain is not None and run.session.can.reference_problem:
            why = f"cannot be differentiated: {run.session.can.reference_problem}"
            raise ValueError(f"check: --reference {reference} {why}")
        report = checked(run, name)
    print(report, flush=True)
    write_json(json_file, report.content())
    if plot_file is not None and drawn_failures(report):
        report.plot(plot_file)
    elif plot_file is not None:
        print(f"{plot_file} is not written: no cotangent differs from a reference's")
    return STATUS[Verdict(report.verdict)]
