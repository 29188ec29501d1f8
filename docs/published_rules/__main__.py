"""fnnet.check on rules that others published; it writes docs/published_rules.md.

    python docs/published_rules --json runs/published.jsonl --docs docs/published_rules.md

What is not installed is left out: install flax equinox lineax jaxopt
ott-jax distrax numpyro jax-cce jax-bitempered-loss flash-attention-jax einops spyx jaxpole jaxbessel e3nn-jax for all.
A line is kept for each entry and version of JAX, and what the file has is skipped. Each fault is run, here and now, and
the page shows what it printed.
"""

import argparse
import contextlib
import importlib.metadata
import io
import logging
import os
import sys
import textwrap
import time
import warnings
from pathlib import Path

# Two devices for the mesh of check T; read when JAX first looks for devices.
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=2 {os.environ.get('XLA_FLAGS', '')}"

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))

import jax
from records import Records, table

import fnnet
from published_rules import ENTRIES, Entry
from published_rules.reproduced import FAULTS, Fault

KEY = ("package", "name", "jax")
SHOWN = {"right": "right", "convention differs": "convention", "inconclusive": "inconclusive", "wrong": "**wrong**",
         "reference is wrong": "reference is wrong"}  # fmt: skip


def checked(entry: Entry) -> dict | None:
    """The line of an entry; None where its package is not installed."""
    try:
        version = importlib.metadata.version(entry.package)
        f, *args = entry.make()
    except ImportError:  # of the distribution, or of the module
        return None
    begin = time.perf_counter()
    with jax.enable_x64(entry.x64 or bool(jax.config.read("jax_enable_x64"))):
        report = fnnet.check(f, *args, reference=entry.reference, name=entry.name, **entry.options)
    return {
        "package": entry.package, "name": entry.name, "jax": jax.__version__, "version": version,
        "arguments": report.signature, "against": report.reference, "verdict": report.verdict,
        "failures": [str(failure).splitlines()[0] for failure in report.failures],
        "conventions": list(report.conventions), "report": str(report),
        "seconds": round(time.perf_counter() - begin, 1),
    }  # fmt: skip


def verdict(line: dict, entry: Entry) -> str:
    if line["verdict"] == "wrong" and entry.documented:
        return "documented"
    return SHOWN[line["verdict"]]


def why(line: dict, entry: Entry) -> str:
    """One line: what people should know of the verdict."""
    found = [*line["failures"], *line["conventions"]]
    first = textwrap.shorten(found[0], 150, placeholder=" ...") if found else ""
    if entry.documented and line["verdict"] == "wrong":
        return f"its documentation: {entry.documented}"
    fault = f"[shown below](#{anchor(entry.fault)})" if entry.fault and line["verdict"] == "wrong" else ""
    return "; ".join(part for part in (first, entry.said, fault) if part)


def anchor(fault: str) -> str:
    """Of its heading."""
    return f"fault-{fault.replace(' ', '-')}"


def rows(records: Records) -> list[tuple]:
    """A row for each entry; one more where another version of JAX gives another verdict."""
    found = []
    for entry in ENTRIES:
        lines = [line for line in records if (line["package"], line["name"]) == (entry.package, entry.name)]
        for line in sorted(lines, key=lambda line: line["jax"]):
            same = [other["jax"] for other in lines if other["verdict"] == line["verdict"]]
            if line["jax"] != min(same):
                continue
            version = " and ".join(sorted(same)) if entry.package == "jax" else line["version"]
            arguments = textwrap.shorten(line["arguments"], 70, placeholder=" ...")
            found.append((entry.package, version, f"`{entry.name}`", arguments, verdict(line, entry), why(line, entry)))
    return found


def shown(fault: Fault) -> str:
    """The fault's code, run, and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(fault.code, fault.said, "exec"), {})
    comment = "\n".join(f"# {line}".rstrip() for line in printed.getvalue().splitlines())
    # Blocks of the packages that the tests install are run by tests/test_documents.py.
    info = "python" if fault.package in ("jax", "optax") else f"python {fault.package}"
    return f"```{info}\n{fault.code.strip()}\n{comment}\n```"


def page(records: Records) -> str:
    parts = [table(("package", "version", "function", "arguments", "verdict", "why"), rows(records))]
    sections = []
    for key, fault in FAULTS.items():
        try:
            version = importlib.metadata.version(fault.package)
            sections.append(f"### Fault: {key}\n\n{fault.said} ({fault.package} {version})\n\n{shown(fault)}")
        except ImportError:
            continue
    counts: dict[str, int] = {}
    for row in rows(records):
        counts[row[4].strip("*")] = counts.get(row[4].strip("*"), 0) + 1
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    return PAGE.format(
        command=textwrap.dedent(__doc__.split("\n\n")[1]),
        counts=told,
        table=parts[0],
        versions=" and ".join(sorted({line["jax"] for line in records})),
        faults="\n\n".join(sections),
    )


PAGE = """# Published rules under `fnnet.check`

<!-- Made by the command below; edit docs/published_rules, not this page. -->

Gradients that others wrote by hand, or that are built on such, put to every check at small arguments, against autodiff
of the function without its custom rule or of a plain formula, and against finite differences. Versions of jax:
{versions}. {counts}.

```sh
{command}
```

- *convention*: at a kink or a tie it takes another slope than the reference, within the subdifferential.
- *documented*: it differs from the derivative, and its documentation says so.
- *wrong*: a check contradicts it, as the last column says. Faults that were looked into are reproduced below the table.

{table}

## The faults, reproduced

{faults}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="the file of lines; without it nothing is kept")
    parser.add_argument("--only", nargs="+", default=[""], help="only entries that have this in their name or package")
    parser.add_argument("--again", action="store_true", help="check anew what was not right")
    parser.add_argument("--docs", type=Path, help="where to write the page")
    parser.add_argument("--table", action="store_true", help="only write the page")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # theirs
    logging.getLogger("jax").setLevel(logging.CRITICAL)  # callbacks that refuse edge values say so at length
    records = Records(options.json, KEY)
    chosen = [e for e in ENTRIES if any(only in f"{e.package} {e.name}" for only in options.only)]
    for entry in [] if options.table else chosen:
        key = (entry.package, entry.name, jax.__version__)
        if key in records and not (options.again and records[key]["verdict"] != "right"):
            continue
        try:
            line = checked(entry)
        except Exception as problem:  # the next one, please
            print(f"{entry.package} {entry.name}: {type(problem).__name__}: {str(problem)[:200]}", flush=True)
            continue
        if line is not None:
            records.add(line)
            print(f"{line['seconds']:6.1f} s  {entry.package} {entry.name}: {line['verdict']}", flush=True)
        jax.clear_caches()
    text = page(records)
    if options.docs:
        options.docs.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
