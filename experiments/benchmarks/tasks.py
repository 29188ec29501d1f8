"""What a worker can be asked to do. The descriptions are pickled, and import no library of a contestant."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.nets import Net

Arrays = dict[str, Any]  # NumPy arrays by the names that the contestant gives them, such as "conv_0/kernel"
LEARNING_RATE = 1e-3


def flat(tree: Mapping[str, Any], path: str = "") -> Arrays:
    """The leaves of nested dictionaries, each under its path."""
    found: Arrays = {}
    for name, value in tree.items():
        found |= flat(value, f"{path}{name}/") if isinstance(value, Mapping) else {path + name: value}
    return found


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dictionaries that `flat` takes apart."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, last = name.split("/")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = array
    return tree


@dataclass(frozen=True)
class Training:
    """Steps of Adam: loss, gradient, update; mode "loop" or "scan".

    `xs` (batches, batch, *image) and `ys` (batches, batch) are gone through again and again; a scan takes all of them.
    """

    net: Net
    mode: str
    arrays: Arrays
    xs: Any
    ys: Any


@dataclass(frozen=True)
class PerExample:
    """The gradient of each example of one mini-batch."""

    net: Net
    arrays: Arrays
    xs: Any
    ys: Any


@dataclass(frozen=True)
class Pooling:
    """Max-pooling of x (batch, height, width, channels); no padding."""

    shape: tuple[int, ...]
    window: int
    stride: int
    dilation: int = 1

    wants = ("both", "backward")


@dataclass(frozen=True)
class Convolution:
    """Convolution of x (batch, height, width, channels) to so many features, with as much padding on each side."""

    shape: tuple[int, ...]
    features: int
    window: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    wants: tuple[str, ...] = ("forward", "input", "kernel")

    @property
    def kernel(self) -> tuple[int, ...]:
        """The kernel's shape, (height, width, inputs / groups, outputs)."""
        return (self.window, self.window, self.shape[-1] // self.groups, self.features)


@dataclass(frozen=True)
class Rule:
    """One rule at one shape. `want` says what of it.

    "forward": the output; "both": output and input gradient; "backward": the input gradient, from what the forward has
    kept; "input", "kernel": that gradient alone, nothing being kept.
    """

    case: Pooling | Convolution
    want: str
    x: Any
    g: Any
    kernel: Any = None


@dataclass(frozen=True)
class Product:
    """A square product of matrices."""

    size: int


@dataclass(frozen=True)
class Stream:
    """One number added to a long array, in place."""

    numbers: int


@dataclass(frozen=True)
class DropIn:
    """Training steps of an example of experiments/drop_in, as it was or with fnnet's functions."""

    example: str
    ours: bool
    xs: Any
    ys: Any


Task = Training | PerExample | Rule | Product | Stream | DropIn
