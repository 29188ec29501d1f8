"""`python -m fnnet trace RUN`: the trace of a trained network on held-out images."""

from pathlib import Path

from fnnet import data
from fnnet.cli import runs
from fnnet.tracing.tracer import trace
from fnnet.tracing.traces import Trace

BATCH = 32


def show(run: Path, example: int | None, source: str | None, output: Path | None, since: Path | None) -> Path:
    """Print the trace, write its page and return where that is.

    Args:
        run: A run directory.
        example: The number of one held-out image; None for a mini-batch of the first.
        source: Other data than the run's.
        output: Where the page goes.
        since: Another run of the same network: the change from it to `run` is printed too.

    Raises:
        ValueError: There is no such image, or a run is not whole or of another network.
        OSError: The page cannot be written.
    """
    seen = _traced(run, example, source)
    file = output or run / ("trace.html" if example is None else f"trace-{example}.html")
    of = f"the first {BATCH} held-out images" if example is None else f"held-out image {example}"
    seen.save(file, title=f"{run.name}: {of}")
    print(seen)
    if since is not None:
        print(f"\nsince {since}:\n{_traced(since, example, source).diff(seen)}")
    print(f"page: {file}")
    return file


def _traced(directory: Path, example: int | None, source: str | None) -> Trace:
    run = runs.load(directory)
    xs, ys = data.load(run.config["data"] if source is None else source).test
    wanted = tuple(run.config["shape"])
    if xs.shape[1:] != wanted:
        raise ValueError(f"trace: images of shape {xs.shape[1:]} must have the shape {wanted} of the run {directory}")
    if example is not None and example >= len(xs):
        raise ValueError(f"trace: --example {example} must be less than {len(xs)}, the number of held-out images")
    rows = slice(BATCH) if example is None else example
    return trace(run.net, run.loss, run.params, xs[rows], ys[rows])
