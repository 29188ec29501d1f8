"""What mini-batches are read from, checked; and how many of them a call takes."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.training.arguments import as_batch
from fnnet.training.placement import Batch, Source

SECONDS_A_CALL = 0.5


class Pace:
    """How many steps a call may take so that it lasts about SECONDS_A_CALL."""

    steps = 1
    ran = False  # whether the program has run once, and so is compiled

    def begin(self, done: int) -> None:
        """Start an epoch, or go on with one after `done` of its steps."""
        self.done, self.since = done, time.perf_counter()

    def due(self, stop: int) -> bool:
        """Whether it is time to wait for the device and look."""
        return stop - self.done >= self.steps

    def reached(self, done: int) -> None:
        """Note that `done` steps are over, and choose the next number."""
        self.ran = True
        now = time.perf_counter()
        taken, seconds = max(done - self.done, 1), max(now - self.since, 1e-6)
        wanted = int(taken * SECONDS_A_CALL / seconds)
        self.done, self.since, self.steps = done, now, min(max(wanted, 1), 4 * self.steps)

    def stops(self, end: int) -> Iterator[int]:
        """The steps before which calls stop, until `end`; how far apart they are, `reached` says while they go."""
        stop = self.done
        while stop < end:
            stop = min(stop + self.steps, end)
            yield stop


def iterated_anew(function: str, batches: Iterable[Batch]) -> Batch:
    """The first of them; raises ValueError where there is none, or `batches` is used up by that."""
    if iter(batches) is batches:
        raise ValueError(
            f"{function}: data is an iterator, which is used up after one epoch; an iterable must start anew each time"
        )
    first = next(iter(batches), None)
    if first is None:
        raise ValueError(f"{function}: data is empty")
    return as_batch(function, first)


def whole_batches(source: Source, batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """The mini-batches of `size` examples; smaller ones are left out and counted, others raise ValueError."""
    source.left_out, shape = 0, source.shape
    for pair in batches:
        xs, ys = matching("fit", *as_batch("fit", pair))
        if len(xs) > size or xs.shape[1:] != shape:
            raise ValueError(f"fit: a batch of shape {xs.shape} follows a first one of shape {(size, *shape)}")
        if len(xs) == size:
            yield xs, ys
            continue
        source.left_out += 1


def refuse_nonfinite(function: str, **arrays: Any) -> None:
    """Raises ValueError where a floating array has a NaN or an infinity; it counts them and names the first."""
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            continue
        strange = np.asarray(jax.jit(_strange)(array) if isinstance(array, jax.Array) else _strange(np.asarray(array)))
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
    """The pair as JAX arrays; raises ValueError where it is empty or does not match.

    What is a tree of arrays, as `data.Windows` is, stays one, of JAX arrays.
    """
    xs, ys = (
        jax.tree.map(jnp.asarray, a) if hasattr(a, "shape") else jnp.asarray(a) for a in matching(function, xs, ys)
    )
    return xs, ys


def matching(function: str, xs: Any, ys: Any) -> Batch:
    """The pair; raises ValueError where it is empty or does not match."""
    if np.ndim(xs) < 1 or np.ndim(ys) < 1 or len(xs) != len(ys):
        raise ValueError(
            f"{function}: xs of shape {np.shape(xs)} and ys of shape {np.shape(ys)} must have as many examples"
        )
    if len(xs) == 0:
        raise ValueError(f"{function}: data is empty: xs has shape {np.shape(xs)}")
    return xs, ys
