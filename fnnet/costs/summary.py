"""`net.summary(shape)`: what each layer makes, holds, computes and keeps, for one example.

Parameters: the number of entries. A line below the table says how many of them are statistics, as `BatchNorm` has.

FLOPs of one forward without a key: for Dense and Conv, 2 for each product of an input and a weight, taps outside
the image not counted, and 1 for each bias that is added; for the sum of `Residual`, 1 for each entry; for pooling,
functions and other layers, what XLA counts in the layer compiled alone: 1 for each addition, product, comparison or
choice. exp, tanh and their like XLA counts apart: they are left out. So the total agrees with XLA's cost analysis.

Kept bytes: what the forward of a training step keeps for the backward (with a key: Dropout keeps its mask). For a
rule these are its residuals, for a plain function what autodiff keeps. Parameters cost nothing, being there already;
nor do their copies in a `compute_dtype`, one for all examples.
An array that several layers keep (a ReLU's output, which is the next layer's input) is counted once, at the first of
them; a reshaped array is the same array. The example itself is counted where a layer keeps it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.jaxprs import dependent_outputs
from fnnet.core.notebook import html_paragraph, html_table
from fnnet.layers.containers import Container, in_training, is_threaded
from fnnet.layers.protocol import Layer, abstract_example
from fnnet.layers.walk import walk

VIEWS = frozenset({"reshape", "squeeze", "expand_dims"})  # the same bytes under another shape


@dataclass(frozen=True)
class Row:
    """One layer of the table, or the total."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    flops: int
    kept_bytes: int
    statistics: int = 0  # of the parameters


@dataclass(frozen=True, repr=False)
class Summary:
    """A row for each layer; the layers of a nested one before it, as "residual_2/conv_0"."""

    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        """Of all layers."""
        return sum(row.parameters for row in self.rows)

    @property
    def statistics(self) -> int:
        """How many of the parameters are statistics, which are not trained."""
        return sum(row.statistics for row in self.rows)

    @property
    def flops(self) -> int:
        """Of one forward of one example."""
        return sum(row.flops for row in self.rows)

    @property
    def kept_bytes(self) -> int:
        """What the backward of one example finds kept."""
        return sum(row.kept_bytes for row in self.rows)

    def __repr__(self) -> str:
        """The table, a line a row, aligned."""
        table = aligned_table(self._cells(), left=2)
        return f"{table}\n{self._statistics_told()}" if self.statistics else table

    def _repr_html_(self) -> str:
        """The same table for a notebook."""
        heading, *rows = self._cells()
        table = html_table(heading, rows, left=(0, 1), total=True)
        return table + html_paragraph(self._statistics_told()) if self.statistics else table

    def _statistics_told(self) -> str:
        return f"{self.statistics:,} of the parameters are statistics of mini-batches, which are not trained"

    def _cells(self) -> list[tuple[str, ...]]:
        cells = [("layer", "output", "parameters", "FLOPs", "kept bytes")]
        for row in self.rows:
            cells.append((row.name, _sizes(row.shape), f"{row.parameters:,}", f"{row.flops:,}", f"{row.kept_bytes:,}"))
        return [*cells, ("total", "", f"{self.parameters:,}", f"{self.flops:,}", f"{self.kept_bytes:,}")]


@dataclass
class Visit:
    """One layer, as the network called it; arrays by shape and dtype."""

    name: str
    layer: Layer
    params: Any
    x: Any
    y: Any
    kept: int  # how many arrays it keeps
    kept_bytes: int = 0
    moving: bool = False  # whether x depends on parameters: then its cotangent is needed

    @property
    def entries(self) -> int:
        """Of its own parameters, which a container has none of."""
        return 0 if is_threaded(self.layer) else sum(leaf.size for leaf in jax.tree.leaves(self.params))

    @property
    def statistics(self) -> int:
        """How many of these are statistics."""
        if is_threaded(self.layer):
            return 0
        flags = jax.tree.leaves(self.layer.statistics(self.params))
        return sum(leaf.size for leaf, flag in zip(jax.tree.leaves(self.params), flags, strict=True) if flag)


