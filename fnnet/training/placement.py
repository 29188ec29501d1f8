"""Where a training's arrays lie, and how its sums are formed: the interface of one device and of several.

`one_device.OneDevice` and `device_mesh.DeviceMesh` are the two placements. The training code asks its placement and
never looks which of the two it is.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax

from fnnet.training.state import State

Batch = tuple[Any, Any]


class Source:
    """The mini-batches of a training, from arrays or from an iterable."""

    batch_size: int
    shape: tuple[int, ...]  # of one example
    steps: int | None = None  # of an epoch; None: not known
    left_out = 0  # mini-batches of an epoch that are smaller than the first

    def sample(self) -> Batch:
        """Examples to look at before training."""
        raise NotImplementedError

    def epoch(self, order: Callable, state: State, pace: Any) -> Iterator[tuple[Any, Any, Any, Iterable[int]]]:
        """Pieces of an epoch: (xs, ys, rows, stops).

        Step s of the epoch takes xs[rows[s % len(rows)]]. `stops` are the steps before which the calls on this piece
        end. `order` is `steps.epoch_order`, compiled.
        """
        raise NotImplementedError


class Placement:
    """Where arrays lie; hashable, since compiled programs are kept for each."""

    devices = 1

    def put(self, tree: Any) -> Any:
        """A tree of arrays, the same in every process, where they belong."""
        raise NotImplementedError

    def made(self, make: Callable, key: jax.Array, params: Any) -> Any:
        """make(key, params), each array of the result where it belongs."""
        raise NotImplementedError

    def staying(self, run: Callable) -> Callable:
        """run(state, tally, ...), whose state and tally come out where they went in: donated memory is used again."""
        raise NotImplementedError

    def sums(self, function: Callable, params: Any, *examples: Any, gradients: bool = False) -> Any:
        """function(params, *examples), summed over the devices, each of which has its own examples.

        With `gradients` it returns a pair: sums like `params`, and others.
        """
        raise NotImplementedError

    def source(self, data: Any, batch_size: int, *, finite: bool) -> Source:
        """The mini-batches of `fit`'s data; with `finite`, NaN and infinite numbers read later are refused."""
        raise NotImplementedError

    def pieces(self, data: Any, batch_size: int) -> tuple[int, Iterator[tuple[Batch, tuple]]]:
        """Of `evaluate`'s data: examples at once on a device, and the pieces, here and as arguments of a program."""
        raise NotImplementedError

    def pace(self) -> Any:
        """How many steps a call takes."""
        raise NotImplementedError

    def check(self, function: str, batch_size: int, accumulate: int) -> None:
        """Raises ValueError where a mini-batch cannot be split into so many equal chunks."""
        if batch_size % accumulate:
            raise ValueError(
                f"{function}: accumulate (={accumulate}) must divide the mini-batch, which has {batch_size} examples"
            )
