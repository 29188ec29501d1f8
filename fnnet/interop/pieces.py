"""Entries that are several in another library, or are a part of one there: gates apart, projections packed into one.

Both sides are cut along the last axis, that of the outputs, and here always with the axes in the network's order.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnnet.core.paths import nested_dictionary
from fnnet.interop.slots import Slot
from fnnet.layers.answers import TheirNames


class Piece(NamedTuple):
    """What an entry of a layer and an entry of a library's module have in common."""

    slot: Slot
    entry: str
    columns: slice  # of the layer's entry
    name: str
    theirs: slice  # the columns of the library's
    whole: tuple[int, ...]  # the shape of the library's


def flat(theirs: TheirNames) -> list[str]:
    """All names in their order; by the first a module of the kind is known."""
    return [name for names in theirs.values() for name in ((names,) if isinstance(names, str) else names)]


def pieces_of(slot: Slot, theirs: TheirNames) -> list[Piece]:
    """The pieces of a layer, in the order of its entries; the name is that inside the module."""
    found: list[Piece] = []
    widths: dict[str, int] = {}
    for entry, shape in slot.shapes.items():
        named = theirs.get(entry, entry)  # under its own name one that the library does not have will be missing
        names = (named,) if isinstance(named, str) else named
        width = shape[-1] // len(names) if shape else 1
        for number, name in enumerate(names):
            start = widths.get(name, 0)
            widths[name] = start + width
            columns = slice(number * width, (number + 1) * width)
            found.append(Piece(slot, entry, columns, name, slice(start, widths[name]), shape))
    return [piece._replace(whole=(*piece.whole[:-1], widths[piece.name])[: len(piece.whole)]) for piece in found]


def assembled(pieces: Iterable[Piece], read: Callable[[Piece], Any]) -> dict[str, Any]:
    """The network's parameters, from read(piece), a jax.Array of the library's whole entry."""
    entries: dict[str, dict[tuple[int, ...], list]] = {}
    for piece in pieces:
        repetitions = entries.setdefault(piece.slot.name(piece.entry), {})
        repetitions.setdefault(piece.slot.repetition, []).append(_cut(read(piece), piece.theirs))

    def whole(repetitions: Mapping[tuple[int, ...], list]) -> Any:
        arrays = list(map(_joined, repetitions.values()))
        *_, last = repetitions
        return jnp.stack(arrays).reshape(*(n + 1 for n in last), *arrays[0].shape) if last else arrays[0]

    return nested_dictionary((name, whole(repetitions)) for name, repetitions in entries.items())


def spread(pieces: Iterable[Piece], own: Mapping[tuple[str, str], Any]) -> dict[str, tuple[Piece, Any]]:
    """For each of the library's entries one of its pieces, and the whole entry."""
    parts: dict[str, list[tuple[Piece, Any]]] = {}
    for piece in pieces:
        part = _cut(own[piece.slot.path, piece.entry], piece.columns)
        parts.setdefault(piece.name, []).append((piece, part))
    return {name: (found[0][0], _joined([part for _, part in found])) for name, found in parts.items()}


def _cut(array: Any, columns: slice) -> Any:
    return array[..., columns] if array.ndim else array


def _joined(arrays: list) -> Any:
    if len(arrays) == 1:
        return arrays[0]
    return (np if isinstance(arrays[0], np.ndarray) else jnp).concatenate(arrays, -1)
