"""The mini-batches of a mesh of devices: each process reads what its own devices train on.

Arrays stay on the host (or on the disk: a `numpy.memmap` will do), and go to the devices
in blocks of some mini-batches, each example to its own device.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from fnnet.training.arguments import as_batch, is_pair
from fnnet.training.batches import Pace, iterated_anew, matching, refuse_nonfinite, whole_batches
from fnnet.training.placement import Batch, Source
from fnnet.training.processes import agreed, agreed_text, largest, smallest
from fnnet.training.state import State

if TYPE_CHECKING:
    from fnnet.training.device_mesh import DeviceMesh

BLOCK = 1 << 26  # bytes that go to the devices at once, or one mini-batch if that is more


class SharedPace(Pace):
    """The same in every process: what a call takes, all take."""

    def reached(self, done: int) -> None:
        """Note that `done` steps are over; the first process chooses the next number."""
        super().reached(done)
        self.steps = agreed(self.steps)


class ShardedArrays(Source):
    """Arrays that every process can read: of each mini-batch it reads what is its devices'."""

    steps: int

    def __init__(self, xs: Any, ys: Any, batch_size: int, placement: "DeviceMesh", refuse: bool):
        """`batch_size` examples a step; where `refuse`, a NaN or an infinity in an example that is read is an error."""
        xs, ys = (np.asarray(a) if isinstance(a, jax.Array) else a for a in (xs, ys))
        self.xs, self.ys, self.batch_size, self.placement, self.refuse = xs, ys, batch_size, placement, refuse
        self.shape, self.steps = xs.shape[1:], len(xs) // batch_size
        self.block = max(1, min(self.steps, BLOCK // max(1, batch_size * (xs[:1].nbytes + ys[:1].nbytes))))

    def sample(self) -> Batch:
        """One example, and the labels of all."""
        return self.xs[:1], self.ys

    def epoch(self, order: Callable, state: State, pace: Pace) -> Iterator:
        """Blocks of some mini-batches, each a row."""
        drawn = np.asarray(order(state, len(self.xs), self.batch_size))
        for first in range(pace.done, self.steps, self.block):
            end = min(first + self.block, self.steps)
            wanted = np.resize(drawn[first:end], (self.block, self.batch_size))  # as many, or it would compile again
            rows = (np.arange(self.block, dtype=np.int32) - first) % self.block
            yield self._put(self.xs, wanted), self._put(self.ys, wanted), rows, pace.stops(end)

    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """Of a block of xs and of ys."""
        lead = (self.block, self.batch_size)
        return [
            jax.ShapeDtypeStruct((*lead, *a.shape[1:]), on_host(a[:1]).dtype, sharding=self.placement.of_batch(1))
            for a in (self.xs, self.ys)
        ]

    def _put(self, array: Any, rows: np.ndarray) -> jax.Array:
        def part(index: Any) -> np.ndarray:
            own = on_host(array[rows[index[:2]].ravel()])
            if self.refuse:
                refuse_nonfinite("fit", **{"what this process reads of the data": own})
            return own.reshape(*rows[index[:2]].shape, *array.shape[1:])

        shape = (*rows.shape, *array.shape[1:])
        return jax.make_array_from_callback(shape, self.placement.of_batch(1), part, dtype=on_host(array[:1]).dtype)


class ShardedBatches(Source):
    """An iterable of mini-batches, which gives in each process that process's part of them.

    An epoch ends in all processes where it ends in one: whether each has another part they ask before every step. They
    have loaded it by then, while the step before is computed.
    """

    def __init__(self, batches: Iterable[Batch], placement: "DeviceMesh"):
        """Looks at the first; raises ValueError where there is none, `batches` is used up by that, or they differ."""
        self.batches, self.placement = batches, placement
        self.first = xs, ys = _first(batches)
        self.shape, self.own = xs.shape[1:], len(xs)
        self.batch_size = self.own * jax.process_count()
        kinds = " and ".join(f"{on_host(a[:1]).dtype}{np.shape(a)}" for a in (xs, ys))
        wanted = agreed_text(kinds)
        if not smallest(int(kinds == wanted)):
            raise ValueError(
                f"fit: the first batch of each process must have the shapes and dtypes of the first process's, "
                f"{wanted}; here they are {kinds}"
            )

    def sample(self) -> Batch:
        """The first mini-batch, or this process's part."""
        return self.first

    def epoch(self, order: Callable, state: State, pace: Pace) -> Iterator:
        """Each mini-batch, as a block of one."""
        done, sharding, rows = pace.done, self.placement.of_batch(1), np.zeros(1, np.int32)
        step, whole = 0, whole_batches(self, self.batches, self.own)
        while smallest(int((pair := next(whole, None)) is not None)) and pair is not None:
            step += 1
            if step > done:
                xs, ys = (jax.make_array_from_process_local_data(sharding, on_host(a)[None]) for a in pair)
                yield xs, ys, rows, [step]


def _first(batches: Iterable[Batch]) -> Batch:
    """The first mini-batch here; raises ValueError in every process where one has none, lest the others wait for it."""
    first, fault = None, None
    try:
        first = matching("fit", *iterated_anew("fit", batches))
    except ValueError as error:
        fault = error
    if smallest(int(fault is None)) and first is not None:
        return first
    raise fault or ValueError("fit: data is empty, or cannot be used, in another process")


def source_of(data: Any, batch_size: int, placement: "DeviceMesh", refuse: bool) -> ShardedArrays | ShardedBatches:
    """The mini-batches of `data`, a pair of arrays or an iterable."""
    if not is_pair(data):
        return ShardedBatches(data, placement)
    xs, ys = matching("fit", *data)
    if batch_size > len(xs):
        raise ValueError(f"fit: batch_size (={batch_size}) must be at most the number of examples, {len(xs)}")
    return ShardedArrays(xs, ys, batch_size, placement, refuse)


Examples = tuple[jax.Array, jax.Array, jax.Array]


def all_examples(xs: Any, ys: Any, placement: "DeviceMesh") -> Examples:
    """Every example once, each on one device, and whether it is one: some are there twice to make the number round."""
    number = len(xs)
    rows = np.arange(-(-number // placement.devices) * placement.devices)

    def put(array: Any) -> jax.Array:
        def part(index: Any) -> np.ndarray:
            return on_host(array[np.minimum(rows[index[0]], number - 1)])

        shape, dtype = (len(rows), *array.shape[1:]), on_host(array[:1]).dtype
        return jax.make_array_from_callback(shape, placement.of_batch(), part, dtype=dtype)

    def is_one(index: Any) -> np.ndarray:
        return rows[index[0]] < number

    inside = jax.make_array_from_callback(rows.shape, placement.of_batch(), is_one, dtype=bool)
    return put(xs), put(ys), inside


def parts_together(
    function: str, batches: Iterable[Batch], placement: "DeviceMesh"
) -> Iterator[tuple[Batch, Examples]]:
    """Of an iterable that gives in each process that process's part: this process's, and all as `all_examples`.

    The parts may have any sizes, and a process may have fewer of them: then its last one stands in, and does not count.
    Raises ValueError, in the name of `function`, where a process has none.
    """
    pairs = (matching(function, *as_batch(function, pair)) for pair in batches)
    local, sharding = placement.devices // jax.process_count(), placement.of_batch()
    own = next(pairs, None)
    if not smallest(int(own is not None)) or own is None:
        raise ValueError(f"{function}: data is empty" + (" in a process" if jax.process_count() > 1 else ""))
    counted = len(own[0])
    while number := largest(counted):
        rows = np.arange(-(-number // local) * local)
        at = np.minimum(rows, len(own[0]) - 1)
        put = [
            jax.make_array_from_process_local_data(sharding, a)
            for a in (*(on_host(a)[at] for a in own), rows < counted)
        ]
        yield own, (put[0], put[1], put[2])
        following = next(pairs, None)
        own, counted = (own, 0) if following is None else (following, len(following[0]))


def on_host(array: Any) -> np.ndarray:
    """In the dtype that JAX would give it."""
    array = np.asarray(array)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)
