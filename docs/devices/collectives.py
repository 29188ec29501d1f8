"""The collective operations of a compiled program, as its HLO has them."""

import math
import re
from typing import NamedTuple

OPERATION = re.compile(
    r"= (\(.*?\)|\S+) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast)"
    r"(?:-start)?\("
)
ARRAY = re.compile(r"\b([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\]")


class Collective(NamedTuple):
    """One operation, and the shapes of its results; XLA makes one of several of a kind."""

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    bytes: int


def collectives_in(hlo: str) -> list[Collective]:
    """Every collective operation in the text of a compiled program, one in a loop once."""
    found = []
    for results, kind in OPERATION.findall(hlo):
        arrays = [(bits, tuple(map(int, filter(None, sizes.split(","))))) for _, bits, sizes in ARRAY.findall(results)]
        size = sum(max(int(bits or 8) // 8, 1) * math.prod(shape) for bits, shape in arrays)
        found.append(Collective(kind, tuple(shape for _, shape in arrays), size))
    return found
