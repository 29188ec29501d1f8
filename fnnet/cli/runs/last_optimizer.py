"""The optimiser of a run as its newest checkpoint left it, for a look at the next update."""

from typing import Any, NamedTuple

import jax
import numpy as np

from fnnet.cli import presets
from fnnet.cli.runs.directory import Config, Run, parameters, warn
from fnnet.cli.subjects import TEXT, subject_of
from fnnet.layers.decay import decayed
from fnnet.layers.protocol import Layer
from fnnet.training import checkpoint
from fnnet.training.trainable import part_of

OVER = 1e-3  # of the highest learning rate: below it, updates say nothing of the training


class LastOptimizer(NamedTuple):
    """An optimiser and where it stands.

    Args:
        optimizer: The optax transformation.
        state: Its state; None: a new one.
        rate: The learning rate in words.
    """

    optimizer: Any
    state: Any
    rate: str


def last_optimizer(run: Run) -> LastOptimizer:
    """The run's optimiser at its next step, or at its highest learning rate if the schedule has come to 0."""
    config, steps, step = run.config, _all_steps(run), int(run.training.get("step", 0))
    peak, schedule = config["learning_rate"], presets.learning_rate(config, steps)
    rate = float(schedule(step)) if callable(schedule) else schedule
    if is_over := rate < OVER * peak:
        rate, steps = peak, None
    optimizer = presets.optimizer(config, steps, decayed_parameters(run.net, config))
    _, optimizer = part_of(run.net, optimizer, None, run.params, jax.random.key(0), run.shape)
    when = "the highest of the training, whose schedule has come to 0" if is_over else f"as after {step} steps"
    words = f"updates by {config['optimizer']} at the learning rate {rate:.3g}, {when}"
    return LastOptimizer(optimizer, _state(run, optimizer), words)


def _all_steps(run: Run) -> int | None:
    """How many steps the whole training has; None where no epoch has ended, so that nobody counted them."""
    there = {name: int(run.training.get(name, 0)) for name in ("epoch", "step")}
    under_way = int(run.training.get("tally", {}).get("steps", 0))
    if not there["epoch"]:
        return None
    return run.config["epochs"] * ((there["step"] - under_way) // there["epoch"])


def _state(run: Run, optimizer: Any) -> Any:
    """Its state in the checkpoint; None where there is none, or another's."""
    if "step" not in run.training:  # of fnnet's first version
        return None
    like = {"optimizer": jax.eval_shape(optimizer.init, run.params)}
    try:
        return checkpoint.restore({"optimizer": run.training.get("optimizer", {})}, like, name="")["optimizer"]
    except ValueError as error:
        warn(f"the optimiser's state is left out: {error}")
        return None


def decayed_parameters(net: Any, config: Config) -> Any:
    """Which parameters weight decay is for: of a network that does not say it, arrays of two axes or more."""
    if isinstance(net, Layer):
        return decayed(net, config["shape"], np.int32 if subject_of(config) is TEXT else np.float32)
    return jax.tree.map(lambda leaf: leaf.ndim > 1, parameters(net, config))
