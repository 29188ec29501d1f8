"""The command line: what to measure, and how long; the tables are written after each part."""

import argparse
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import fresh, machine, memory, report, verdicts
from benchmarks.agreement import Reference
from benchmarks.cells import PARTS, Cell, Plan
from benchmarks.contestants import ALONE, CONTESTANTS, TORCH
from benchmarks.crew import Crew, Failed, installed
from benchmarks.nets import NETS
from benchmarks.results import Results
from benchmarks.rounds import Effort, measure
from fnnet.core import onednn

FRESH = ("first-step", "mnist")
SUMMARY = "summary"
OF_REFERENCE = 10  # limits: it runs nine times, once in double precision
USUAL = (*PARTS, "first-step")  # whole trainings take long: only when they are asked for


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; returns the exit status: 1 if a contestant failed or did not agree with the others, 2 after an error."""
    arguments = _arguments(argv)
    if arguments.parts == [SUMMARY]:
        print(verdicts.page(Results(arguments.output), machine.kept(arguments.output)))
        return 0
    if arguments.onednn:
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *onednn.FLAGS])  # the workers' too
    contestants, missing = installed(arguments.peers)
    for line in missing:
        _say(line)
    results = Results(arguments.output)
    with contextlib.closing(Crew(contestants, arguments.memory)) as crew:
        try:
            found = machine.keep(arguments.output, machine.description(_versions(crew)))
        except ValueError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 2
        plan = Plan([NETS[name] for name in arguments.nets], arguments.batches, arguments.quick)
        effort = Effort(arguments.repeats, 0.01 if arguments.quick else 0.2, arguments.patience, arguments.limit)
        for part in arguments.parts:
            if part in PARTS:
                references = _measure(part, plan, crew, effort, results)
                crew.close()
                _measure_alone(part, plan, arguments, contestants, effort, results, references)
            elif part in FRESH:
                crew.close()
                _measure_fresh(part, arguments, contestants, results)
            (arguments.output / "table.md").write_text(report.markdown(results, found))
    print(verdicts.page(results, found) if SUMMARY in arguments.parts else report.markdown(results, found))
    return int(any(record["problem"] and not record["unsupported"] for record in results.records))


def _versions(crew: Crew) -> dict[str, str]:
    found: dict[str, str] = {}
    for worker in crew.workers:
        try:
            found |= worker.ask("versions")
        except Failed as failed:
            print(f"{worker.contestant} failed: {failed}", file=sys.stderr)
    return found


def _measure(part: str, plan: Plan, crew: Crew, effort: Effort, results: Results) -> dict[str, Reference | None]:
    """Keeps the results; returns what the programs of each cell were compared with."""
    references: dict[str, Reference | None] = {}
    for cell in PARTS[part](plan, crew):
        references[cell.name] = reference = _reference(cell, crew, effort)
        measured = measure(cell.entries, cell.tolerance, effort, _say, reference)
        results.add(part, cell.name, measured)
        crew.release()
        shown = ", ".join(
            f"{own.contestant} {own.setting} {own.mode} {report.shown(summary)}"
            for own in measured
            if (summary := results.summary(part, cell.name, own.contestant, own.setting, own.mode))
        )
        _say(f"{part}, {cell.name}: {shown}")
    return references


def _reference(cell: Cell, crew: Crew, effort: Effort) -> Reference | None:
    try:
        return None if cell.reference is None else crew.reference(cell.reference(), OF_REFERENCE * effort.limit)
    except Failed as failed:
        _say(f"{cell.part}, {cell.name}: compared with the median of all, without double precision: {failed}")
        return None


def _measure_alone(
    part: str,
    plan: Plan,
    arguments: argparse.Namespace,
    contestants: Sequence[str],
    effort: Effort,
    results: Results,
    references: Mapping[str, Reference | None],
) -> None:
    """The programs that agreed, once more, while no other contestant's process is alive."""
    for setting in arguments.memory:
        for name in contestants:
            if name in arguments.alone:
                with contextlib.closing(Crew([name], [setting], alone=True)) as crew:
                    for cell in PARTS[part](plan, crew):
                        judged = [e for e in cell.entries if results.summary(part, cell.name, name, setting, e.mode)]
                        measured = measure(judged, cell.tolerance, effort, _say, references[cell.name])
                        for own in measured:
                            own.contestant += ALONE
                        results.add(part, cell.name, measured)
                        crew.release()


def _measure_fresh(part: str, arguments: argparse.Namespace, contestants: Sequence[str], results: Results) -> None:
    if part == "mnist":
        names = [name for name in contestants if name in fresh.TRAINED]
        measured = fresh.trainings(arguments.mnist, names, arguments.memory, arguments.seeds, _say)
        results.add(part, "cnn 128", measured)
    else:
        batch = 4 if arguments.quick else 128
        rounds = min(arguments.repeats, 5)
        results.add(part, f"cnn {batch}", fresh.first_steps(contestants, arguments.memory, "cnn", batch, rounds, _say))


def _say(line: str) -> None:
    print(line, flush=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks",
        description="How fast fnnet is beside autodiff, Flax NNX, Equinox and PyTorch, all measured in turn.",
        allow_abbrev=False,
    )
    add, known = parser.add_argument, (*PARTS, *FRESH, SUMMARY)
    add(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"{', '.join(known)}; without any, all but mnist. {SUMMARY} measures nothing: it prints one page of the "
        "records, ahead, level or behind for each net and peer, in place of all tables",
    )
    add("--nets", nargs="+", choices=NETS, default=list(NETS))
    add("--batches", nargs="+", type=int, help="mini-batches, usually 32 128 512")
    add("--peers", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), help="the contestants, fnnet among them")
    add(
        "--alone", nargs="*", choices=CONTESTANTS, default=list(TORCH), help="measured once more, with no other process"
    )
    add("--memory", nargs="+", choices=memory.SETTINGS, default=list(memory.SETTINGS), help="glibc's settings")
    add("--repeats", type=int, help="rounds, with a block of each contestant in each; usually 10")
    add("--patience", type=float, default=60.0, help="seconds after which a program gets no further block")
    add(
        "--limit",
        type=float,
        default=300.0,
        help="seconds to compile a program and run it once; the reference has ten times that",
    )
    add("--mnist", type=Path, metavar="DIR", help="MNIST's four IDX files, for the part mnist")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="for the part mnist")
    add("--output", type=Path, default=Path("runs/benchmarks"), metavar="DIR", help="records and table.md")
    add("--onednn", action="store_true", help="XLA calls oneDNN for all contestants on JAX: fnnet.use_onednn")
    add("--quick", action="store_true", help="tiny shapes and few rounds, to see that all works")
    arguments = parser.parse_args(argv)
    arguments.parts = arguments.parts or list(USUAL)
    if unknown := [part for part in arguments.parts if part not in known]:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(known)}")
    if "mnist" in arguments.parts and arguments.mnist is None:
        parser.error("the part mnist needs --mnist DIR")
    arguments.batches = arguments.batches or ([4] if arguments.quick else [32, 128, 512])
    arguments.repeats = arguments.repeats or (2 if arguments.quick else 10)
    return arguments
