"""One gradient computed three ways, and how far the three lie apart; the line that a system reports."""

import argparse
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np


class Outcome(NamedTuple):
    """What a system shows.

    Args:
        system: Its name.
        source: Where it is described.
        difference: The largest between the three gradients, in double precision.
        result: What came of it.
    """

    system: str
    source: str
    difference: float
    result: str


Params = list[tuple[np.ndarray, np.ndarray]]  # kernel (inputs, outputs) and bias of each layer


def drawn(rng: np.random.Generator, sizes: Iterable[tuple[int, int]]) -> Params:
    """Normal numbers."""
    return [(rng.normal(size=size), rng.normal(size=size[1])) for size in sizes]


def transposed(layers: Iterable[tuple[np.ndarray, np.ndarray]]) -> Params:
    """The sources' weights lead from column to row; fnnet's kernels from row to column."""
    return [(weights.T, bias) for weights, bias in layers]


def mean(cost: Callable) -> Callable:
    """The mean over the examples, of cost(params, x, y) of one."""
    return lambda params, xs, ys: jax.vmap(cost, (None, 0, 0))(params, xs, ys).mean()


def gradients_of(loops: Any, rule: Callable, plain: Callable, *args: Any) -> dict[str, Any]:
    """The gradient by the loops, by fnnet's rules and by autodiff of the plain form, in double precision."""
    with jax.enable_x64(True):
        return {"loops": loops, "rule": jax.jit(jax.grad(rule))(*args), "jax.grad": jax.jit(jax.grad(plain))(*args)}


def largest_difference(gradients: Mapping[str, Any]) -> float:
    """The largest |a - b| / (|b| + rms of b's leaf), over all pairs of the gradients and all their entries."""
    worst = 0.0
    for ours, theirs in itertools.permutations(gradients.values(), 2):
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            a, b = np.asarray(a), np.asarray(b)
            if a.shape != b.shape or a.dtype != np.float64 or b.dtype != np.float64:
                raise ValueError(
                    f"largest_difference: {a.shape} {a.dtype} and {b.shape} {b.dtype} must be equal, float64"
                )
            scale = np.abs(b) + np.sqrt(np.mean(np.square(b)))
            worst = max(worst, float(np.max(np.abs(a - b) / np.where(scale > 0, scale, 1))))
    return worst


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Columns of text."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def outcomes(found: Iterable[Outcome]) -> str:
    """The table of several systems."""
    head = ("system", "source", "largest difference", "result")
    return table(head, [(o.system, o.source, f"{o.difference:.1e}", o.result) for o in found])


def main(run: Callable[..., Outcome], description: str, **settings: int | float | str | None) -> None:
    """The command line of one system: each of its settings is an option; `run` gets them, and prints what it finds."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="PNG file to draw")
    for name, default in settings.items():
        kind = str if default is None else type(default)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"default {default}")
    print(outcomes([run(**vars(parser.parse_args()))]))
