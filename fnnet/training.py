"""Training: `fit` and `evaluate`. The pure functions under them are in steps.py.

An epoch is a sequence of calls of one compiled program, `run`: a loop on the device over some of the epoch's steps,
whose state is donated. How many steps a call takes is an argument, not a shape: it is chosen so that Python has the
word about twice a second (progress, signals, checkpoints), costs no compilation, and changes no bit of the result. The
loop ends by itself at the first loss that is not finite, with the state as it was before that step.
"""

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.batches import Arrays, Batch, Batches, Pace, checked_pair, is_pair, source_of
from fnnet.steps import State, Tally, epoch_order, run, score, start


class NonFiniteLossError(FloatingPointError):
    """The loss became infinite or NaN. `state` is from before that step, `history` of the epochs before."""

    def __init__(self, message: str, state: State, history: list[dict]):
        """The message names epoch and step."""
        super().__init__(message)
        self.state, self.history = state, history


def fit(
    net: Any,
    loss: Callable,
    optimizer: Any,
    data: Batch | Iterable[Batch],
    *,
    key: jax.Array,
    epochs: int = 1,
    batch_size: int = 32,
    accumulate: int = 1,
    params: Any = None,
    validation: Batch | Iterable[Batch] | None = None,
    patience: int | None = None,
    callback: Callable[[dict, State], Any] | None = None,
    progress: bool = True,
) -> tuple[Any, list[dict]]:
    """Train `net` by mini-batches: `jax.vmap` of a network of one example, gradients by the rules, steps by optax.

    Args:
        net: Has `init(key, shape) -> params` and `apply(params, x, *, key) -> output`, for one example; hashable.
        loss: loss(output, y) -> one number an example. A mini-batch's loss is the mean of these, over the examples
            that count (`fnnet.mean_loss`).
        optimizer: Any optax transformation, with its schedules and clipping.
        data: The pair (xs, ys) of arrays with the examples along the first axis, or an iterable of such pairs, each one
            mini-batch, which can be iterated once an epoch: for data larger than memory.
        key: A key of `jax.random`: it settles the initial parameters, each epoch's order, and dropout.
        epochs: How many times to go through the data.
        batch_size: Examples in a mini-batch. Only complete ones are used: the leftovers of an epoch's random order are
            dropped, and, of an iterable, the batches that are smaller than its first.
        accumulate: Number of equal chunks into which each mini-batch is split, one of them in memory at a time; their
            gradients are added up before the step. The result is the same up to rounding, ignored labels, weights and
            dropout included. It must divide the mini-batch.
        params: Parameters to start from; not changed. None: from `net.init`.
        validation: Held-out data, evaluated after each epoch.
        patience: Stop after so many epochs without a lower validation loss, and return the best epoch's parameters.
        callback: callback(record, state) after each epoch, with the epoch's entry of the history; the training ends
            when it returns True. The state's buffers are donated to the next step: a callback copies what it keeps.
        progress: Whether to show a progress bar; there is none where standard error is not a terminal.

    Returns:
        The trained parameters and the history: for each epoch a dictionary with "epoch", "loss", "seconds", and, with
        validation, "validation_loss" and "validation_accuracy" (integer labels only).

    Raises:
        ValueError: No data, data that do not match, a mini-batch larger than the data or not divisible by `accumulate`.
        NonFiniteLossError: The loss is infinite or NaN; it names epoch and step.
    """
    _at_least_one("fit", "epochs", epochs)
    _at_least_one("fit", "batch_size", batch_size)
    _at_least_one("fit", "accumulate", accumulate)
    if patience is not None:
        _at_least_one("fit", "patience", patience)
        if validation is None:
            raise ValueError("fit: patience needs validation data")
    source = source_of("fit", data, batch_size)
    if source.batch_size % accumulate:
        raise ValueError(
            f"fit: accumulate (={accumulate}) must divide the mini-batch, which has {source.batch_size} examples"
        )
    state = start(net, optimizer, key, source.shape, params)
    _check_loss("fit", net, loss, state.params, *source.sample())
    pace = Pace()
    history: list[dict] = []
    best: tuple[float, Any] | None = None
    since_best = 0
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        label = f"epoch {epoch}/{epochs}"
        state, tally = _epoch(_programs(net, loss, optimizer, accumulate), source, state, pace, label, progress)
        if not np.isfinite(tally.last_loss):
            raise NonFiniteLossError(
                f"fit: the loss is {float(tally.last_loss)} in epoch {epoch}, step {int(tally.steps)}", state, history
            )
        record = {"epoch": epoch, "loss": float(tally.loss_sum) / int(tally.steps)}
        if validation is not None:
            scores = evaluate(net, state.params, loss, validation)
            record |= {f"validation_{name}": value for name, value in scores.items()}
        record["seconds"] = time.perf_counter() - began
        history.append(record)
        if patience is not None:
            since_best += 1
            if best is None or record["validation_loss"] < best[0]:
                best, since_best = (record["validation_loss"], jax.tree.map(jnp.copy, state.params)), 0
        stop = callback is not None and callback(record, state)
        if stop or (patience is not None and since_best >= patience):
            break
    return (state.params if best is None else best[1]), history


