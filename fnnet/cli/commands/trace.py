"""`fnnet trace`: one forward and one backward of a trained network on held-out images."""

from pathlib import Path
from typing import Any

from fnnet.cli import runs
from fnnet.cli.parsing import Command, Parser, whole
from fnnet.tracing import tracer
from fnnet.tracing.traces import Trace

BATCH = 32


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    about = """One forward and one backward of a trained network: a table, the first problem if there is one, and a page
        for any browser. More is in docs/trace.md."""
    parser: Parser = commands.add_parser("trace", help="look into a backward pass", description=about)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run directory")
    add("--example", type=whole(0), metavar="N", help="one held-out image; usually the first 32, as a mini-batch")
    add("--data", help="other data than it was trained with; its test images count")
    add("--output", type=Path, metavar="FILE.html", help="the page; usually trace.html, or trace-N.html, in RUN")
    add("--since", type=Path, metavar="RUN", help="another run of the network: what changed since then")
    parser.set_defaults(command=Command(parser, trace))


def trace(*, run: Path, example: int | None, data: str | None, output: Path | None, since: Path | None) -> None:
    """Print the trace, and what changed since another run, and write the page."""
    seen = _traced(run, example, data)
    file = output or run / ("trace.html" if example is None else f"trace-{example}.html")
    what = f"the first {BATCH} held-out images" if example is None else f"held-out image {example}"
    seen.save(file, title=f"{run.name}: {what}")
    print(seen)
    if since is not None:
        print(f"\nsince {since}:\n{_traced(since, example, data).diff(seen)}")
    print(f"page: {file}")


def _traced(directory: Path, example: int | None, data: str | None) -> Trace:
    run = runs.load(directory)
    xs, ys = runs.held_out(run, data)
    if xs.shape[1:] != run.shape:
        raise ValueError(
            f"trace: images of shape {xs.shape[1:]} must have the shape {run.shape} of the run {directory}"
        )
    if example is not None and example >= len(xs):
        raise ValueError(f"trace: --example {example} must be less than {len(xs)}, the number of held-out images")
    rows = slice(BATCH) if example is None else example
    return tracer.trace(run.net, run.loss, run.params, xs[rows], ys[rows])
