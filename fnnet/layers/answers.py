"""What layers answer in: their parameters, the function that they are, how they read memory, others' layouts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax

Initializer = Callable[..., jax.Array]


class Parameter(NamedTuple):
    """One entry of a layer's parameters.

    Attributes:
        shape: Its shape.
        initializer: Draws it: initializer(key, shape, dtype).
        trained: False for a statistic: a training step leaves it as it is.
        decayed: Whether weight decay is usual for it: for kernels, not for biases and scales.
    """

    shape: tuple[int, ...]
    initializer: Initializer
    trained: bool = True
    decayed: bool = True


class Call(NamedTuple):
    """One call of a public function: function(*args, **keywords)."""

    function: Callable
    args: tuple
    keywords: Mapping[str, Any]


@dataclass(frozen=True)
class Access:
    """How a layer's compiled loops read memory, for costs/memory_traffic.py.

    Attributes:
        kind: "product", an operation of its own between loops; "window", which reads slices of its input;
            "elementwise", any other loop; "view", which computes nothing.
        taps: Of a window, how many entries of x an entry of y reads.
        selects: Of a window, whether the backward finds the chosen tap again.
        groups: Of a convolution, the groups of channels; 0 for a product whose operands need not be reordered.
    """

    kind: Literal["product", "window", "elementwise", "view"] = "elementwise"
    taps: int = 1
    selects: bool = False
    groups: int = 0


@dataclass(frozen=True)
class Layout:
    """Where other libraries keep a layer's parameters.

    Attributes:
        ranks: The ranks of the kernel, by which a module is known to be of the same kind.
        torch: PyTorch's name of each entry. A kernel, an entry whose name ends in this word, has its axes as (outputs,
            inputs, *window) there.
        flax: Flax's name of each entry; None: Flax keeps them in several modules, or in another order.
        groups: Of a transposed convolution, whose kernel is (inputs, outputs / groups, *window) in PyTorch; 0 for
            other layers.
        elementwise: Whether an entry of a parameter goes with one entry of the example, as of a layer norm: after an
            image is flattened, the parameters are in the order of the image's entries.
        features_last: Whether PyTorch, too, has the features as the last axis of the output, as of an embedding.
    """

    ranks: tuple[int, ...]
    torch: Mapping[str, str]
    flax: Mapping[str, str] | None
    groups: int = 0
    elementwise: bool = False
    features_last: bool = False
