"""The chain of numbers behind one entry of a cotangent.

    bar_e = sum_o (dy_o / de) y_bar_o        (1)   o over the layer's output

Each product of (1) is listed: for a weight of a dense layer, dy_no / dW_io is x_ni. The derivatives are those of the
layer without its hand-written backward, in double precision, so the sum checks the entry.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fnnet.checking.leaves import as_wide
from fnnet.layers.protocol import Layer
from fnnet.tracing.records import Step


@dataclass(frozen=True)
class Term:
    """One product: factor times incoming.

    Args:
        output: The entry o of the output.
        factor: dy_o / de.
        incoming: y_bar_o.
        name: What the factor is, if the layer is linear in the entry: "x[3, 17]".
    """

    output: tuple[int, ...]
    factor: float
    incoming: float
    name: str

    @property
    def product(self) -> float:
        """Of the two."""
        return self.factor * self.incoming


@dataclass(frozen=True)
class Explanation:
    """One entry of a cotangent as a sum of products.

    Args:
        layer: The layer's name.
        of: Whose cotangent.
        index: The entry.
        value: The entry, as the hand-written backward gives it.
        terms: The largest products.
        total: The sum of all products, in double precision.
        count: How many products are not 0.
        output: What the layer's output is called.
    """

    layer: str
    of: str
    index: tuple[int, ...]
    value: float
    terms: tuple[Term, ...]
    total: float
    count: int
    output: str = "y"

    def __str__(self) -> str:
        """The sum, a line a product."""
        products = "one product" if self.count == 1 else f"the sum of {self.count} products"
        lines = [f"{self.layer}: {entry_name(f'{self.of}_bar', self.index)} = {self.value:.7g}, {products}"]
        for term in self.terms:
            name = term.name or f"d{entry_name(self.output, term.output)}/d{entry_name(self.of, self.index)}"
            incoming = entry_name(f"{self.output}_bar", term.output)
            lines.append(f"  {term.product:+.7g} = {name} ({term.factor:.7g}) * {incoming} ({term.incoming:.7g})")
        rest = self.total - sum(term.product for term in self.terms)
        if self.count > len(self.terms):
            lines.append(f"  {rest:+.7g} = the other {self.count - len(self.terms)}")
        return "\n".join([*lines, f"  {self.total:+.7g} in all"])


def explained(step: Step, of: str, index: tuple[int, ...], most: int, batched: bool) -> Explanation:
    """The entry `index` of the cotangent of `of`."""
    one = step.cotangent(of)
    index = entry_of("explain", f"{of}_bar", one.numbers.shape, index)
    compared = step.comparison
    if compared is None or compared.problem:
        raise ValueError(f"explain: {step.name} has no derivative of its own to explain {of}_bar by")
    column, incoming = compared.column(compared.names.index(of), index), as_wide(step.incoming.array)
    with np.errstate(invalid="ignore", over="ignore"):
        products = np.where(column == 0, 0.0, column * incoming)
    order = np.argsort(-np.abs(products), axis=None, kind="stable")
    count = int(np.count_nonzero(products))
    terms = []
    for flat in order[: min(most, count)]:
        o = tuple(map(int, np.unravel_index(flat, products.shape)))
        terms.append(Term(o, float(column[o]), float(incoming[o]), factor_name(step, of, index, o, batched)))
    return Explanation(
        step.name,
        of,
        index,
        float(one.numbers.wide[index]),
        tuple(terms),
        float(products.sum()),
        count,
        step.value.name,
    )


def entry_of(function: str, name: str, shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[int, ...]:
    """The index with negative numbers counted from the end; ValueError if the array has no such entry."""
    index = index if shape else ()
    if len(index) != len(shape) or any(not -n <= i < n for i, n in zip(index, shape, strict=True)):
        raise ValueError(f"{function}: index {index} must be an entry of {name}, of shape {shape}")
    return tuple(i % n for i, n in zip(index, shape, strict=True))


def factor_name(step: Step, of: str, index: tuple[int, ...], o: tuple[int, ...], batched: bool) -> str:
    """What dy_o / de is, if a layer is linear in e: an entry of its input or kernel; else empty."""
    if not isinstance(step.layer, Layer):
        return ""
    example = index[batched:] if of == "x" else index
    factor = step.layer.factor(of, example, o[batched:], step.inputs.shape[batched:])
    if not factor:
        return "" if factor is None else "1"
    name, entry = factor
    return entry_name(name, (*o[:batched], *entry) if name == "x" else entry)


def entry_name(name: str, index: Any) -> str:
    """Such as "kernel[3, 17]"; of an array without axes the name alone."""
    return f"{name}[{', '.join(map(str, index))}]" if len(index) else name
