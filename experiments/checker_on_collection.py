"""The checker on the collection of wrong and right rules: what it caught, what it missed, what it failed wrongly.

    python experiments/checker_on_collection.py --json runs/collection.jsonl --seeds 0 1 2 3 4

Every wrong rule must be caught by a check that ought to see it, every right one must pass all checks; conventions, bad
references and the rest have verdicts of their own. The collection and its judge stand in tests/collection; this script
puts tests/ on the path. It appends a line for each case and seed and skips what the file has, so that it can be stopped
at any time, and one file takes the lines of several versions of JAX. Then it prints a table of all that the file has.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

# Two devices for the mesh of check T; read when JAX first looks for devices.
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=2 {os.environ.get('XLA_FLAGS', '')}"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import jax
from collection import FAMILIES, families
from collection.case import VERDICTS
from collection.judge import judgements
from records import Records, table

KEY = ("jax", "seed", "case")
HEAD = ("cases", "wrong: caught", "missed", "right: passed", "failed", "other verdicts: as expected", "not")


def row(lines: list[dict]) -> tuple[int, ...]:
    """How many cases there are, and of each kind how many were judged as they have to be, and how many not."""

    def counts(*expected: str) -> tuple[int, int]:
        of_kind = [line for line in lines if line["expected"] in expected]
        bad = sum(bool(line["problem"]) for line in of_kind)
        return len(of_kind) - bad, bad

    cases = len({line["case"] for line in lines})
    others = [verdict for verdict in VERDICTS if verdict not in ("wrong", "right")]
    return (cases, *counts("wrong"), *counts("right"), *counts(*others))


def grouped(lines: list[dict], name: str, key: Callable[[dict], str]) -> str:
    """The table of these lines, a row for each value of `key`."""
    groups: dict[str, list[dict]] = {}
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    return table((name, *HEAD), [(value, *row(group)) for value, group in [*groups.items(), ("all", lines)]])


def summary(records: Records) -> str:
    """By family, by run, and every case that was not judged as it has to be."""
    lines = sorted(records, key=lambda line: (line["jax"], line["seed"], FAMILIES.index(line["family"])))
    by_family = sorted(lines, key=lambda line: FAMILIES.index(line["family"]))
    bad = [line for line in lines if line["problem"]]
    return "\n\n".join([
        grouped(by_family, "family", lambda line: line["family"]),
        grouped(lines, "run", lambda line: f"jax {line['jax']}, seed {line['seed']}"),
        *(f"jax {line['jax']}, seed {line['seed']}, {line['case']}: {line['problem']}" for line in bad),
        f"{len(lines)} judgements, {sum(line['seconds'] for line in lines) / 60:.0f} minutes",
    ])  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="the file of lines; without it nothing is kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="the seeds of the checker")
    parser.add_argument("--family", choices=FAMILIES, nargs="+", default=FAMILIES)
    parser.add_argument("--verdict", choices=VERDICTS, nargs="+", default=VERDICTS, help="only cases that are so")
    parser.add_argument("--case", default="", help="only cases that have this in their name")
    parser.add_argument("--shard", default="1/1", help="i/n: every n-th case, from the i-th")
    parser.add_argument("--again", action="store_true", help="judge anew what was not judged as it has to be")
    parser.add_argument("--cache", type=Path, help="a folder for JAX's compilation cache")
    parser.add_argument("--table", action="store_true", help="only print the tables of what the file has")
    options = parser.parse_args()
    if options.cache:
        jax.config.update("jax_compilation_cache_dir", str(options.cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    number, shards = (int(n) for n in options.shard.split("/"))
    cases = [(name, case) for name in options.family for case in families()[name]
             if case.verdict in options.verdict and options.case in case.name]  # fmt: skip
    records = Records(options.json, KEY)
    for name, case in [] if options.table else cases[number - 1 :: shards]:
        keys = {seed: (jax.__version__, seed, case.name) for seed in options.seeds}
        missing = [s for s, k in keys.items() if k not in records or (options.again and records[k]["problem"])]
        for judgement in judgements(case, missing):
            line = {"jax": jax.__version__, "family": name, "expected": case.verdict, **judgement.as_dict()}
            records.add(line)
            print(f"{line['seconds']:6.1f} s  seed {line['seed']}  {case}: {line['problem'] or 'ok'}", flush=True)
        jax.clear_caches()
    print(f"\n{summary(records)}")


if __name__ == "__main__":
    main()
