"""`Trace`: what `fnnet.trace` returns."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fnnet.core.notebook import html_frame, html_paragraph, html_table
from fnnet.tracing.container_explanation import ContainerExplanation, container_explained
from fnnet.tracing.entry_path import EntryPath, followed
from fnnet.tracing.explanation import Explanation, explained
from fnnet.tracing.numbers import Numbers
from fnnet.tracing.output_explanation import OutputExplanation, output_explained
from fnnet.tracing.problems.first import first_problem
from fnnet.tracing.problems.problem import Problem
from fnnet.tracing.records import Step
from fnnet.tracing.table import NAMES, WORDS, caption, cells, table

if TYPE_CHECKING:
    from fnnet.tracing.changes import Change

MOST_IN_A_NOTEBOOK = 2_000_000  # characters of a page: a notebook's file holds them
FRAME_HEIGHT = 900


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """One forward and one backward, layer by layer; made by `fnnet.trace`.

    Args:
        net: The network.
        steps: Its layers in the order in which the forward ends them; the loss is the last.
        x: The example, or the mini-batch.
        y: The labels.
        outputs: What the network gives.
        loss: The mean loss.
        loss_after: That on the same examples after the optimiser's update; None without an optimiser.
        batch: How many examples; None for one without a leading axis.
        params: The parameters.
        params_bar: Their gradient, as `jax.grad` gives it.
        same_bits: Whether loss and gradient of the traced run have the bits of `jax.value_and_grad` without taps.
        graph: Whether each step's `source` and `parts` are known. They are unless the network is a `Residual` itself,
            or has a container of the user that does something else with its layers' outputs than add them up.
    """

    net: Any
    steps: tuple[Step, ...]
    x: Numbers
    y: Numbers
    outputs: Numbers
    loss: float
    loss_after: float | None
    batch: int | None
    params: Any = field(repr=False)
    params_bar: Any = field(repr=False)
    same_bits: bool
    graph: bool

    def __getitem__(self, name: str) -> Step:
        """The layer of that name, or "loss"; KeyError if there is none."""
        found = next((step for step in self.steps if step.name == name), None)
        if found is None:
            raise KeyError(f"trace: no layer {name!r}; they are {', '.join(step.name for step in self.steps)}")
        return found

    def __iter__(self) -> Iterator[Step]:
        """The steps."""
        return iter(self.steps)

    def __repr__(self) -> str:
        """A table: what flows forward and backward, layer by layer; then the first problem, if there is one."""
        return f"{table(self)}\n{self._conclusion()}"

    def _repr_html_(self) -> str:
        """For a notebook: the page of `save` in a frame, if it is small, and the table."""
        from fnnet.tracing.page.webpage import webpage

        rows = html_table(NAMES, cells(self), left=WORDS)
        table = html_paragraph(caption(self)) + rows + html_paragraph("", strong=self._conclusion())
        page = webpage(self, "")
        if len(page) > MOST_IN_A_NOTEBOOK:
            return table + html_paragraph('Its page is large: trace.save("trace.html") writes it to a file.')
        frame = html_frame(page, "A backward pass, layer by layer", FRAME_HEIGHT)
        return f"{frame}<details><summary>The same as a table</summary>{table}</details>"

    def _conclusion(self) -> str:
        problem = self.first_problem()
        return f"first problem: {problem}" if problem else "no problem found"

    def first_problem(self) -> Problem | None:
        """The first layer, going backwards, whose gradient is NaN, zero, exploding or wrong, and why; None for none.

        `str` of it is a sentence. docs/trace.md lists the problems and their limits.
        """
        return self._first_problem

    @functools.cached_property
    def _first_problem(self) -> Problem | None:
        return first_problem(self)  # which runs layers again: a page and a table ask for it several times

    def explain(
        self, name: str, of: str, index: Sequence[int], *, most: int = 12
    ) -> Explanation | OutputExplanation | ContainerExplanation:
        """The chain of numbers behind one entry: the sum of products that it is.

        Args:
            name: The layer, or "loss".
            of: Whose cotangent: "x", "kernel", "bias", ...; "outputs" for the loss. "y" for the layer's output, which
                is a sum over x where the layer is affine in it (dense, convolution, pooling, ReLU); else its slopes
                are listed.
            index: The entry; negative numbers count from the end.
            most: How many products are listed, the largest first.

        Returns:
            An Explanation of a cotangent's entry, an OutputExplanation of an output's; `str` shows it line by line.
            For "x" and "y" of a layer that is made of layers a ContainerExplanation: the sum over them.

        Raises:
            KeyError: There is no such layer.
            ValueError: It has no such cotangent, or that no such entry.
        """
        step, entry = self[name], tuple(map(int, index))
        if step.is_nested:
            return container_explained(self, name, of, entry)
        if of == "y":
            return output_explained(step, entry, most, self.batch is not None)
        return explained(step, of, entry, most, self.batch is not None)

    def follow(self, name: str, of: str, index: Sequence[int]) -> EntryPath:
        """An entry's way to the loss: what a change of it changes in each layer, and its part of the gradient.

        Args:
            name: The layer, or "loss".
            of: Whose entry: "kernel", "bias", ...; "x" for the layer's input, as this layer alone reads it; "y" for its
                output; "outputs" for the loss.
            index: The entry; negative numbers count from the end.

        Returns:
            An EntryPath; `str` is a table.

        Raises:
            KeyError: There is no such layer.
            ValueError: It has no such entry; it is made of layers; or the trace has no `graph`.
        """
        return followed(self, name, of, tuple(map(int, index)))

    def diff(self, other: "Trace") -> "Change":
        """What changed from this trace to another of the same network, such as a later moment of its training."""
        from fnnet.tracing.changes import change

        return change(self, other)

    def save(
        self,
        file: str | os.PathLike[str],
        *,
        title: str = "",
        moments: "Mapping[str, Trace] | None" = None,
    ) -> Path:
        """One HTML page, without server or network, that shows all of the trace; returns its path.

        Arrays that are large are sampled, and the page says so: it has some megabytes at most.

        Args:
            file: Where the page goes.
            title: Its heading.
            moments: Traces of other moments of the training under their labels, such as {"epoch 0": ..., "epoch 5":
                ...}, in order: the page has a slider over them, and this trace at its end.

        Raises:
            ValueError: A moment is of another network.
        """
        from fnnet.tracing.changes import check_same_network
        from fnnet.tracing.page.webpage import webpage

        for label, one in (moments or {}).items():
            check_same_network(f"save: moment {label!r}", one, self)
        path = Path(file)
        path.write_text(webpage(self, title, moments), encoding="utf-8")
        return path
