"""`fnnet trace`: one forward and one backward of a trained network on held-out examples."""

from pathlib import Path
from typing import Any

import jax

from fnnet.cli import runs
from fnnet.cli.parsing import Command, Parser, whole
from fnnet.tracing import tracer
from fnnet.tracing.traces import Trace


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    about = """One forward and one backward of a trained network: a table, the first problem if there is one, and a page
        for any browser. More is in docs/trace.md."""
    parser: Parser = commands.add_parser("trace", help="look into a backward pass", description=about)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run directory")
    add("--example", type=whole(0), metavar="N", help="one held-out example; default: the first ones, as a mini-batch")
    add("--data", help="other data than it was trained with: their test part, or all where they have none")
    add("--output", type=Path, metavar="FILE.html", help="the page; default: trace.html, or trace-N.html, in RUN")
    add("--since", type=Path, metavar="RUN", help="another run of the network: what changed since then")
    parser.set_defaults(command=Command(parser, trace))


def trace(*, run: Path, example: int | None, data: str | None, output: Path | None, since: Path | None) -> None:
    """Print the trace, and what changed since another run, and write the page."""
    trained = runs.load(run)
    seen = _traced(trained, example, data)
    file = output or run / ("trace.html" if example is None else f"trace-{example}.html")
    subject = trained.subject
    what = f"the first {subject.traced} held-out {subject.examples}"
    what = what if example is None else f"held-out {subject.examples.removesuffix('s')} {example}"
    seen.save(file, title=f"{run.name}: {what}")
    print(seen)
    if since is not None:
        print(f"\nsince {since}:\n{_traced(runs.load(since), example, data).diff(seen)}")
    print(f"page: {file}")


def _traced(run: runs.Run, example: int | None, data: str | None) -> Trace:
    xs, ys = runs.held_out("trace", run, data)
    if example is not None and example >= len(xs):
        raise ValueError(
            f"trace: --example {example} must be less than {len(xs)}, the number of held-out {run.subject.examples}"
        )
    rows = slice(run.subject.traced) if example is None else example
    key = jax.random.key(0) if run.net.of_batch and example is None else None  # with statistics of the mini-batch
    return tracer.trace(run.net, run.loss, run.params, xs[rows], ys[rows], key=key)
