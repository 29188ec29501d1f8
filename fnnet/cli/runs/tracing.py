"""A run as traces: of its network as it is, and at the moments of its training that were kept."""

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fnnet.cli.runs.directory import HISTORY, Run
from fnnet.cli.runs.inference import held_out
from fnnet.cli.runs.last_optimizer import LastOptimizer, last_optimizer
from fnnet.cli.runs.moments import kept
from fnnet.tracing import tracer
from fnnet.tracing.traces import Trace

BEST = ", the best"
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
    """Traces of the moments that the run directory keeps, in order, `last` among them; {} if none.

    They are of the examples of `last`, the trace of the run as it is.
    """
    before, examples = kept(directory, run), (last.x.array, last.y.array)
    epoch, now = _now(directory, run)
    others = [one for one in before if f"epoch {one}" != now and not (one == epoch and now.endswith(BEST))]
    chosen = np.unique(np.linspace(0, len(others) - 1, min(len(others), MOST - 1)).astype(int))
    moments = {others[place]: trace_of(run, examples, before[others[place]]) for place in chosen}
    if not moments:
        return {}
    ordered = [(one, f"epoch {one}", trace) for one, trace in moments.items()] + [(epoch, now, last)]
    return {label: trace for _, label, trace in sorted(ordered, key=lambda moment: moment[0])}


def _now(directory: Path, run: Run) -> tuple[float, str]:
    """The epoch that the run's parameters are of, and its name; an epoch that is not known comes last."""
    done = int(run.training.get("epoch", 0))
    if run.config.get("patience") is not None:
        best = _best_epoch(directory / HISTORY, done)
        return (math.inf, "the best epoch") if best is None else (best, f"epoch {best}{BEST}")
    steps = int(run.training.get("tally", {}).get("steps", 0))
    return done, f"epoch {done}" + (f" and {steps} steps" if steps else "")


def _best_epoch(history: Path, done: int) -> int | None:
    """The first with the lowest held-out loss of the epochs that are done; None if the file does not tell."""
    try:
        records = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()][:done]
        return min(records, key=lambda record: float(record["validation_loss"]))["epoch"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def trace_of(run: Run, examples: tuple[Any, Any], params: Any, **optimised: Any) -> Trace:
    """The trace of the run's network with these parameters."""
    xs, ys = examples
    is_batch = np.ndim(xs) > len(run.shape)
    key = jax.random.key(0) if run.net.of_batch and is_batch else None  # with statistics of the mini-batch
    return tracer.trace(run.net, run.loss, params, xs, ys, key=key, **optimised)
