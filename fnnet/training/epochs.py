"""`epoch_of`: the steps of one epoch, with its progress bar and its checkpoints."""

import time
from typing import Any

import numpy as np

from fnnet.training.batches import Pace
from fnnet.training.placement import Source
from fnnet.training.programs import Programs
from fnnet.training.resumption import Checkpoints, Moment
from fnnet.training.state import State, Tally


def epoch_of(
    programs: Programs,
    source: Source,
    moment: Moment,
    pace: Pace,
    label: str,
    progress: bool,
    checkpoints: Checkpoints | None,
) -> tuple[State, Tally]:
    """All steps of one epoch, or those that are left of it, or up to the first loss that is not finite."""
    state, tally, began = moment.state, moment.tally, time.perf_counter() - moment.seconds
    pace.begin(int(tally.steps))
    with _bar(label, source.steps, progress) as bar:
        if not pace.ran:
            bar.set_postfix_str("compiling")
        for xs, ys, rows, stops in source.epoch(programs.order, state, pace):
            for stop in stops:
                state, tally = programs.run(state, tally, xs, ys, rows, stop)
                if pace.due(stop):
                    done = int(tally.steps)
                    pace.reached(done)
                    bar.update(done - bar.n)
                    bar.set_postfix(loss=f"{float(tally.last_loss):.4f}", refresh=False)
                    if not np.isfinite(tally.last_loss):
                        return state, tally
                    if checkpoints is not None:
                        seconds = time.perf_counter() - began
                        checkpoints(moment._replace(state=state, tally=tally, seconds=seconds))
        bar.update(int(tally.steps) - bar.n)
    if int(tally.steps) == 0:
        raise ValueError("fit: data is empty in this epoch; an iterable must start anew each time it is iterated")
    return state, tally


def _bar(label: str, steps: int | None, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=steps, desc=label, unit="step", leave=False, disable=None if progress else True)
