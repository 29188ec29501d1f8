"""What layers answer in: their parameters, the function that they are, how they read memory, others' layouts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax

Initializer = Callable[..., jax.Array]


class Parameter(NamedTuple):
    """One entry of a layer's parameters.

    Attributes:
        shape: Its shape.
        initializer: Draws it: initializer(key, shape, dtype).
        decayed: Whether weight decay is usual for it: for kernels, not for biases and scales.
    """

    shape: tuple[int, ...]
    initializer: Initializer
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


TheirNames = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True)
class Layout:
    """Where other libraries keep a layer's parameters.

    A name is that of an entry inside the layer's module, "weight", or inside a module of it, "out_proj.weight" in
    PyTorch and "query/kernel" in Flax. Several names for an entry: the library keeps it in so many equal parts, beside
    each other along its last axis. One name for several entries: the library keeps these in one, likewise.

    Attributes:
        ranks: The ranks of the kernel, by which a module is known to be of the same kind.
        torch: PyTorch's names of each entry. A kernel, an entry whose name ends in this word, has its axes as (outputs,
            inputs, *window) there. Several mappings: there are several modules for the layer, with these names.
        flax: Flax's names of each entry, likewise, with the axes as here; None: its entries are others.
        groups: Of a transposed convolution, whose kernel is (inputs, outputs / groups, *window) in PyTorch; 0 for
            other layers.
        elementwise: Whether an entry of a parameter goes with one entry of the example, as of a layer norm: after an
            image is flattened, the parameters are in the order of the image's entries.
        features_last: Whether PyTorch, too, has the features as the last axis of the output, as of an embedding.
        split: For entries of which Flax has an axis as two: which axis, and the size of the first of the two.
    """

    ranks: tuple[int, ...]
    torch: TheirNames | Sequence[TheirNames]
    flax: TheirNames | Sequence[TheirNames] | None
    groups: int = 0
    elementwise: bool = False
    features_last: bool = False
    split: Mapping[str, tuple[int, int]] = field(default_factory=dict)