def evaluate(
    net: Any, params: Any, loss: Callable, data: Batch | Iterable[Batch], *, batch_size: int = 256
) -> dict[str, float]:
    """Mean loss, and with integer labels the accuracy, over every example of `data`.

    Args:
        net: As in `fit`; dropout is off.
        params: The network's parameters.
        loss: As in `fit`.
        data: The pair (xs, ys), or an iterable of such pairs of any sizes.
        batch_size: Examples computed at once; the result does not depend on it but for rounding.

    Returns:
        {"loss": ..., "accuracy": ...}; the accuracy, the share of examples whose largest output is the label, is there
        where ys are integers of the outputs' shape without the last axis. Examples of weight 0 (`ignore_index`) do not
        count.

    Raises:
        ValueError: No data, or data that do not match.
    """
    _at_least_one("evaluate", "batch_size", batch_size)
    totals = None
    for pair in [data] if is_pair(data) else data:
        xs, ys = checked_pair("evaluate", *pair)
        _check_loss("evaluate", net, loss, params, xs, ys)
        sums = _programs(net, loss).score(params, xs, ys, batch_size=min(batch_size, len(xs)))
        totals = sums if totals is None else jax.tree.map(jnp.add, totals, sums)
    if totals is None:
        raise ValueError("evaluate: data is empty")
    sums = {name: float(value) for name, value in totals.items()}
    scores = {"loss": sums["loss"] / sums["weight"] if sums["weight"] else float("nan")}
    if "correct" in sums:
        scores["accuracy"] = sums["correct"] / sums["counted"] if sums["counted"] else float("nan")
    return scores


# Under the public functions.


class _Programs(NamedTuple):
    run: Callable
    order: Callable
    score: Callable


@functools.lru_cache(maxsize=32)
def _programs(net: Any, loss: Callable, optimizer: Any = None, accumulate: int = 1) -> _Programs:
    """The compiled programs of one network, loss and optimiser: made once, so that an epoch compiles nothing."""
    return _Programs(
        jax.jit(functools.partial(run, net, loss, optimizer, accumulate=accumulate), donate_argnums=(0, 1)),
        jax.jit(epoch_order, static_argnums=(1, 2)),
        jax.jit(functools.partial(score, net, loss), static_argnames="batch_size"),
    )


def _epoch(
    programs: _Programs, source: Arrays | Batches, state: State, pace: Pace, label: str, progress: bool
) -> tuple[State, Tally]:
    """All steps of one epoch, or up to the first loss that is not finite."""
    tally = Tally(jnp.zeros((), jnp.int32), jnp.zeros(()), jnp.zeros(()))
    pace.begin()
    with _bar(label, source.steps, progress) as bar:
        for xs, ys, order, stops in source.epoch(programs.order, state, pace):
            for stop in stops:
                state, tally = programs.run(state, tally, xs, ys, order, stop)
                if pace.due(stop):
                    done = int(tally.steps)
                    pace.reached(done)
                    bar.update(done - bar.n)
                    bar.set_postfix(loss=f"{float(tally.last_loss):.4f}", refresh=False)
                    if not np.isfinite(tally.last_loss):
                        return state, tally
        bar.update(int(tally.steps) - bar.n)
    if int(tally.steps) == 0:
        raise ValueError("fit: data is empty in this epoch; an iterable must start anew each time it is iterated")
    return state._replace(epoch=state.epoch + 1), tally


def _check_loss(function: str, net: Any, loss: Callable, params: Any, xs: Any, ys: Any) -> None:
    """Run the loss once outside jit, where it can refuse labels: integers at the least and the largest."""
    rows = jnp.stack([ys.argmin(), ys.argmax()]) if ys.ndim == 1 else jnp.arange(min(2, len(ys)))
    outputs = jax.eval_shape(lambda params, x: jax.vmap(net.apply, (None, 0))(params, x), params, xs[rows])
    losses = loss(jnp.zeros(outputs.shape, outputs.dtype), ys[rows])
    if jnp.shape(losses) != rows.shape:
        raise ValueError(
            f"{function}: loss must give one number for each of {len(rows)} examples, shape {rows.shape}; it gave "
            f"shape {jnp.shape(losses)} (jax.vmap makes a loss of one example into one of a batch)"
        )


def _at_least_one(function: str, argument: str, value: Any) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{function}: {argument} (={value!r}) must be an integer of 1 or more")


def _bar(label: str, steps: int | None, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=steps, desc=label, unit="step", leave=False, disable=None if progress else True)
