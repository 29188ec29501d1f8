"""`OneDevice`: a training on one device, with its data there too."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.training.arguments import as_batch, is_pair
from fnnet.training.batches import Pace, checked_pair, iterated_anew, whole_batches
from fnnet.training.placement import Batch, Placement, Source
from fnnet.training.state import State


@dataclass(frozen=True)
class OneDevice(Placement):
    """Everything is where it is made."""

    def put(self, tree: Any) -> Any:
        """The tree."""
        return tree

    def made(self, make: Callable, key: jax.Array, params: Any) -> Any:
        """make(key, params)."""
        return make(key, params)

    def staying(self, run: Callable) -> Callable:
        """`run`."""
        return run

    def sums(self, function: Callable, params: Any, *examples: Any, gradients: bool = False) -> Any:
        """function(params, *examples)."""
        return function(params, *examples)

    def source(self, data: Any, batch_size: int, *, finite: bool) -> Source:
        """Arrays on the device, or an iterable of mini-batches."""
        if not is_pair(data):
            return Batches(data)
        xs, ys = checked_pair("fit", *data)
        if batch_size > len(xs):
            raise ValueError(f"fit: batch_size (={batch_size}) must be at most the number of examples, {len(xs)}")
        return Arrays(xs, ys, batch_size)

    def pieces(self, data: Any, batch_size: int) -> tuple[int, Iterator[tuple[Batch, tuple]]]:
        """The pair, or each pair of an iterable."""
        pairs = (checked_pair("evaluate", *as_batch("evaluate", pair)) for pair in ([data] if is_pair(data) else data))
        return batch_size, ((pair, pair) for pair in pairs)

    def pace(self) -> Pace:
        """This process's own."""
        return Pace()


class Arrays(Source):
    """Data in memory: each epoch runs over rows chosen on the device."""

    steps: int

    def __init__(self, xs: Any, ys: Any, batch_size: int):
        """`batch_size` examples of xs and ys a step."""
        self.xs, self.ys, self.batch_size = xs, ys, batch_size
        self.shape, self.steps = xs.shape[1:], len(xs) // batch_size

    def sample(self) -> Batch:
        """Examples to look at before training: all of them."""
        return self.xs, self.ys

    def epoch(self, order: Callable, state: State, pace: Pace) -> Iterator:
        """All of it at once, with the rows of each mini-batch."""
        yield self.xs, self.ys, order(state, len(self.xs), self.batch_size), pace.stops(self.steps)


class Batches(Source):
    """An iterable of mini-batches: each is one step, dispatched while the one before is computed."""

    def __init__(self, batches: Iterable[Batch]):
        """Looks at the first mini-batch; raises ValueError where there is none or `batches` is used up by that."""
        first = iterated_anew("fit", batches)
        self.batches = batches
        self.first = xs, _ = checked_pair("fit", *first)
        self.shape, self.batch_size = xs.shape[1:], len(xs)
        self.rows = jnp.arange(self.batch_size)[None]

    def sample(self) -> Batch:
        """Examples to look at before training: the first mini-batch."""
        return self.first

    def epoch(self, order: Callable, state: State, pace: Pace) -> Iterator:
        """Each mini-batch, all of whose rows are taken."""
        done = pace.done
        for step, pair in enumerate(whole_batches(self, self.batches, self.batch_size), 1):
            if step > done:
                xs, ys = map(jnp.asarray, pair)
                yield xs, ys, self.rows, [step]
