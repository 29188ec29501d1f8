"""Which entry of another library's parameters is which of a network's; what does not fit is listed, all of it."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from fnnet.interop.slots import Slot
from fnnet.layers.answers import Layout

Shapes = Mapping[str, tuple[int, ...]]
Names = Mapping[str, str]


class Library(NamedTuple):
    """How a library names and shapes the parameters of a layer."""

    field: str  # of `Layout`, with the names of the entries
    separator: str  # between a module's name and its parameter's
    outputs_first: bool  # whether kernels are (outputs, inputs, *window)
    ordered: bool  # whether modules come in the order of their definition

    def names(self, layout: Layout) -> Mapping[str, str]:
        """The library's name of each entry; none where it keeps the layer in another way."""
        return getattr(layout, self.field) or {}

    def shape(self, layout: Layout, entry: str, own: tuple[int, ...]) -> tuple[int, ...]:
        """The library's shape of an entry."""
        if not self.outputs_first or not entry.endswith("kernel"):
            return own
        *window, inputs, outputs = own
        if layout.groups:
            return (inputs * layout.groups, outputs // layout.groups, *window)
        return (outputs, inputs, *window)


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
) -> dict[tuple[str, str], str]:
    """The name of the given entry for each (path, entry) of the network.

    Without `names`, layers whose modules look alike are taken in their order. Raises ValueError that lists whatever
    does not fit.
    """
    problems = Problems(function, argument)
    for slot in slots:
        if not library.names(slot.layout):
            raise TypeError(f"{function}: {slot.path} has no layout in {library.field}, where its entries are others")
    modules = _modules(library, given)
    if names is None:
        names = _in_order(function, library, slots, modules, given)
    else:
        _check_names(function, slots, names)
    found: dict[tuple[str, str], str] = {}
    for slot in slots:
        module = names.get(slot.path)
        for entry, own in slot.shapes.items():
            shape, theirs = library.shape(slot.layout, entry, own), library.names(slot.layout)[entry]
            if module is None or theirs not in modules.get(module, {}):
                said = "" if module is None else f" in {module!r}"
                problems.missing.append(f"{slot.path}/{entry}, of shape {shape}{said}")
                continue
            name = found[slot.path, entry] = modules[module][theirs]
            if given[name] != shape:
                problems.reshaped.append(f"{name} {given[name]}, for {slot.path}/{entry}, must have shape {shape}")
    taken = set(found.values())
    problems.unexpected += [f"{name} {shape}" for name, shape in given.items() if name not in taken]
    problems.raise_if_any()
    return found


def held(function: str, slots: list[Slot], params: Any) -> dict[tuple[str, str], Any]:
    """The network's own parameters by (path, entry), all there and of the right shapes."""
    leaves = jax.tree.leaves_with_path(params)
    given = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    wanted = {f"{slot.path}/{entry}": shape for slot in slots for entry, shape in slot.shapes.items()}
    problems = Problems(function, "params")
    problems.missing += [f"{name}, of shape {shape}" for name, shape in wanted.items() if name not in given]
    problems.unexpected += [f"{name} {leaf.shape}" for name, leaf in given.items() if name not in wanted]
    problems.reshaped += [
        f"{name} {given[name].shape} must have shape {shape}"
        for name, shape in wanted.items()
        if name in given and given[name].shape != shape
    ]
    problems.raise_if_any()
    return {(slot.path, entry): given[f"{slot.path}/{entry}"] for slot in slots for entry in slot.shapes}


def _modules(library: Library, given: Shapes) -> dict[str, dict[str, str]]:
    """For each module the full names of its entries by their last part."""
    modules: dict[str, dict[str, str]] = {}
    for name in given:
        module, _, last = name.rpartition(library.separator)
        modules.setdefault(module, {})[last] = name
    return modules


def _in_order(
    function: str, library: Library, slots: list[Slot], modules: dict[str, dict[str, str]], given: Shapes
) -> Names:
    """The layers of each kind with the modules of that kind, in the order of both.

    A convolution and a transposed one are of one kind: their modules have the same names and ranks.
    """
    names: dict[str, str] = {}
    kinds: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for slot in slots:
        kernel, *_ = library.names(slot.layout).values()
        kinds.setdefault((kernel, slot.layout.ranks), []).append(slot.path)
    for (kernel, ranks), own in kinds.items():
        theirs = [
            name for name, entries in modules.items() if kernel in entries and len(given[entries[kernel]]) in ranks
        ]
        if not library.ordered:
            theirs = _numbered(function, theirs)
        names.update(zip(own, theirs, strict=False))
    return names


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
    if set(names) != set(paths) or len(set(names.values())) != len(names):
        raise ValueError(
            f"{function}: names (={dict(names)!r}) must have a module of its own for each of {', '.join(paths)}"
        )
