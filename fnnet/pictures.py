"""Pictures of a training run: functions from arrays to PNG files.

Colours: blue and orange of Okabe and Ito, which colour-blind readers tell apart; one-coloured and two-ended maps of even
lightness. What can have either sign has zero in the middle of its colours.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

BLUE, ORANGE = "#0072B2", "#D55E00"
TILES = 64  # at most so many kernels in one picture
FONT = 11

File = str | os.PathLike[str]


def curves(file: File, history: Sequence[Mapping[str, Any]], *, title: str = "") -> None:
    """Loss of training and held-out data, and the error rate of the held-out, by epoch."""
    figure = _figure(11, 4.2, title)
    losses, errors = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    marker = "o" if len(epochs) <= 20 else None
    for name, label, colour in (("loss", "training", BLUE), ("validation_loss", "held out", ORANGE)):
        if all(name in record for record in history):
            values = [record[name] for record in history]
            losses.plot(epochs, values, color=colour, marker=marker, markersize=4, label=label)
    losses.set(title="Loss", xlabel="epoch", yscale="log")
    losses.legend(frameon=False)
    if all("validation_accuracy" in record for record in history):
        wrong = [100 * (1 - record["validation_accuracy"]) for record in history]
        errors.plot(epochs, wrong, color=ORANGE, marker=marker, markersize=4)
        errors.set(title=f"Held-out images answered wrongly: {wrong[-1]:.2f} % in the end", xlabel="epoch")
        errors.set_ylabel("per cent")
        errors.set_ylim(0, _readable_top(wrong))
    for axes in (losses, errors):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(file)


def confusion(
    file: File,
    labels: Integer[np.ndarray, " examples"],
    predictions: Integer[np.ndarray, " examples"],
    classes: Sequence[str],
) -> None:
    """How often each class (row) was answered by each (column); the wrong answers are coloured, the right ones grey."""
    count = np.zeros((len(classes), len(classes)), int)
    np.add.at(count, (labels, predictions), 1)
    wrong = int(count.sum() - np.trace(count))
    side = max(4.5, 0.55 * len(classes) + 1.5)
    figure = _figure(side + 1, side, f"{wrong} wrong answers to {len(labels)} held-out images")
    axes = figure.subplots()
    diagonal = np.eye(len(classes), dtype=bool)
    mistakes = np.ma.masked_array(count, diagonal)
    image = axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(1, mistakes.max() if wrong else 1))
    axes.imshow(np.ma.masked_array(np.ones(count.shape), ~diagonal), cmap="Greys", vmin=0, vmax=6)
    for (row, column), number in np.ndenumerate(count):
        if number and len(classes) <= 30:
            light = row == column or number <= image.norm.vmax / 2
            axes.text(column, row, number, ha="center", va="center", color="black" if light else "white", fontsize=FONT - 1)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="answer", ylabel="label")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label="wrong answers")
    bar.locator.set_params(integer=True)
    figure.savefig(file)


def surest_mistakes(
    file: File,
    images: Float[np.ndarray, "examples height width channels"],
    labels: Integer[np.ndarray, " examples"],
    probabilities: Float[np.ndarray, "examples classes"],
    classes: Sequence[str],
    *,
    most: int = 24,
) -> None:
    """The wrongly answered images, those with the highest probability of a wrong class first, at most `most` of them."""
    predictions = probabilities.argmax(-1)
    wrong = np.flatnonzero(predictions != labels)
    sure = probabilities[wrong, predictions[wrong]]
    shown = wrong[np.argsort(-sure, kind="stable")][:most]
    columns = min(6, max(3, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    which = f"The {len(shown)} surest of {len(wrong)}" if len(shown) < len(wrong) else f"All {len(wrong)}"
    title = f"{which} wrong answers to held-out images" if len(wrong) else "No wrong answer to a held-out image"
    figure = _figure(1.7 * columns, 2.1 * rows + 0.6, title)
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if place < len(shown):
            example = shown[place]
            answer = predictions[example]
            axes.imshow(_grey(images[example]), cmap="gray_r", vmin=0, vmax=1)
            text = f"{classes[answer]}, with {100 * probabilities[example, answer]:.0f} %\nlabel: {classes[labels[example]]}"
            axes.set_title(text, fontsize=FONT - 1)
    figure.savefig(file)


def kernels(file: File, kernel: Float[np.ndarray, "..."], shape: Sequence[int]) -> None:
    """The first layer's kernels as images, blue below zero and red above, all in the same colours.

    Args:
        file: Where to.
        kernel: Of a convolution, (height, width, channels, features), or of a dense layer, (inputs, features), whose
            columns are images.
        shape: Of one example: (height, width, channels).

    Of colour images the mean over the channels is shown.
    """
    kind = "Kernels" if kernel.ndim == 4 else "Columns"
    tiles = kernel if kernel.ndim == 4 else kernel.reshape(*shape, kernel.shape[-1])
    tiles = np.moveaxis(tiles.mean(2), -1, 0)
    number = len(tiles)
    tiles = tiles[:TILES]
    columns = min(8, len(tiles))
    rows = -(-len(tiles) // columns)
    which = f"{kind} of the first layer" + (f": the first {TILES} of {number}" if number > TILES else f", {number}")
    figure = _figure(1.0 * columns + 1.2, 1.0 * rows + 0.7, which)
    grid = figure.subplots(rows, columns, squeeze=False)
    most = float(np.abs(tiles).max()) or 1.0
    image = None
    for place, axes in enumerate(grid.flat):
        axes.set(xticks=[], yticks=[])
        if place < len(tiles):
            image = axes.imshow(tiles[place], cmap="RdBu_r", vmin=-most, vmax=most)
        else:
            axes.set_axis_off()
    figure.colorbar(image, ax=grid, label="weight", aspect=30)
    figure.savefig(file)


def _figure(width: float, height: float, title: str) -> Any:
    """An empty figure that belongs to no window and no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=FONT + 2)
    return figure


def _readable_top(percent: Sequence[float]) -> float:
    """The upper end of an axis on which the last values are legible, though the first may lie above it."""
    return min(100.0, max(1.0, 1.05 * max(percent[1:] or percent), 4 * percent[-1]))


def _grey(image: np.ndarray) -> np.ndarray:
    return image.mean(-1)
