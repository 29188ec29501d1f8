"""Which entries of an array a page shows, and how they lie on its picture.

A page shows some thousand entries: a small array whole, of a large one evenly chosen indices of each axis, the first
and the last among them. Numbers beside a picture (rms, range, zeros) are those of the whole array.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WHOLE = 300_000  # entries of all arrays of a small network, which a page has complete
MOMENTS = 2  # times that in all the moments of a page
SAMPLED = 600_000  # about as many of a large network
ENTRIES, LEAST = 8192, 512  # of one picture
SIDE = 64  # of an image
EXAMPLES = 2  # of a batch of images
TOKENS = 8, 64  # rows of a batch of texts, and tokens of a row
# Arrays that are drawn by what they mean: the roles of the axes of one example.
ROLES = {
    "tokens": "c",  # integers, one after another
    "time": "xy",  # (time, features), with time on the horizontal axis
    "weights": "cyx",  # attention: (heads, tokens that look, tokens looked at)
}


@dataclass(frozen=True)
class Sample:
    """The entries shown.

    Args:
        indices: For each axis the chosen indices.
        roles: For each axis what it is on the picture: "y" and "x" within a tile, "r" and "c" the row and the column
            of the tile, "-" for an axis of which one index is shown. Several axes may be "r".
        said: What is left out, in words; empty if nothing.
        draw: What it is drawn as: "number", "bars", "matrix", "image" (tiles of y by x), or one of `ROLES`.
    """

    indices: tuple[np.ndarray, ...]
    roles: str
    said: str
    draw: str

    def of(self, array: np.ndarray) -> np.ndarray:
        """The entries of an array of that shape."""
        return array[np.ix_(*self.indices)] if array.ndim else array


def most_shown(traces: Sequence[Any]) -> int | None:
    """How many entries of each array a page of these moments of a training shows; None: all of them."""
    moments = [_sizes(trace) for trace in traces]
    totals = [sum(sizes) for sizes in moments]
    if max(totals) <= WHOLE and sum(totals) <= MOMENTS * WHOLE:
        return None
    most = ENTRIES
    while most > LEAST and sum(min(size, most) for sizes in moments for size in sizes) > SAMPLED:
        most = 3 * most // 4
    return most


def _sizes(trace: Any) -> list[int]:
    """The arrays of a trace by their entries, without those of x: they are another step's."""
    shown = [trace.x, trace.y]
    for step in trace.steps:
        shown += [step.value, step.incoming, *step.insides]
        shown += [saved.numbers for saved in step.saved if not saved.is_there_anyway]
        shown += [one for each in step.parameters for one in (each.value, each.numbers, each.update) if one is not None]
    return [one.array.size for one in shown]


def sample(
    shape: tuple[int, ...],
    batched: bool = False,
    is_kernel: bool = False,
    meaning: str = "",
    rows: Sequence[int] | None = None,
    most: int | None = ENTRIES,
) -> Sample:
    """How an array of that shape is shown; a batch has its examples first.

    Args:
        shape: Of the array.
        batched: Whether its first axis is that of the examples.
        is_kernel: Whether it is a parameter, with the axes of a kernel.
        meaning: One of `ROLES`, for an array with these axes; "" for any other.
        rows: Indices of the first axis that are shown before others.
        most: How many entries are shown; None for all.
    """
    roles = "r" * batched + ROLES[meaning] if meaning else _roles(len(shape), batched, is_kernel)
    if roles == "ryxc" and shape[-1] == 1:  # examples of one channel stand side by side, in as many lines as they need
        roles = "cyxr"
    draw = meaning or {"": "number", "x": "bars", "yx": "matrix"}.get(roles, "image")
    if most is None or math.prod(shape) <= most:
        return Sample(tuple(np.arange(n) for n in shape), roles.replace("-", "r"), "", draw)
    limits = dict.fromkeys("-", 1)
    image = "c" in roles or "r" in roles
    sides = {role: n for role, n in zip(roles, shape, strict=True) if role in "yx"}
    if meaning == "tokens":
        limits |= {"r": TOKENS[0], "c": TOKENS[1]}
    elif image:
        side = min(SIDE, math.isqrt(most))
        limits |= {"y": side, "x": side}
        tiles = max(1, most // max(1, math.prod(min(n, side) for n in sides.values())))
        of_tiles = next((n for n, role in zip(shape, roles, strict=True) if role == "r"), 1)
        limits["r"] = min(of_tiles, EXAMPLES if batched and not is_kernel else max(1, math.isqrt(tiles)), tiles)
        limits["c"] = max(1, tiles // limits["r"])
    else:
        limits["x"] = min(sides["x"], 256) if len(sides) > 1 else most
        limits["y"] = max(1, most // max(1, limits["x"]))
        if len(sides) > 1 and min(sides.values()) > 96:
            limits["x"] = limits["y"] = math.isqrt(most)
    indices = [_even(n, limits[role]) for n, role in zip(shape, roles, strict=True)]
    if rows is not None:
        indices[0] = _preferring(np.asarray(rows, int), indices[0])
    parts = [
        f"{len(at)} of {n} on axis {axis}"
        for axis, (at, n) in enumerate(zip(indices, shape, strict=True))
        if len(at) < n
    ]
    return Sample(tuple(indices), roles, f"sampled: {', '.join(parts)}" if parts else "", draw)


def _roles(rank: int, batched: bool, is_kernel: bool) -> str:
    if is_kernel:
        return {0: "", 1: "x", 2: "yx", 3: "cyx", 4: "yxrc"}.get(rank, "-" * (rank - 4) + "yxrc")
    if batched:
        return {0: "", 1: "x", 2: "yx", 3: "ryx", 4: "ryxc"}.get(rank, "r" + "-" * (rank - 4) + "yxc")
    return {0: "", 1: "x", 2: "yx", 3: "yxc", 4: "ryxc"}.get(rank, "-" * (rank - 4) + "ryxc")


def _preferring(wanted: np.ndarray, others: np.ndarray) -> np.ndarray:
    """As many as `others`: those wanted, then some of the others."""
    wanted = np.unique(wanted)[: len(others)]
    rest = np.setdiff1d(others, wanted)
    return np.union1d(wanted, rest[_even(len(rest), len(others) - len(wanted))])


def _even(size: int, most: int) -> np.ndarray:
    """At most so many indices, evenly spaced."""
    if not size or not most:
        return np.arange(0)
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(int))
