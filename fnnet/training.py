"""Training: `fit`, `evaluate`, and the pure functions under them.

An epoch is a sequence of calls of one compiled program, `run`: a loop on the device over some of the epoch's steps, whose
state is donated. How many steps a call takes is an argument, not a shape: it is chosen so that Python has the word about
twice a second (progress, signals, checkpoints), costs no compilation, and changes no bit of the result. The loop ends by
itself at the first loss that is not finite, with the state as it was before that step.
"""

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.reduction import example_weights, mean_loss

SECONDS_A_CALL = 0.5
Batch = tuple[Any, Any]


class State(NamedTuple):
    """All that a training run carries from step to step: with the data it determines what follows."""

    params: Any
    opt_state: Any
    key: jax.Array
    epoch: jax.Array  # epochs completed
    step: jax.Array  # steps taken, over all epochs


class Tally(NamedTuple):
    """What an epoch has added up so far."""

    steps: jax.Array
    loss_sum: jax.Array
    last_loss: jax.Array


class NonFiniteLossError(FloatingPointError):
    """The loss became infinite or NaN. `state` is from before that step, `history` of the epochs before."""

    def __init__(self, message: str, state: State, history: list[dict]):
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
        ValueError: No data, data that do not match, or a mini-batch larger than the data.
        NonFiniteLossError: The loss is infinite or NaN; it names epoch and step.
    """
    _at_least_one("fit", "epochs", epochs)
    _at_least_one("fit", "batch_size", batch_size)
    if patience is not None:
        _at_least_one("fit", "patience", patience)
        if validation is None:
            raise ValueError("fit: patience needs validation data")
    source = _source("fit", data, batch_size)
    state = start(net, optimizer, key, source.shape, params)
    _check_loss("fit", net, loss, state.params, *source.sample())
    pace = _Pace()
    history: list[dict] = []
    best: tuple[float, Any] | None = None
    since_best = 0
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        state, tally = _epoch(net, loss, optimizer, source, state, pace, f"epoch {epoch}/{epochs}", progress)
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
    for pair in [data] if _is_pair(data) else data:
        xs, ys = _checked_pair("evaluate", *pair)
        _check_loss("evaluate", net, loss, params, xs, ys)
        sums = _programs(net, loss, None).score(params, xs, ys, batch_size=min(batch_size, len(xs)))
        totals = sums if totals is None else jax.tree.map(jnp.add, totals, sums)
    if totals is None:
        raise ValueError("evaluate: data is empty")
    sums = {name: float(value) for name, value in totals.items()}
    scores = {"loss": sums["loss"] / sums["weight"] if sums["weight"] else float("nan")}
    if "correct" in sums:
        scores["accuracy"] = sums["correct"] / sums["counted"] if sums["counted"] else float("nan")
    return scores


def start(net: Any, optimizer: Any, key: jax.Array, shape: tuple[int, ...], params: Any = None) -> State:
    """The state before the first step; `params` are copied, or made for examples of shape `shape`."""
    init_key, run_key = jax.random.split(key)
    params = net.init(init_key, shape) if params is None else jax.tree.map(jnp.array, params)
    zero = jnp.zeros((), jnp.int32)
    return State(params, jax.jit(optimizer.init)(params), run_key, zero, jnp.copy(zero))


def batch_loss(net: Any, loss: Callable, params: Any, x: Any, y: Any, key: jax.Array | None = None) -> jax.Array:
    """The mean loss of a mini-batch."""
    if key is None:
        outputs = jax.vmap(net.apply, (None, 0))(params, x)
    else:
        outputs = jax.vmap(lambda x, key: net.apply(params, x, key=key))(x, jax.random.split(key, len(x)))
    return mean_loss(loss, outputs, y)


def train_step(net: Any, loss: Callable, optimizer: Any, state: State, x: Any, y: Any) -> tuple[State, jax.Array]:
    """One step on one mini-batch: the next state, or the same where the loss is not finite, and the loss."""
    import optax

    key = jax.random.fold_in(_keys(state)[1], state.step)
    value, params_bar = jax.value_and_grad(lambda params: batch_loss(net, loss, params, x, y, key))(state.params)
    updates, opt_state = optimizer.update(params_bar, state.opt_state, state.params)
    moved = (optax.apply_updates(state.params, updates), opt_state, state.step + 1)
    still = (state.params, state.opt_state, state.step)
    finite = jnp.isfinite(value)
    params, opt_state, step = jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, still)
    return State(params, opt_state, state.key, state.epoch, step), value


def run(
    net: Any,
    loss: Callable,
    optimizer: Any,
    state: State,
    tally: Tally,
    xs: Any,
    ys: Any,
    order: jax.Array,
    stop: jax.Array,
) -> tuple[State, Tally]:
    """Steps until `stop` of the epoch whose mini-batches are the rows of `order`, or to the first non-finite loss."""

    def goes_on(carry: tuple[State, Tally]) -> jax.Array:
        _, tally = carry
        return (tally.steps < stop) & jnp.isfinite(tally.last_loss)

    def step(carry: tuple[State, Tally]) -> tuple[State, Tally]:
        state, tally = carry
        rows = order[tally.steps % len(order)]
        state, value = train_step(net, loss, optimizer, state, xs[rows], ys[rows])
        value = value.astype(jnp.float32)
        return state, Tally(tally.steps + 1, tally.loss_sum + value, value)

    return jax.lax.while_loop(goes_on, step, (state, tally))


def epoch_order(state: State, examples: int, batch_size: int) -> jax.Array:
    """The next epoch's mini-batches as rows of indices, (steps, batch_size): a random order, leftovers dropped."""
    steps = examples // batch_size
    order = jax.random.permutation(jax.random.fold_in(_keys(state)[0], state.epoch), examples)
    return order[: steps * batch_size].reshape(steps, batch_size)


