"""Where the mini-batches of a training run come from: arrays in memory, or an iterable; and how many a call takes."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.training.steps import State

SECONDS_A_CALL = 0.5
Batch = tuple[Any, Any]


class Pace:
    """How many steps a call may take so that it lasts about SECONDS_A_CALL."""

    steps = 1

    def begin(self, done: int) -> None:
        """Start an epoch, or go on with one after `done` of its steps."""
        self.done, self.since = done, time.perf_counter()

    def due(self, stop: int) -> bool:
        """Whether it is time to wait for the device and look."""
        return stop - self.done >= self.steps

    def reached(self, done: int) -> None:
        """Note that `done` steps are over, and choose the next number."""
        now = time.perf_counter()
        taken, seconds = max(done - self.done, 1), max(now - self.since, 1e-6)
        wanted = int(taken * SECONDS_A_CALL / seconds)
        self.done, self.since, self.steps = done, now, min(max(wanted, 1), 4 * self.steps)


class Arrays:
    """Data in memory: each epoch runs over rows chosen on the device."""

    def __init__(self, xs: Any, ys: Any, batch_size: int):
        """`batch_size` examples of xs and ys a step."""
        self.xs, self.ys, self.batch_size = xs, ys, batch_size
        self.shape, self.steps = xs.shape[1:], len(xs) // batch_size

    def sample(self) -> Batch:
        """Examples to look at before training: all of them."""
        return self.xs, self.ys

    def epoch(self, order: Callable, state: State, pace: Pace) -> Iterator:
        """Yields (xs, ys, rows of indices, the steps before which to stop); `order` is `steps.epoch_order`."""

        def stops() -> Iterator[int]:
            stop = pace.done
            while stop < self.steps:
                stop = min(stop + pace.steps, self.steps)
                yield stop

        yield self.xs, self.ys, order(state, len(self.xs), self.batch_size), stops()


class Batches:
    """An iterable of mini-batches: each is one step, dispatched while the one before is computed."""

    steps = None

    def __init__(self, batches: Iterable[Batch]):
        """Looks at the first mini-batch; raises ValueError where there is none or `batches` is used up by that."""
        first = iterated_anew("fit", batches)
        self.batches = batches
        self.first = xs, _ = checked_pair("fit", *first)
        self.shape, self.batch_size = xs.shape[1:], len(xs)
        self.order = jnp.arange(self.batch_size)[None]

    def sample(self) -> Batch:
        """Examples to look at before training: the first mini-batch."""
        return self.first

    def epoch(self, order: Callable, state: State, pace: Pace) -> Iterator:
        """Yields each mini-batch as `Arrays.epoch` does all of them."""
        step, done = 0, pace.done
        for pair in self.batches:
            xs, ys = checked_pair("fit", *pair)
            if len(xs) > self.batch_size or xs.shape[1:] != self.shape:
                raise ValueError(
                    f"fit: a batch of shape {xs.shape} follows a first one of shape {(self.batch_size, *self.shape)}"
                )
            if len(xs) == self.batch_size:
                step += 1
            if len(xs) == self.batch_size and step > done:
                yield xs, ys, self.order, [step]


def iterated_anew(function: str, batches: Iterable[Batch]) -> Batch:
    """The first of them; raises ValueError where there is none, or `batches` is used up by that."""
    if iter(batches) is batches:
        raise ValueError(
            f"{function}: data is an iterator, which is used up after one epoch; an iterable must start anew each time"
        )
    first = next(iter(batches), None)
    if first is None:
        raise ValueError(f"{function}: data is empty")
    return first


def source_of(function: str, data: Any, batch_size: int) -> Arrays | Batches:
    """The mini-batches of `data`: a pair of arrays, or an iterable. Raises ValueError, in the name of `function`."""
    if not is_pair(data):
        return Batches(data)
    xs, ys = checked_pair(function, *data)
    if batch_size > len(xs):
        raise ValueError(f"{function}: batch_size (={batch_size}) must be at most the number of examples, {len(xs)}")
    return Arrays(xs, ys, batch_size)


def is_pair(data: Any) -> bool:
    """Whether `data` is (xs, ys) rather than an iterable of such pairs."""
    return isinstance(data, tuple | list) and len(data) == 2 and all(hasattr(a, "shape") for a in data)


def refuse_nonfinite(function: str, **arrays: Any) -> None:
    """Raises ValueError where a floating array has a NaN or an infinity; it counts them and names the first."""
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            continue
        strange = np.asarray((_strange if isinstance(array, np.ndarray) else jax.jit(_strange))(array))
        if strange.any():
            raise ValueError(
                f"{function}: {name} has {strange.sum()} numbers that are NaN or infinite, the first in example "
                f"{(strange > 0).argmax()}; allow_nonfinite=True trains with them"
            )


def _strange(array: Any) -> Any:
    """How many numbers of each example are NaN or infinite."""
    finite = (np if isinstance(array, np.ndarray) else jnp).isfinite(array)
    return (~finite).reshape(len(array), -1).sum(1)


def checked_pair(function: str, xs: Any, ys: Any) -> tuple[jax.Array, jax.Array]:
    """The pair as JAX arrays; raises ValueError where it is empty or does not match."""
    xs, ys = matching(function, xs, ys)
    return jnp.asarray(xs), jnp.asarray(ys)


def matching(function: str, xs: Any, ys: Any) -> Batch:
    """The pair; raises ValueError where it is empty or does not match."""
    if np.ndim(xs) < 1 or np.ndim(ys) < 1 or len(xs) != len(ys):
        raise ValueError(
            f"{function}: xs of shape {np.shape(xs)} and ys of shape {np.shape(ys)} must have as many examples"
        )
    if len(xs) == 0:
        raise ValueError(f"{function}: data is empty: xs has shape {np.shape(xs)}")
    return xs, ys
