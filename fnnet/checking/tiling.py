"""An array of any rank as one image: two of its axes are a tile, the others a grid of tiles with frames between."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_TILES = 6  # along one axis; of more, those around the worst entry
MOST_TICKS = 8

Line = list[tuple[int, ...] | None]  # what stands along one side of the image: indices, or None in a frame
Ticks = list[tuple[float, str]]


@dataclass(frozen=True, eq=False)
class TiledImage:
    """The image and its labels; in each pair the first runs down, the second across.

    Args:
        image: The values, NaN in frames.
        lost: Which values are not finite.
        ticks: Positions and labels.
        labels: Which axes of the array run along the two sides.
        marked: Position of the marked entry, or None.
    """

    image: np.ndarray
    lost: np.ndarray
    ticks: tuple[Ticks, Ticks]
    labels: tuple[str, str]
    marked: tuple[int, int] | None


def tiled(a: np.ndarray, entry: tuple[int, ...] | None = None) -> TiledImage:
    """`a` as an image. A tile has two neighbouring axes, neither of them small. `entry` is marked."""
    sides = _sides(a.shape)
    worst = entry if entry is not None else (0,) * a.ndim
    shown = {axis: _shown(a.shape[axis], worst[axis], axis == side[-1]) for side in sides for axis in side}
    lines = [_line([shown[axis] for axis in side]) for side in sides]
    positions = [[position for position, index in enumerate(line) if index is not None] for line in lines]
    filled = np.zeros([len(line) for line in lines], bool)
    filled[np.ix_(*positions)] = True
    image = np.full(filled.shape, np.nan)
    cut = a[np.ix_(*(shown[axis] for axis in range(a.ndim)))] if a.ndim else a
    image[filled] = cut.transpose(*sides[0], *sides[1]).ravel()
    marked = None
    if entry is not None and a.size > 1:
        at = [line.index(tuple(entry[axis] for axis in side)) for line, side in zip(lines, sides, strict=True)]
        marked = at[0], at[1]
    labels = [_label(side, shown, a.shape) for side in sides]
    ticks = [_ticks(line) for line in lines]
    return TiledImage(image, filled & ~np.isfinite(image), (ticks[0], ticks[1]), (labels[0], labels[1]), marked)


def _sides(shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """The axes that run down and across, each from the outermost to that of the tile itself."""
    if len(shape) < 2:
        return [], list(range(len(shape)))
    inner = max(range(len(shape) - 1), key=lambda axis: (min(shape[axis : axis + 2]), axis))
    others = [axis for axis in range(len(shape)) if axis not in (inner, inner + 1)]
    return [*others[::2], inner], [*others[1::2], inner + 1]


def _shown(size: int, worst: int, inside: bool) -> range:
    """The indices along one axis: all of a tile, some of the tiles."""
    if inside or size <= MOST_TILES:
        return range(size)
    first = min(max(worst - MOST_TILES // 2, 0), size - MOST_TILES)
    return range(first, first + MOST_TILES)


def _line(axes: Sequence[range]) -> Line:
    """All indices of these axes in order, with frames between the tiles: the farther out, the wider."""
    if not axes:
        return [()]
    if len(axes) == 1:
        return [(index,) for index in axes[0]]
    line: Line = []
    for index in axes[0]:
        line += [None] * (len(axes) - 1 if line else 0)
        line += [None if rest is None else (index, *rest) for rest in _line(axes[1:])]
    return line


def _ticks(line: Line) -> Ticks:
    """Of one axis, indices; of several, the tiles' indices at their middles."""
    indices = [(position, index) for position, index in enumerate(line) if index]
    if not indices:
        return []
    if len(indices[0][1]) == 1:
        step = -(-len(indices) // MOST_TICKS)
        return [(float(position), str(index[0])) for position, index in indices[::step]]
    grouped = itertools.groupby(indices, key=lambda pair: pair[1][:-1])
    middles = [(np.mean([position for position, _ in group]), ", ".join(map(str, tile))) for tile, group in grouped]
    step = -(-len(middles) // (2 * MOST_TICKS))
    return [(float(position), label) for position, label in middles[::step]]


def _label(side: list[int], shown: dict[int, range], shape: tuple[int, ...]) -> str:
    if not side:
        return ""
    cut = {axis: f" ({len(shown[axis])} of {shape[axis]})" if len(shown[axis]) < shape[axis] else "" for axis in side}
    outer = ", ".join(f"{axis}{cut[axis]}" for axis in side[:-1])
    return f"tiles: axis {outer}; within: axis {side[-1]}" if outer else f"axis {side[-1]}"