def summarise(net: Container, shape: tuple[int, ...], dtype: Any) -> Summary:
    """The network's layers, from one abstract run: nothing is computed."""
    return Summary(
        tuple(
            Row(
                visit.name,
                visit.y.shape,
                visit.entries,
                visit.layer.flops(visit.params, visit.x),
                visit.kept_bytes,
                visit.statistics,
            )
            for visit in visits_of(net, shape, dtype)
        )
    )


def products_of(net: Container, shape: tuple[int, ...], dtype: Any) -> int:
    """How many of the network's operations are of products with a kernel."""
    visits = visits_of(net, shape, dtype)
    return sum(v.layer.products(v.params, v.x) for v in visits if not is_threaded(v.layer))


def visits_of(net: Container, shape: tuple[int, ...], dtype: Any) -> list[Visit]:
    """Each layer in the order in which they end, a nested one after its own layers."""
    key = jax.random.key(0)
    params = jax.eval_shape(lambda key: net.init(key, shape, dtype), key)
    visits: list[Visit] = []

    def forward(params: Any, x: Any, key: Any) -> tuple[list, list]:
        kept: list[Any] = []
        inputs: list[Any] = []

        def note(path: str, layer: Layer, params: Any, x: Any, y: Any, residuals: Sequence[Any] = ()) -> None:
            kept.extend(residuals)
            inputs.append(x)
            visits.append(Visit(path, layer, _shapes(params), _shapes(x), _shapes(y), len(residuals)))

        def visit(path: str, layer: Layer, params: Any, x: Any, key: Any) -> Any:
            y, backward = jax.vjp(lambda params, x: in_training(layer, params, x, key), params, x)
            note(path, layer, params, x, y, jax.tree.leaves(backward))  # what JAX carries to the backward
            return y

        walk(net, params, x, key, visit, note)
        return kept, inputs

    jaxpr = jax.make_jaxpr(forward)(params, abstract_example(net, shape, dtype), key).jaxpr
    learnt = len(jax.tree.leaves(params))
    sizes = _bytes_of_each(jaxpr, free=learnt)
    moving = dependent_outputs(jaxpr, [place < learnt for place in range(len(jaxpr.invars))])
    for visit, depends in zip(visits, moving[len(moving) - len(visits) :], strict=True):
        visit.kept_bytes = sum(next(sizes) for _ in range(visit.kept))
        visit.moving = depends
    return visits


def _bytes_of_each(jaxpr: Any, free: int) -> Iterator[int]:
    """The bytes of each output; 0 for the first `free` inputs, for constants, and for what was counted already."""
    original: dict[int, int] = {}
    for equation in jaxpr.eqns:
        if equation.primitive.name in VIEWS:
            source = id(equation.invars[0])
            original[id(equation.outvars[0])] = original.get(source, source)
    counted = set(map(id, jaxpr.invars[:free]))
    copies = (equation for equation in jaxpr.eqns if equation.primitive.name == "convert_element_type")
    counted |= {id(copy.outvars[0]) for copy in copies if id(copy.invars[0]) in counted}
    for var, is_computed in zip(jaxpr.outvars, dependent_outputs(jaxpr, [True] * len(jaxpr.invars)), strict=True):
        array = original.get(id(var), id(var))
        if is_computed and array not in counted:
            counted.add(array)
            yield math.prod(var.aval.shape) * var.aval.dtype.itemsize
        else:
            yield 0


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), tree)


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "1"


def aligned_table(rows: Sequence[Sequence[str]], left: int) -> str:
    """A heading, rows and a total; the first columns, as many as `left`, to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        pairs = enumerate(zip(cells, widths, strict=True))
        return "  ".join(f"{cell:<{width}}" if n < left else f"{cell:>{width}}" for n, (cell, width) in pairs).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:-1]), rule, line(rows[-1])])
