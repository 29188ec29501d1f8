"""A picture of what is wrong: each wrong cotangent of the rule, the reference's, and their difference, as heat maps."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fnnet.checking.catalogue import with_name
from fnnet.checking.tiling import TiledImage, tiled

if TYPE_CHECKING:  # pragma: no cover
    from fnnet.checking.report import Failure, Report

MOST_ROWS = 8
WIDTH, HEIGHT = 11.0, 2.6  # inches; of the panels of a row
SAME_SCALE = 10  # rule and reference have one scale of colours, unless one is so many times larger
COLOURS = "RdBu_r"  # white is zero
FRAMES, LOST = "0.75", "black"


def plot(report: "Report", path: str | Path) -> None:
    """Draw a row for each wrong cotangent: rule, reference, error.

    Two axes of the array make an image, the others a grid of such tiles, labelled with their indices. Entries that are
    not finite are black; a square surrounds the entry that is furthest off.

    Raises:
        ValueError: The report has no cotangent that differs from a reference.
    """
    from matplotlib.figure import Figure

    failures = drawn_failures(report)
    if not failures:
        raise ValueError(f"report.plot: {report.name} ({report.verdict}) has no wrong cotangent to show")
    heights = [HEIGHT * _tall(np.asarray(failure.ours)) + 1.2 for failure in failures]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.4), layout="constrained")
    figure.suptitle(f"{report.name}({report.signature}): {report.verdict}", wrap=True)
    rows = figure.subfigures(len(failures), 1, squeeze=False, height_ratios=heights)[:, 0]
    for row, failure in zip(rows, failures, strict=True):
        _draw(row, failure)
    figure.savefig(Path(path), dpi=120)


def drawn_failures(report: "Report") -> list["Failure"]:
    """The first failure of each wrong cotangent."""
    shown: dict[str, Failure] = {}
    for failure in report.failures:
        if failure.ours is not None and failure.theirs is not None and failure.ours.size:
            shown.setdefault(failure.argument, failure)
    return list(shown.values())[:MOST_ROWS]


def _draw(row: Any, failure: "Failure") -> None:
    """Three panels in a row, below what is wrong in words."""
    ours, theirs, part = _real(np.asarray(failure.ours), np.asarray(failure.theirs))
    with np.errstate(invalid="ignore"):
        error = ours - theirs
    sizes, scale = [_largest(a) for a in (ours, theirs)], ", another scale"
    if max(sizes) <= SAME_SCALE * min(sizes):
        sizes, scale = [max(sizes)] * 2, ""
    off = _largest(error)
    if not np.isfinite(error).all():  # the finite ones may be right, and differ by rounding
        off = max(off, sizes[1] / 100)
    where = f", {failure.circumstance}" if failure.circumstance else ""
    cotangent = f"the cotangent of {failure.argument}{part}" if failure.argument else "the cotangent"
    said = f"{with_name(failure.check)}{where}: {cotangent} {failure.diagnosis}"
    row.suptitle(said, fontsize=10, wrap=True)
    lost = int((~np.isfinite(error)).sum())
    wrong = f"rule - reference: {failure.wrong} of {failure.size} wrong" + (f", {lost} not finite" if lost else "")
    titles = ("rule", f"reference{scale}", wrong)
    for axes, title, array, size in zip(row.subplots(1, 3), titles, (ours, theirs, error), (*sizes, off), strict=True):
        _panel(axes, title, tiled(array, failure.entry), size or 1.0)


def _panel(axes: Any, title: str, tiles: TiledImage, size: float) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    axes.set_title(title, fontsize=10)
    axes.set_facecolor(FRAMES)
    tall = tiles.image.shape[0] / tiles.image.shape[1]
    shape = {"aspect": "equal" if 1 / 8 < tall < 8 else "auto", "interpolation": "nearest"}
    values = np.ma.masked_where(~np.isfinite(tiles.image), tiles.image)
    drawn = axes.imshow(values, cmap=COLOURS, vmin=-size, vmax=size, **shape)
    axes.imshow(np.ma.masked_where(~tiles.lost, np.ones(values.shape)), cmap=ListedColormap([LOST]), **shape)
    axes.figure.colorbar(drawn, ax=axes, format="%.3g").ax.tick_params(labelsize=8)
    for line, ticks in zip((axes.yaxis, axes.xaxis), tiles.ticks, strict=True):
        line.set_ticks([position for position, _ in ticks], [label for _, label in ticks], fontsize=8)
    axes.set_ylabel(tiles.labels[0], fontsize=8)
    axes.set_xlabel(tiles.labels[1], fontsize=8)
    if tiles.marked is not None:
        (down, across), side = tiles.marked, max(1.0, max(tiles.image.shape) / 40)
        corner = across - side / 2, down - side / 2
        axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="lime", linewidth=1.5))


def _tall(a: np.ndarray) -> float:
    """The height of its image by its width, within what a row can be."""
    down, across = tiled(np.zeros(a.shape)).image.shape
    return float(np.clip(down / across, 0.2, 1.2))


def _real(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """The real or the imaginary part of complex numbers, whichever differs more."""
    if not np.iscomplexobj(ours):
        return ours, theirs, ""
    imaginary = _largest((ours - theirs).imag) > _largest((ours - theirs).real)
    return (ours.imag, theirs.imag, ", imaginary part,") if imaginary else (ours.real, theirs.real, ", real part,")


def _largest(a: np.ndarray) -> float:
    return float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
