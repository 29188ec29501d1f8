"""One entry of a layer's output as a sum over the layer's input.

    y_o = sum_e x_e (dy_o / dx_e) + y_o(0)        (1)   where the layer is affine in x

Dense layers, convolutions, pooling, reshapes and ReLU satisfy (1); y_o(0) is the bias where there is one. An embedding,
whose x are integers, satisfies it with its table in the place of x. For any other layer only the slopes are listed.
The derivatives are those of the layer without its hand-written backward, in double precision.
"""

from dataclasses import dataclass

import numpy as np

from fnnet.checking.leaves import as_wide
from fnnet.tracing.explanation import entry_name, entry_of, factor_name
from fnnet.tracing.records import Step


@dataclass(frozen=True)
class OutputTerm:
    """One entry that the output depends on.

    Args:
        of: The array: "x", "bias", ...
        index: Of the entry.
        value: The entry.
        slope: dy_o / d entry.
        name: What the slope is, where it is an entry: "kernel[3, 17]"; "1"; else empty.
    """

    of: str
    index: tuple[int, ...]
    value: float
    slope: float
    name: str

    @property
    def product(self) -> float:
        """Of the value and the slope."""
        return self.value * self.slope


@dataclass(frozen=True)
class OutputExplanation:
    """One entry of a layer's output by the entries that it depends on.

    Args:
        layer: The layer's name.
        of: "y"; "loss" for the loss.
        index: The entry.
        value: The entry, as the layer gives it.
        is_sum: Whether it is the sum (1) of the docstring of this module. Else the terms are slopes, which do not add
            up to it.
        terms: The largest: products in a sum, else slopes.
        count: How many products, or slopes, are not 0.
        constant: The entry of a bias that is y_o(0); None where there is no bias.
        rest: y_o(0).
        total: The right side of (1) in double precision; NaN where it is no sum.
    """

    layer: str
    of: str
    index: tuple[int, ...]
    value: float
    is_sum: bool
    terms: tuple[OutputTerm, ...]
    count: int
    constant: OutputTerm | None
    rest: float
    total: float

    def __str__(self) -> str:
        """The sum, or the slopes, an entry a line."""
        entry, more = entry_name(self.of, self.index), self.count - len(self.terms)
        begin = f"{self.layer}: {entry} = {self.value:.7g}, "
        if not self.is_sum:
            slopes = [f"  {term.slope:+.7g} = {_slope(entry, term)} at {_value(term)}" for term in self.terms]
            end = [f"  and {more} smaller"] if more else []
            return "\n".join([f"{begin}no sum over its input; {_counted(self.count, 'slope')}", *slopes, *end])
        constant = self.constant.of if self.constant else "a constant"
        also = f" and {constant}" if self.constant or self.rest else ""
        lines = [f"{begin}{_counted(self.count, 'product')}{also}"]
        for term in self.terms:
            by = "1" if term.name == "1" else f"{term.name or _slope(entry, term)} ({term.slope:.7g})"
            lines.append(f"  {term.product:+.7g} = {_value(term)} * {by}")
        if more:
            others = self.total - self.rest - sum(term.product for term in self.terms)
            lines.append(f"  {others:+.7g} = the other {more}")
        if self.constant:
            lines.append(f"  {self.rest:+.7g} = {entry_name(self.constant.of, self.constant.index)}")
        elif self.rest:
            lines.append(f"  {self.rest:+.7g} = {entry} where the input is 0")
        return "\n".join([*lines, f"  {self.total:+.7g} in all"])


def _counted(count: int, what: str) -> str:
    """As an Explanation has it: "one product", "the sum of 4 products"; "one slope", "4 slopes"."""
    if count == 1:
        return f"one {what}"
    return f"the sum of {count} {what}s" if what == "product" else f"{count} {what}s"


def _value(term: OutputTerm) -> str:
    return f"{entry_name(term.of, term.index)} ({term.value:.7g})"


def _slope(entry: str, term: OutputTerm) -> str:
    return f"d{entry}/d{entry_name(term.of, term.index)}"


def output_explained(step: Step, index: tuple[int, ...], most: int, batched: bool) -> OutputExplanation:
    """The entry `index` of the output; ValueError if there is none, or if the step has no derivative of its own."""
    compared = step.comparison
    if compared is None or compared.problem:
        raise ValueError(f"explain: {step.name} has no derivative of its own to explain {step.value.name} by")
    o = entry_of("explain", step.value.name, step.value.shape, index)
    slopes, value = compared.row(o), float(step.value.wide[o])
    inputs = [0] if 0 in slopes else list(slopes)  # integers have no slopes: then those of the parameters
    values = {i: as_wide(compared.leaves[i]) for i in slopes}
    with np.errstate(invalid="ignore", over="ignore"):
        products = {i: np.where(slopes[i] == 0, 0.0, slopes[i] * values[i]) for i in inputs}
        rest = float("nan") if compared.at_zero is None else float(compared.at_zero[o])
        total = sum(float(products[i].sum()) for i in inputs) + rest
        is_sum = abs(total - value) <= compared.rounding * (abs(value) + step.value.rms)
    parts = products if is_sum else {i: slopes[i] for i in inputs}

    def term(i: int, flat: int) -> OutputTerm:
        of, at = compared.names[i], tuple(map(int, np.unravel_index(flat, slopes[i].shape)))
        named = factor_name(step, of, at, o, batched)
        return OutputTerm(of, at, float(values[i][at]), float(slopes[i][at]), named)

    ranked = [
        (-abs(float(part.flat[flat])), i, int(flat))
        for i, part in parts.items()
        for flat in np.argsort(-np.abs(part), axis=None, kind="stable")[:most]
        if part.flat[flat]
    ]
    others = [term(i, int(np.abs(slopes[i]).argmax())) for i in slopes if i not in inputs and slopes[i].size]
    return OutputExplanation(
        layer=step.name,
        of=step.value.name,
        index=o,
        value=value,
        is_sum=is_sum,
        terms=tuple(term(i, flat) for _, i, flat in sorted(ranked)[:most]),
        count=sum(int(np.count_nonzero(part)) for part in parts.values()),
        constant=next((one for one in others if is_sum and one.name == "1" and np.isclose(one.value, rest)), None),
        rest=rest if is_sum else float("nan"),
        total=total if is_sum else float("nan"),
    )
