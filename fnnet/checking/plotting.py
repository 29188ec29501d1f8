"""A picture of what is wrong: each wrong cotangent of the rule, the reference's, and their difference, as heat maps."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # pragma: no cover
    from fnnet.checking.report import Failure, Report

MOST_ROWS = 8
INCHES = 3.2


def plot(report: "Report", path: str | Path) -> None:
    """Draw a row for each wrong cotangent: rule, reference, error. Further axes stand side by side, framed.

    Raises:
        ValueError: The report has no cotangent that differs from a reference.
    """
    from matplotlib.figure import Figure

    failures = drawn_failures(report)
    if not failures:
        raise ValueError(f"report.plot: {report.name} ({report.verdict}) has no wrong cotangent to show")
    figure = Figure(figsize=(3 * INCHES, INCHES * len(failures) + 0.5), layout="constrained")
    figure.suptitle(f"{report.name}: {report.verdict}")
    rows = figure.subplots(len(failures), 3, squeeze=False)
    for row, failure in zip(rows, failures, strict=True):
        ours, theirs = (sheet(np.real(np.asarray(a))) for a in (failure.ours, failure.theirs))
        finite = np.abs(np.concatenate([ours[np.isfinite(ours)], theirs[np.isfinite(theirs)]]))
        size = float(finite.max(initial=0.0)) or 1.0
        with np.errstate(invalid="ignore"):
            error = ours - theirs
        worst = float(np.abs(error[np.isfinite(error)]).max(initial=0.0)) or size
        row[0].set_ylabel(f"{failure.check}: {failure.argument}\n{_shape(np.asarray(failure.ours))}")
        for axes, title, image, limit in zip(
            row,
            ("rule", "reference", f"error, up to {worst:.3g}"),
            (ours, theirs, error),
            (size, size, worst),
            strict=True,
        ):
            axes.set_title(title)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_facecolor("0.5")  # what is not finite, and the frames between further axes
            figure.colorbar(
                axes.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"), ax=axes, shrink=0.8
            )
    figure.savefig(Path(path), dpi=120)


def drawn_failures(report: "Report") -> list["Failure"]:
    """The first failure of each wrong cotangent."""
    shown: dict[str, Failure] = {}
    for failure in report.failures:
        if failure.ours is not None and failure.theirs is not None and failure.ours.size:
            shown.setdefault(failure.argument, failure)
    return list(shown.values())[:MOST_ROWS]


def sheet(a: np.ndarray) -> np.ndarray:
    """An array as one image: its last two axes, and sheets of NaN-framed images for the axes before them."""
    if a.ndim < 2:
        return np.atleast_2d(a)
    if a.ndim == 2:
        return a
    along = 1 if a.ndim % 2 else 0  # by turns side by side and one below the other
    images = [sheet(part) for part in a]
    frame = np.full((images[0].shape[0], 1) if along else (1, images[0].shape[1]), np.nan)
    parts = [images[0]]
    for image in images[1:]:
        parts += [frame, image]
    return np.concatenate(parts, along)


def _shape(a: np.ndarray) -> str:
    return "scalar" if not a.ndim else " x ".join(map(str, a.shape))
