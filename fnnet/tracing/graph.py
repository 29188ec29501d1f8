"""Where each layer's input comes from, and which outputs a container adds up.

The network is threaded again with small random integers in the place of each layer's output, so no layer runs. The
array that a layer is given says which layer its input comes from. A container's output is compared with the sums of its
layers' outputs: sums of small integers are exact in every dtype.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core.primitives import is_inexact
from fnnet.layers.containers import is_threaded
from fnnet.tracing.probes import LayerCall, Objective

EXAMPLE = -1  # the number of the example, in the place of a step's
DRAWS = 3  # so that even arrays of one entry tell two layers and an input apart
SIZE = 8


class Flow(NamedTuple):
    """How a step stands in the network.

    Args:
        source: The step whose output is its input; EXAMPLE for the example.
        parts: For a container the steps whose outputs it adds up.
    """

    source: int
    parts: tuple[int, ...] = ()


class _Sum(NamedTuple):
    """A container's output beside what it may be the sum of."""

    steps: list[int]
    terms: list[np.ndarray]
    value: np.ndarray


class _UnknownError(Exception):
    """An array that comes from no layer."""


def flows(objective: Objective, params: Any, x: Any, keys: Any, calls: Sequence[LayerCall]) -> list[Flow] | None:
    """How each call stands in the network, and the loss after them.

    None if a container does something else with its layers' outputs, or its input, than pass them on and add them up.
    """
    try:
        draws = [_threaded(objective, params, x, keys, calls, np.random.default_rng(seed)) for seed in range(DRAWS)]
    except Exception:  # a user's container may raise anything on numbers that are not its layers'
        return None
    sources, sums = draws[0]
    parts = {step: _parts([of_draw[step] for _, of_draw in draws]) for step in sums}
    if any(found == () for found in parts.values()):
        return None
    return [Flow(source, parts.get(step, ())) for step, source in enumerate(sources)]


def _threaded(
    objective: Objective, params: Any, x: Any, keys: Any, calls: Sequence[LayerCall], rng: np.random.Generator
) -> tuple[list[int], dict[int, _Sum]]:
    """The source of each call and of the loss, and each container's output."""
    x = _integers(x, rng) if is_inexact(x) else x
    outputs: list[Any] = []  # of the calls that have ended, kept so that no other array gets their id
    sources: list[int] = []
    sums: dict[int, _Sum] = {}

    def step_of(array: Any) -> int:
        if array is x:
            return EXAMPLE
        found = next((step for step, one in enumerate(outputs) if one is array), None)
        if found is None:
            raise _UnknownError
        return found

    def around(path: str, layer: Any, run: Callable, own: Any, given: Any, key: Any) -> Any:
        source, first = step_of(given), len(outputs)
        if is_threaded(layer):
            value = run(given)
            inside = [step for step in range(first, len(outputs)) if "/" not in calls[step].name[len(path) + 1 :]]
            ends = [step for step in inside if step not in sources[first:]]
            terms = [outputs[step] for step in ends] + [given]
            sums[len(outputs)] = _alike(value, [*ends, source], terms)
        y = _integers(calls[len(outputs)].y, rng)
        outputs.append(y)
        sources.append(source)
        return y

    final = objective.apply(params, x, keys, around)
    return [*sources, step_of(final)], sums


def _alike(value: Any, steps: list[int], terms: list[Any]) -> _Sum:
    """The terms of the value's shape and dtype."""
    pairs = [(s, t) for s, t in zip(steps, terms, strict=True) if (t.shape, t.dtype) == (value.shape, value.dtype)]
    flat = [np.asarray(term).astype(np.float64).ravel() for _, term in pairs]
    return _Sum([step for step, _ in pairs], flat, np.asarray(value).astype(np.float64).ravel())


def _parts(draws: list[_Sum]) -> tuple[int, ...]:
    """The steps whose sum the container's output is, in every draw; () if it is no such sum."""
    steps = draws[0].steps
    if not steps:
        return ()
    terms = np.concatenate([np.stack(one.terms, axis=1) for one in draws])
    value = np.concatenate([one.value for one in draws])
    solution, _, rank, _ = np.linalg.lstsq(terms, value)
    counts = np.round(solution).astype(int)
    if rank < len(steps) or counts.min() < 0 or not np.array_equal(terms @ counts, value):
        return ()
    return tuple(step for step, count in zip(steps, counts, strict=True) for _ in range(count))


def _integers(like: Any, rng: np.random.Generator) -> jax.Array:
    return jnp.asarray(rng.integers(-SIZE, SIZE + 1, like.shape).astype(like.dtype))
