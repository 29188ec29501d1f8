"""A run as traces: of its network as it is, and at the moments of its training that were kept; and their page."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fnnet.cli.runs.directory import Run
from fnnet.cli.runs.inference import held_out
from fnnet.cli.runs.last_optimizer import LastOptimizer, last_optimizer
from fnnet.cli.runs.moments import kept
from fnnet.tracing import tracer
from fnnet.tracing.traces import Trace

MOST = 12  # moments of a page, evenly chosen: each costs a trace


class Traced(NamedTuple):
    """What a run's traces are.

    Args:
        trace: Of the network as it is, with the next update of its optimiser.
        moments: Of the moments that were kept, by their names; `trace` is the last. {} where none were kept.
        optimizer: What makes the update.
    """

    trace: Trace
    moments: dict[str, Trace]
    optimizer: LastOptimizer

    def save(self, file: Path, title: str) -> None:
        """The page."""
        self.trace.save(file, title=title, moments=self.moments)


def title_of(run: Run, name: str, example: int | None) -> str:
    """What a page is of."""
    subject = run.subject
    if example is None:
        return f"{name}: the first {subject.traced} held-out {subject.examples}"
    return f"{name}: held-out {subject.examples.removesuffix('s')} {example}"


def traced(directory: Path, run: Run, example: int | None = None, data: str | None = None) -> Traced:
    """The run in that directory on one held-out example, or on the first ones; ValueError if there is no such one."""
    examples, optimizer = examples_of(run, example, data), last_optimizer(run)
    trace = trace_of(run, examples, run.params, optimizer=optimizer.optimizer, opt_state=optimizer.state)
    now, before = f"epoch {int(run.training.get('epoch', 0))}", kept(directory, run)
    if run.config.get("patience") is not None:
        now = "the best epoch"
    earlier = [epoch for epoch in before if f"epoch {epoch}" != now]
    chosen = np.unique(np.linspace(0, len(earlier) - 1, min(len(earlier), MOST - 1)).astype(int))
    moments = {f"epoch {earlier[place]}": trace_of(run, examples, before[earlier[place]]) for place in chosen}
    return Traced(trace, {**moments, now: trace} if moments else {}, optimizer)


def examples_of(run: Run, example: int | None, data: str | None) -> tuple[Any, Any]:
    """The held-out example of that number with its label, or the first ones."""
    xs, ys = held_out("trace", run, data)
    if example is not None and example >= len(xs):
        raise ValueError(
            f"trace: --example {example} must be less than {len(xs)}, the number of held-out {run.subject.examples}"
        )
    rows = slice(run.subject.traced) if example is None else example
    return xs[rows], ys[rows]


def trace_of(run: Run, examples: tuple[Any, Any], params: Any, **optimised: Any) -> Trace:
    """The trace of the run's network with these parameters."""
    xs, ys = examples
    is_batch = np.ndim(xs) > len(run.shape)
    key = jax.random.key(0) if run.net.of_batch and is_batch else None  # with statistics of the mini-batch
    return tracer.trace(run.net, run.loss, params, xs, ys, key=key, **optimised)