def score(net: Any, loss: Callable, params: Any, xs: Any, ys: Any, *, batch_size: int) -> dict[str, jax.Array]:
    """Sums over all examples, `batch_size` at once: of loss, weight, right answers, and examples that count."""

    def of_batch(index: jax.Array) -> dict[str, jax.Array]:
        rows = index * batch_size + jnp.arange(batch_size)
        inside = rows < len(xs)
        x, y = xs[jnp.minimum(rows, len(xs) - 1)], ys[jnp.minimum(rows, len(xs) - 1)]
        outputs = jax.vmap(net.apply, (None, 0))(params, x)
        weights = example_weights(loss, outputs, y)
        sums = {"loss": jnp.where(inside, loss(outputs, y), 0), "weight": jnp.where(inside, weights, 0)}
        if jnp.issubdtype(y.dtype, jnp.integer) and y.shape == outputs.shape[:-1]:
            counted = inside & (weights != 0)
            sums |= {"correct": counted & (outputs.argmax(-1) == y), "counted": counted}
        return {name: jnp.sum(value, dtype=jnp.float32) for name, value in sums.items()}

    totals = jax.lax.map(of_batch, jnp.arange(-(-len(xs) // batch_size)))
    return {name: values.sum() for name, values in totals.items()}


# Under the public functions.


class _Programs(NamedTuple):
    run: Callable
    order: Callable
    score: Callable


@functools.lru_cache(maxsize=32)
def _programs(net: Any, loss: Callable, optimizer: Any) -> _Programs:
    """The compiled programs of one network, loss and optimiser: made once, so that an epoch compiles nothing."""
    return _Programs(
        jax.jit(functools.partial(run, net, loss, optimizer), donate_argnums=(0, 1)),
        jax.jit(epoch_order, static_argnums=(1, 2)),
        jax.jit(functools.partial(score, net, loss), static_argnames="batch_size"),
    )


def _epoch(
    net: Any,
    loss: Callable,
    optimizer: Any,
    source: "_Arrays | _Batches",
    state: State,
    pace: "_Pace",
    label: str,
    progress: bool,
) -> tuple[State, Tally]:
    """All steps of one epoch, or up to the first loss that is not finite."""
    programs = _programs(net, loss, optimizer)
    tally = Tally(jnp.zeros((), jnp.int32), jnp.zeros(()), jnp.zeros(()))
    pace.begin()
    with _bar(label, source.steps, progress) as bar:
        for xs, ys, order, stops in source.epoch(programs, state, pace):
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


class _Pace:
    """How many steps a call may take so that it lasts about SECONDS_A_CALL."""

    steps = 1

    def begin(self) -> None:
        """Start an epoch."""
        self.done, self.since = 0, time.perf_counter()

    def due(self, stop: int) -> bool:
        """Whether it is time to wait for the device and look."""
        return stop - self.done >= self.steps

    def reached(self, done: int) -> None:
        """Note that `done` steps are over, and choose the next number."""
        now = time.perf_counter()
        taken, seconds = max(done - self.done, 1), max(now - self.since, 1e-6)
        wanted = int(taken * SECONDS_A_CALL / seconds)
        self.done, self.since, self.steps = done, now, min(max(wanted, 1), 4 * self.steps)


class _Arrays:
    """Data in memory: each epoch runs over rows chosen on the device."""

    def __init__(self, xs: Any, ys: Any, batch_size: int):
        self.xs, self.ys, self.batch_size = xs, ys, batch_size
        self.shape, self.steps = xs.shape[1:], len(xs) // batch_size

    def sample(self) -> Batch:
        return self.xs, self.ys

    def epoch(self, programs: _Programs, state: State, pace: _Pace) -> Iterator:
        def stops() -> Iterator[int]:
            stop = 0
            while stop < self.steps:
                stop = min(stop + pace.steps, self.steps)
                yield stop

        yield self.xs, self.ys, programs.order(state, len(self.xs), self.batch_size), stops()


class _Batches:
    """An iterable of mini-batches: each is one step, dispatched while the one before is computed."""

    steps = None

    def __init__(self, batches: Iterable[Batch]):
        if iter(batches) is batches:
            raise ValueError(
                "fit: data is an iterator, which is used up after one epoch; pass an iterable that starts anew each time"
            )
        self.batches = batches
        first = next(iter(batches), None)
        if first is None:
            raise ValueError("fit: data is empty")
        self.first = xs, _ = _checked_pair("fit", *first)
        self.shape, self.size = xs.shape[1:], len(xs)
        self.order = jnp.arange(self.size)[None]

    def sample(self) -> Batch:
        return self.first

    def epoch(self, programs: _Programs, state: State, pace: _Pace) -> Iterator:
        step = 0
        for pair in self.batches:
            xs, ys = _checked_pair("fit", *pair)
            if len(xs) > self.size or xs.shape[1:] != self.shape:
                raise ValueError(f"fit: a batch of shape {xs.shape} follows a first one of shape {(self.size, *self.shape)}")
            if len(xs) == self.size:
                step += 1
                yield xs, ys, self.order, [step]


def _check_loss(function: str, net: Any, loss: Callable, params: Any, xs: Any, ys: Any) -> None:
    """Run the loss once outside jit, where it can refuse what it gets: with integer labels, at the least and the largest."""
    rows = jnp.stack([ys.argmin(), ys.argmax()]) if ys.ndim == 1 else jnp.arange(min(2, len(ys)))
    outputs = jax.eval_shape(lambda params, x: jax.vmap(net.apply, (None, 0))(params, x), params, xs[rows])
    losses = loss(jnp.zeros(outputs.shape, outputs.dtype), ys[rows])
    if jnp.shape(losses) != rows.shape:
        raise ValueError(
            f"{function}: loss must give one number for each of {len(rows)} examples, shape {rows.shape}; it gave shape "
            f"{jnp.shape(losses)} (jax.vmap makes a loss of one example into one of a batch)"
        )


def _source(function: str, data: Any, batch_size: int) -> _Arrays | _Batches:
    if not _is_pair(data):
        return _Batches(data)
    xs, ys = _checked_pair(function, *data)
    if batch_size > len(xs):
        raise ValueError(f"{function}: batch_size (={batch_size}) must be at most the number of examples, {len(xs)}")
    return _Arrays(xs, ys, batch_size)


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2 and all(hasattr(a, "shape") for a in data)


def _checked_pair(function: str, xs: Any, ys: Any) -> tuple[jax.Array, jax.Array]:
    if np.ndim(xs) < 1 or np.ndim(ys) < 1 or len(xs) != len(ys):
        raise ValueError(f"{function}: xs of shape {np.shape(xs)} and ys of shape {np.shape(ys)} must have as many examples")
    if len(xs) == 0:
        raise ValueError(f"{function}: data is empty: xs has shape {np.shape(xs)}")
    return jnp.asarray(xs), jnp.asarray(ys)


def _at_least_one(function: str, argument: str, value: Any) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{function}: {argument} (={value!r}) must be an integer of 1 or more")


def _keys(state: State) -> tuple[jax.Array, jax.Array]:
    order_key, step_key = jax.random.split(state.key)
    return order_key, step_key


def _bar(label: str, steps: int | None, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=steps, desc=label, unit="step", leave=False, disable=None if progress else True)
