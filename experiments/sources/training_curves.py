"""The share of right answers after each epoch, of several ways to train on the same data; and the picture of it."""

import math
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

import fnnet

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")


class Curve(NamedTuple):
    """Right answers to held-out examples in %, by epoch, and the median of the seconds an epoch took."""

    right: list[float]
    seconds: float

    def __str__(self) -> str:
        """What it came to."""
        return "loss not finite" if math.isnan(self.right[-1]) else f"{self.right[-1]:.1f} %"


def train(net: Any, loss: Any, optimizer: Any, data: Any, *, seed: int, epochs: int, batch_size: int) -> Curve:
    """Train on complete mini-batches; a loss that is not finite ends the curve."""
    right: list[float] = []
    seconds: list[float] = []

    def note(record, _):
        right.append(100 * record["validation_accuracy"])
        seconds.append(record["seconds"])

    try:
        fnnet.fit(
            net,
            loss,
            optimizer,
            data.train,
            key=jax.random.key(seed),
            epochs=epochs,
            batch_size=batch_size,
            validation=data.test,
            callback=note,
        )
    except fnnet.NonFiniteLossError:
        right.append(float("nan"))
    return Curve(right, statistics.median(seconds or [float("nan")]))


def one_hot(labels, outputs):
    """The labels as rows like the outputs."""
    return jax.nn.one_hot(labels, outputs.shape[-1], dtype=outputs.dtype)


def half_mean_square(softmax: Callable) -> Callable:
    """The loss of 000 and 001, 1/n sum_k 1/2 (y_k - a_k)^2, with a the softmax of the outputs."""

    def loss(outputs, labels):
        return fnnet.squared_error(softmax(outputs), one_hot(labels, outputs)) / outputs.shape[-1]

    return loss


def draw(picture: Path | None, curves: Mapping[str, Curve], title: str) -> None:
    """The curves in one picture, if there is a file for it."""
    if picture is None:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.subplots()
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        epochs = range(1, len(curve.right) + 1)
        axes.plot(epochs, curve.right, color=colour, marker="o", markersize=4, label=f"{name}: {curve}")
    axes.set(xlabel="epoch", ylabel="right answers to held-out images, %", title=title, ylim=(0, 100))
    axes.locator_params(axis="x", integer=True)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(picture, dpi=110)


def lines(curves: Mapping[str, Curve]) -> str:
    """A line for each curve."""
    width = max(map(len, curves))
    return "\n".join(
        f"{name:{width}}  {' '.join(f'{share:.1f}' for share in curve.right)} %, {curve.seconds:.2f} s an epoch"
        for name, curve in curves.items()
    )
