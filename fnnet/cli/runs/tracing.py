"""A run as traces: of its network as it is, and at the moments of its training that were kept."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from fnnet.cli.runs.directory import Run
from fnnet.cli.runs.inference import held_out
from fnnet.cli.runs.last_optimizer import LastOptimizer, last_optimizer
from fnnet.cli.runs.moments import kept
from fnnet.tracing import tracer
from fnnet.tracing.traces import Trace

MOST = 12  # moments of a page, evenly chosen: each costs a trace


def title_of(run: Run, name: str, example: int | None) -> str:
    """What a page is of."""
    subject = run.subject
    if example is None:
        return f"{name}: the first {subject.traced} held-out {subject.examples}"
    return f"{name}: held-out {subject.examples.removesuffix('s')} {example}"


def traced(run: Run, example: int | None = None, data: str | None = None) -> tuple[Trace, LastOptimizer]:
    """The run's network on one held-out example, or on the first ones, and its optimiser, whose next update it has.

    Raises ValueError where there is no such example.
    """
    xs, ys = held_out("trace", run, data)
    if example is not None and example >= len(xs):
        raise ValueError(
            f"trace: --example {example} must be less than {len(xs)}, the number of held-out {run.subject.examples}"
        )
    rows = slice(run.subject.traced) if example is None else example
    optimizer = last_optimizer(run)
    optimised = {"optimizer": optimizer.optimizer, "opt_state": optimizer.state}
    return trace_of(run, (xs[rows], ys[rows]), run.params, **optimised), optimizer


def moments_of(directory: Path, run: Run, last: Trace) -> dict[str, Trace]:
    """Traces of the moments that the run directory keeps, by their names, `last` at the end; {} where it keeps none.

    They are of the examples of `last`, the trace of the run as it is.
    """
    before, examples = kept(directory, run), (last.x.array, last.y.array)
    now = _now(run)
    earlier = [epoch for epoch in before if f"epoch {epoch}" != now]
    chosen = np.unique(np.linspace(0, len(earlier) - 1, min(len(earlier), MOST - 1)).astype(int))
    moments = {f"epoch {earlier[place]}": trace_of(run, examples, before[earlier[place]]) for place in chosen}
    return {**moments, now: last} if moments else {}


def _now(run: Run) -> str:
    """Where the training stands that the run's parameters are of."""
    if run.config.get("patience") is not None:
        return "the best epoch"
    steps = int(run.training.get("tally", {}).get("steps", 0))
    return f"epoch {int(run.training.get('epoch', 0))}" + (f" and {steps} steps" if steps else "")


def trace_of(run: Run, examples: tuple[Any, Any], params: Any, **optimised: Any) -> Trace:
    """The trace of the run's network with these parameters."""
    xs, ys = examples
    is_batch = np.ndim(xs) > len(run.shape)
    key = jax.random.key(0) if run.net.of_batch and is_batch else None  # with statistics of the mini-batch
    return tracer.trace(run.net, run.loss, params, xs, ys, key=key, **optimised)
