"""What a trace holds of each layer."""

from dataclasses import dataclass, field
from typing import Any

from fnnet.checking.differences import Slope
from fnnet.checking.kinds import Word
from fnnet.tracing.comparison import Agreement, Comparison
from fnnet.tracing.numbers import Numbers
from fnnet.tracing.rule_pages import Page


class Source(Word):
    """What an array that is kept for the backward is."""

    INPUT = "the layer's input"
    OUTPUT = "the layer's output"
    PARAMETER = "a parameter"
    OWN = "of its own"


@dataclass(frozen=True, eq=False)
class Saved:
    """An array that the forward keeps for the backward.

    Args:
        source: What it is.
        numbers: The array, under its name: "x", "y", "kernel", ...
    """

    source: Source
    numbers: Numbers

    @property
    def what(self) -> str:
        """Which it is, in words: "x, the layer's input", "kernel", ..., or "of its own"."""
        is_named = self.source in (Source.PARAMETER, Source.OWN)
        return self.numbers.name if is_named else f"{self.numbers.name}, {self.source}"

    @property
    def is_there_anyway(self) -> bool:
        """Whether it is the layer's input or a parameter, which cost nothing more."""
        return self.source in (Source.INPUT, Source.PARAMETER)


@dataclass(frozen=True, eq=False)
class Outgoing:
    """A cotangent that a layer's backward gives.

    Args:
        of: What it is the cotangent of: "x", "kernel", ...
        value: What that is.
        numbers: The cotangent.
        agreement: Beside autodiff's; None if autodiff has none.
        slope: Beside finite differences; None if there are none.
        update: What the optimiser adds to the parameter; None without an optimiser, and for x.
    """

    of: str
    value: Numbers
    numbers: Numbers
    agreement: Agreement | None = None
    slope: Slope | None = None
    update: Numbers | None = None

    @property
    def ratio(self) -> float:
        """How large the update is beside the parameter, both as rms; inf at a parameter 0.

        NaN without an optimiser, and where the update or the parameter has a NaN.
        """
        if self.update is None:
            return float("nan")
        update, value = self.update.whole_rms, self.value.whole_rms
        return update / value if value else float("inf") if update else 0.0


@dataclass(frozen=True, eq=False)
class Step:
    """A layer in one forward and backward; the loss is the last.

    Args:
        name: Its path in the network: "conv_0", "residual_2/conv_0", "loss".
        kind: "conv", "relu", "loss", ...
        text: The layer as its user wrote it.
        pages: The pages of the rules that it runs, with their equations.
        inputs: x.
        value: Its output.
        saved: What its forward keeps.
        incoming: The cotangent of the output.
        outgoing: The cotangents of its input and parameters.
        insides: What the layer computes on the way to its output, as `Layer.insides_batch` says: attention's weights.
        is_nested: Whether it is a network of layers, which come before it.
        source: The number of the step whose output is its input; -1: the example. Meaningless if the trace has no
            `graph`.
        parts: Of a nested step, the numbers of the steps whose outputs it adds up: for a `Residual` the end of the body
            and the shortcut, or without one its source. -1: the example.
        layer: The layer itself, or what stands in its place.
        comparison: Evaluates the layer at other numbers; None for a nested one.
    """

    name: str
    kind: str
    text: str
    pages: tuple[Page, ...]
    inputs: Numbers
    value: Numbers
    saved: tuple[Saved, ...]
    incoming: Numbers
    outgoing: tuple[Outgoing, ...]
    is_nested: bool
    source: int = -1
    parts: tuple[int, ...] = ()
    layer: Any = None
    comparison: Comparison | None = field(default=None, repr=False)
    insides: tuple[Numbers, ...] = ()

    def cotangent(self, of: str) -> Outgoing:
        """The outgoing cotangent of "x", "kernel", ...; ValueError if there is none."""
        found = next((one for one in self.outgoing if one.of == of), None)
        if found is None:
            raise ValueError(f"trace: {self.name} has no cotangent of {of!r}; it has {[o.of for o in self.outgoing]}")
        return found

    @property
    def saved_bytes(self) -> int:
        """Bytes kept for the backward besides the layer's input and parameters."""
        return sum(one.numbers.bytes for one in self.saved if not one.is_there_anyway)

    @property
    def parameters(self) -> tuple[Outgoing, ...]:
        """The cotangents of its parameters."""
        return tuple(one for one in self.outgoing if one.of not in ("x", "outputs"))
