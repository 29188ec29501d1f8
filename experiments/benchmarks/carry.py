"""The same initial parameters for all: drawn here, and carried into each library by fnnet.interop."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from benchmarks.contestants import CONTESTANTS
from benchmarks.contestants.hand_written import sequential
from benchmarks.nets import Net
from benchmarks.tasks import Arrays, flat, nested
from fnnet import interop


@functools.lru_cache
def initial(net: Net, seed: int = 0) -> Any:
    """Parameters as fnnet draws them, on this process's device."""
    return sequential(net).init(jax.random.key(seed), net.shape)


def carried(contestant: str, net: Net, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> Arrays:
    """The initial parameters under the names and in the layout of a contestant, of which `shapes` are its own."""
    params, own = initial(net, seed), sequential(net)
    blank = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    match CONTESTANTS[contestant].layout:
        case "torch":
            return interop.to_torch(own, net.shape, params, blank)
        case "flax":
            return _in_numpy(interop.to_flax(own, net.shape, params, nested(blank)))
    return _in_numpy(params)


def _in_numpy(params: Mapping[str, Any]) -> Arrays:
    return {name: np.asarray(leaf) for name, leaf in flat(params).items()}
