"""Which entry of another library's parameters is which of a network's; what does not fit is listed, all of it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from fnnet.interop.pieces import Piece, flat, pieces_of
from fnnet.interop.slots import Slot, stacked_shapes
from fnnet.layers.answers import Layout, TheirNames

Shapes = Mapping[str, tuple[int, ...]]
Names = Mapping[str, str | Mapping[str, str]]


class Library(NamedTuple):
    """How a library names and shapes the parameters of a layer."""

    field: str  # of `Layout`, with the names of the entries
    separator: str  # between a module's name and its parameter's
    outputs_first: bool  # whether kernels are (outputs, inputs, *window), rather than split into heads
    ordered: bool  # whether modules come in the order of their definition

    def alternatives(self, layout: Layout) -> Sequence[TheirNames]:
        """The library's names of the entries; several where it has several modules for the layer."""
        names = getattr(layout, self.field) or ()
        return (names,) if isinstance(names, Mapping) else names

    def names(self, layout: Layout, module: str | Mapping[str, str] | None, given: Shapes) -> TheirNames:
        """Of the alternatives the one of which a module has most; the first if it has none."""

        def found(theirs: TheirNames) -> int:
            return 0 if module is None else sum(self.full(module, name) in given for name in flat(theirs))

        return max(self.alternatives(layout), key=found)

    def is_nested(self, layout: Layout) -> bool:
        """Whether its entries are in several modules, or in modules of a module."""
        return any(self.separator in name for theirs in self.alternatives(layout) for name in flat(theirs))

    def shape(self, layout: Layout, entry: str, own: tuple[int, ...]) -> tuple[int, ...]:
        """The library's shape of an entry."""
        if not self.outputs_first:
            if entry not in layout.split:
                return own
            axis, number = layout.split[entry]
            return (*own[:axis], number, own[axis] // number, *own[axis + 1 :])
        if not entry.endswith("kernel"):
            return own
        *window, inputs, outputs = own
        if layout.groups:
            return (inputs * layout.groups, outputs // layout.groups, *window)
        return (outputs, inputs, *window)

    def full(self, module: str | Mapping[str, str], name: str) -> str:
        """The whole name of a parameter of a module, or of one of its parts, which may be given; "" if it is not."""
        if isinstance(module, str):
            return self.separator.join([module, name] if module else [name])
        part, _, last = name.rpartition(self.separator)
        return f"{module[part]}{self.separator}{last}" if part in module else ""


class Problems:
    """What does not fit, gathered before anything is made."""

    def __init__(self, function: str, argument: str):
        """None yet, in an argument of a function."""
        self.function, self.argument = function, argument
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.reshaped: list[str] = []

    def raise_if_any(self) -> None:
        """Raises ValueError that lists them all."""
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.reshaped}
        lines = [f"  {kind}: {line}" for kind, found in kinds.items() for line in found]
        if lines:
            raise ValueError("\n".join([f"{self.function}: {self.argument} must fit the network; it has", *lines]))


def matched(
    function: str, argument: str, library: Library, slots: list[Slot], given: Shapes, names: Names | None
) -> list[Piece]:
    """Each piece of the network's entries, with the given entry that holds it.

    Without `names`, layers whose modules look alike are taken in their order. Raises ValueError that lists whatever
    does not fit.
    """
    problems = Problems(function, argument)
    for slot in slots:
        if not library.alternatives(slot.layout):
            raise TypeError(f"{function}: {slot.path} has no layout in {library.field}, where its entries are others")
    if names is None:
        names = _in_order(function, library, slots, given)
    else:
        _check_names(function, slots, names)
    found: list[Piece] = []
    for slot in slots:
        module = names.get(slot.path)
        for piece in pieces_of(slot, library.names(slot.layout, module, given)):
            shape = library.shape(slot.layout, piece.entry, piece.whole)
            name = "" if module is None else library.full(module, piece.name)
            if name not in given:
                said = "" if module is None else f" in {module!r}"
                problems.missing.append(f"{slot.path}/{piece.entry}, of shape {shape}{said}")
                continue
            found.append(piece._replace(name=name))
            if given[name] != shape:
                problems.reshaped.append(
                    f"{name} {given[name]}, for {slot.path}/{piece.entry}, must have shape {shape}"
                )
    taken = {piece.name for piece in found}
    problems.unexpected += [f"{name} {shape}" for name, shape in given.items() if name not in taken]
    problems.raise_if_any()
    return found


def held(function: str, slots: list[Slot], params: Any) -> dict[tuple[str, str], Any]:
    """The network's own parameters by (path, entry), all there and of the right shapes."""
    leaves = jax.tree.leaves_with_path(params)
    given = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    wanted = stacked_shapes(slots)
    problems = Problems(function, "params")
    problems.missing += [f"{name}, of shape {shape}" for name, shape in wanted.items() if name not in given]
    problems.unexpected += [f"{name} {leaf.shape}" for name, leaf in given.items() if name not in wanted]
    problems.reshaped += [
        f"{name} {given[name].shape} must have shape {shape}"
        for name, shape in wanted.items()
        if name in given and given[name].shape != shape
    ]
    problems.raise_if_any()
    return {
        (slot.path, entry): given[slot.name(entry)][slot.repetition or ...] for slot in slots for entry in slot.shapes
    }


def _in_order(function: str, library: Library, slots: list[Slot], given: Shapes) -> Names:
    """The layers of each kind with the modules of that kind, in the order of both.

    A module of a kind is recognised by the name of the first entry that such a layer has. A convolution and a
    transposed one are of one kind: their modules have the same names and ranks. Layers that are modules of modules
    there, as attention is, come first: what is in them is no module for another layer. Norms without a scale come last:
    many other modules have a bias, too.
    """
    names: dict[str, str] = {}
    kinds: dict[tuple[bool, bool, tuple[str, ...], tuple[int, ...]], list[Slot]] = {}
    for slot in slots:
        layout, alternatives = slot.layout, library.alternatives(slot.layout)
        firsts = tuple(dict.fromkeys(flat(_of_entries(slot, theirs))[0] for theirs in alternatives))
        lacks_first = firsts[0] != flat(alternatives[0])[0]
        kinds.setdefault((not library.is_nested(layout), lacks_first, firsts, layout.ranks), []).append(slot)
    taken: set[str] = set()
    for (*_, firsts, ranks), own in sorted(kinds.items(), key=lambda kind: kind[0][:2]):
        theirs = [
            full.removesuffix(first).removesuffix(library.separator)
            for full, shape in given.items()
            for first in firsts
            if full == first or full.endswith(library.separator + first)
            if full not in taken and len(shape) in ranks
        ]
        if not library.ordered:
            theirs = _numbered(function, theirs)
        for slot, module in zip(own, theirs, strict=False):
            names[slot.path] = module
            pieces = pieces_of(slot, library.names(slot.layout, module, given))
            taken |= {library.full(module, piece.name) for piece in pieces}
    return names


def _of_entries(slot: Slot, theirs: TheirNames) -> TheirNames:
    """The library's names of the entries that the layer has."""
    return {entry: theirs.get(entry, entry) for entry in slot.shapes}


def _numbered(function: str, modules: list[str]) -> list[str]:
    """The modules in the order of the numbers in their names, which must not differ in anything else."""
    if len({re.sub("[0-9]+", "0", name) for name in modules}) > 1:
        raise ValueError(
            f"{function}: the names {', '.join(map(repr, modules))} do not tell the order of their layers; the "
            "argument names must say which layer each is"
        )
    return sorted(modules, key=lambda name: [int(number) for number in re.findall("[0-9]+", name)])


def _check_names(function: str, slots: list[Slot], names: Names) -> None:
    paths = [slot.path for slot in slots]
    modules = [part for name in names.values() for part in ([name] if isinstance(name, str) else name.values())]
    if set(names) != set(paths) or len(set(modules)) != len(modules):
        raise ValueError(
            f"{function}: names (={dict(names)!r}) must have a module of its own for each of {', '.join(paths)}"
        )
