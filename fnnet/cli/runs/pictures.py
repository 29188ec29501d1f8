"""Pictures of a training run: functions from arrays to PNG files.

Colours: blue and orange of Okabe and Ito, which colour-blind readers tell apart; maps of one colour, or from blue to
red where there are two signs, with zero in the middle.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

BLUE, ORANGE = "#0072B2", "#D55E00"
TILES = 64  # at most so many kernels in one picture
FEW = 5  # wrong answers of one kind: fewer never have the darkest colour
FONT = 11

File = str | os.PathLike[str]


def curves(file: File, history: Sequence[Mapping[str, Any]], *, title: str = "", of: str = "images") -> None:
    """Loss of training and held-out data, and the error rate of the held-out, by epoch."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    figure = _figure(11, 4.2, title)
    losses, errors = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    marker = "o" if len(epochs) <= 20 else None
    for name, label, colour in (("loss", "training", BLUE), ("validation_loss", "held out", ORANGE)):
        if all(name in record for record in history):
            values = [record[name] for record in history]
            losses.plot(epochs, values, color=colour, marker=marker, markersize=4, label=label)
    losses.set(title="Loss", xlabel="epoch", yscale="log")
    losses.yaxis.set_major_locator(FixedLocator(log_ticks(*losses.get_ylim())))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_locator(NullLocator())
    losses.legend(frameon=False)
    if all("validation_accuracy" in record for record in history):
        wrong = [100 * (1 - record["validation_accuracy"]) for record in history]
        errors.plot(epochs, wrong, color=ORANGE, marker=marker, markersize=4)
        errors.set(title=f"Wrong answers to held-out {of}: {wrong[-1]:.2f} % in the end", xlabel="epoch", ylabel="%")
        errors.set_ylim(0, _readable_top(wrong))
    for axes in (losses, errors):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    figure.savefig(file)


def confusion(
    file: File,
    labels: Integer[np.ndarray, " examples"],
    predictions: Integer[np.ndarray, " examples"],
    classes: Sequence[str],
) -> None:
    """How often each class (row) was answered by each (column): wrong answers coloured, right ones grey, none white.

    The colour goes with the square root of the number, so that one mistake is seen beside thirty of another kind.
    """
    from matplotlib.colors import PowerNorm

    count = np.zeros((len(classes), len(classes)), int)
    np.add.at(count, (labels, predictions), 1)
    wrong = int(count.sum() - np.trace(count))
    side = max(4.5, 0.55 * len(classes) + 1.5)
    figure = _figure(side + 1, side, f"{_counted(wrong)} to {len(labels)} held-out images")
    axes = figure.subplots()
    diagonal = np.eye(len(classes), dtype=bool)
    mistakes = np.ma.masked_array(count, diagonal | (count == 0))
    scale = PowerNorm(0.5, 0, max(FEW, mistakes.max() if wrong else 0))
    image = axes.imshow(mistakes, cmap="Oranges", norm=scale)
    axes.imshow(np.ma.masked_array(np.ones(count.shape), ~diagonal), cmap="Greys", vmin=0, vmax=6)
    for (row, column), number in np.ndenumerate(count):
        if number and len(classes) <= 30:
            light = row == column or scale(number) <= 0.6
            colour = "black" if light else "white"
            axes.text(column, row, number, ha="center", va="center", color=colour, fontsize=FONT - 1)
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
    """At most `most` of the wrongly answered images, those with the highest probability of a wrong class first."""
    predictions = probabilities.argmax(-1)
    wrong = np.flatnonzero(predictions != labels)
    sure = probabilities[wrong, predictions[wrong]]
    shown = wrong[np.argsort(-sure, kind="stable")][:most]
    columns = min(6, max(3, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    surest = f", the surest {len(shown)}" if len(shown) < len(wrong) else ""
    title = f"{_counted(len(wrong))} to held-out images{surest}"
    figure = _figure(1.7 * columns, 2.1 * rows + 0.6, title)
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set(xticks=[], yticks=[])
        if place < len(shown):
            example = shown[place]
            answer = predictions[example]
            colours = images[example] if images.shape[-1] == 3 else images[example].mean(-1)
            axes.imshow(np.clip(colours, 0, 1), cmap="gray_r", vmin=0, vmax=1)
            chance = f"{100 * probabilities[example, answer]:.0f} %"
            axes.set_title(f"{classes[answer]} ({chance})\nlabel: {classes[labels[example]]}", fontsize=FONT - 1)
        else:
            axes.set_axis_off()
    figure.savefig(file)


def kernels(file: File, kernel: Float[np.ndarray, "..."], shape: Sequence[int]) -> None:
    """The first layer's kernels as images, blue below zero and red above, all in the same colours.

    The kernel is of a convolution, (height, width, channels, features), or of a dense layer, (inputs, features), whose
    columns are images of `shape`, (height, width, channels). The picture shows the mean over the channels.
    """
    kind = "Kernels" if kernel.ndim == 4 else "Columns"
    tiles = kernel if kernel.ndim == 4 else kernel.reshape(*shape, kernel.shape[-1])
    tiles = np.moveaxis(tiles.mean(2), -1, 0)
    number = len(tiles)
    tiles = tiles[:TILES]
    columns = min(8, len(tiles))
    rows = -(-len(tiles) // columns)
    which = f"{kind} of the first layer" + (f", the first {TILES} of {number}" if number > TILES else f", {number}")
    figure = _figure(0.9 * columns + 2.5, 0.9 * rows + 0.7, which)
    axes = figure.subplots()
    axes.set_axis_off()
    sheet, most = _sheet(tiles, rows, columns), float(np.abs(tiles).max()) or 1.0
    image = axes.imshow(sheet, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    figure.colorbar(image, ax=axes, label="weight", aspect=30, shrink=0.9)
    figure.savefig(file)


def _sheet(tiles: np.ndarray, rows: int, columns: int) -> np.ma.MaskedArray:
    """Tiles side by side and row by row, enlarged; what lies between them is masked."""
    factor = max(1, round(72 / max(tiles.shape[1:])))
    height, width = (factor * size for size in tiles.shape[1:])
    gap = max(2, height // 12)
    empty = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap), np.float32)
    sheet = np.ma.masked_array(empty, mask=True)
    for place, tile in enumerate(tiles):
        top, left = (height + gap) * (place // columns), (width + gap) * (place % columns)
        sheet[top : top + height, left : left + width] = np.kron(tile, np.ones((factor, factor)))
    return sheet


def _figure(width: int | float, height: int | float, title: str) -> Any:
    """An empty figure that belongs to no window and no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=FONT + 2)
    return figure


def log_ticks(low: float, high: float) -> list[float]:
    """Four to ten round numbers within the bounds of a logarithmic axis; evenly spaced ones within a narrow range."""
    from matplotlib.ticker import MaxNLocator

    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, *range(2, 10))):
        found = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
        found = [tick for tick in (*found, 10.0 ** (decades[-1] + 1)) if low <= tick <= high]
        if len(found) >= 4:
            return found
    return [float(tick) for tick in MaxNLocator(7, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high]


def _readable_top(percent: Sequence[float]) -> float:
    """The upper end of an axis on which the last values are legible, though the first may lie above it."""
    return min(100.0, max(1.0, 1.05 * max(percent[1:] or percent), 4 * percent[-1]))


def _counted(wrong: int) -> str:
    return f"{wrong or 'No'} wrong answer{'' if wrong == 1 else 's'}"
