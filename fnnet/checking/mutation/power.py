"""Power: whether these inputs could have shown an error at all.

A check that passes says little if it would also pass without a flip, as it does with a symmetric kernel. So the
backward is made wrong, one edit at a time, and the check runs again. The report names the edits that it does not see.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.checking.mutation.loops import deciding
from fnnet.checking.mutation.mutants import Mutation, mutations
from fnnet.core.jaxprs import FlatJaxpr, flat_jaxpr

Values = dict[int, Any]  # of a jaxpr


@dataclass(frozen=True)
class Survivor:
    """A mutant that passed, and the inputs that would have shown it."""

    mutant: str
    seen_with: str

    def __str__(self) -> str:
        """Both, in a line."""
        return f"{self.mutant}: {self.seen_with}"


@dataclass(frozen=True)
class PowerReport:
    """What became of the mutants.

    Args:
        killed: Mutants that the comparison rejects at some input.
        survived: Mutants that pass, though other inputs would show them: the weakness of these inputs.
        equivalent: Mutants that also agree at random inputs of these shapes: probably the same function.
        untried: How many mutants were left out, beyond `most`.
    """

    killed: tuple[str, ...]
    survived: tuple[Survivor, ...]
    equivalent: tuple[str, ...]
    untried: int

    @property
    def score(self) -> float:
        """Killed mutants over those that can be; 1 if there are none."""
        count = len(self.killed) + len(self.survived)
        return len(self.killed) / count if count else 1.0

    def __str__(self) -> str:
        """A summary, and a line for each survivor; those that differ only in the operation's number share one."""
        count = len(self.killed) + len(self.survived)
        lines = [f"these inputs show {len(self.killed)} of {count} errors put into the backward"]
        grouped = Counter(re.sub(r" #\d+", "", str(survivor)) for survivor in self.survived)
        for survivor, times in grouped.items():
            lines.append(f"  not seen{f', {times} times' if times > 1 else ''}: {survivor}")
        if self.equivalent:
            lines.append(f"  {len(self.equivalent)} more change nothing at random inputs of these shapes either")
        if self.untried:
            lines.append(f"  {self.untried} more were not tried")
        return "\n".join(lines)


def power(
    pull: Callable,
    inputs: Sequence[tuple],
    compare: Callable[[int, list], bool] | None = None,
    *,
    most: int = 400,
    seed: int = 0,
) -> PowerReport:
    """Which mutants of `pull` a comparison cannot tell from it at these inputs.

    Args:
        pull: The backward: pull(*args, output_bar) -> the cotangents. Arguments and cotangents are arrays or pytrees.
        inputs: What it is evaluated at: tuples of arguments, of the same shapes and dtypes each.
        compare: compare(n, cotangents) -> whether the check passes with these cotangents, a list of arrays, at
            inputs[n]; None and those of dtype float0 are left out. By default, whether they are those of `pull`.
        most: How many mutants are tried, evenly chosen if there are more.
        seed: The seed of other, random inputs: a mutant that they do not show either is probably no error.

    Raises:
        ValueError: There are no inputs; the comparison rejects `pull` itself.
    """
    if not inputs:
        raise ValueError("power: inputs is empty; it must hold at least one tuple of pull's arguments")

    def of_floats(*args: Any) -> list:
        return [bar for bar in jax.tree.leaves(pull(*args)) if jnp.result_type(bar) != jax.dtypes.float0]

    jaxpr = flat_jaxpr(of_floats, *inputs[0])
    values = [jaxpr.values(*args) for args in inputs]
    accepts = compare or (lambda n, outs: _alike(outs, jaxpr, values[n]))
    for n, v in enumerate(values):
        if not accepts(n, _outputs(jaxpr, v)):
            raise ValueError(f"power: compare rejects the cotangents of pull at inputs[{n}]; it must accept them")

    found = list(mutations(jaxpr))
    chosen = found if len(found) <= most else [found[i] for i in np.linspace(0, len(found) - 1, most).astype(int)]
    elsewhere = _elsewhere(jaxpr, inputs, values, seed)
    # If no input has an axis of one entry, the backward made that axis: no other shapes would make it longer.
    could_be_longer = any(1 in aval.shape for aval in jaxpr.in_avals)
    killed, survived, equivalent = [], [], []
    for mutation in chosen:
        name = str(mutation)
        if mutation.unseen and could_be_longer:
            survived.append(Survivor(name, f"other shapes could show it; here {mutation.unseen}"))
        elif mutation.unseen:
            equivalent.append(name)
        elif _is_seen(jaxpr, values, mutation, accepts):
            killed.append(name)
        else:
            seen_with = next((kind for kind, v in elsewhere() if _differs(jaxpr, v, mutation)), None)
            if seen_with is None:
                equivalent.append(name)
            else:
                survived.append(Survivor(name, f"{seen_with} would show it"))
    return PowerReport(tuple(killed), tuple(survived), tuple(equivalent), len(found) - len(chosen))


def _outputs(jaxpr: FlatJaxpr, values: Values) -> list:
    return [values[i] for i in jaxpr.outputs]


def _alike(outs: Sequence, jaxpr: FlatJaxpr, values: Values) -> bool:
    """Whether outputs are those of the jaxpr up to rounding, wherever these are finite.

    |a - b| <= tol (|b| + rms of b) + 16 eps max |inputs|: where terms cancel, their rounding stays.
    """
    inputs = [_wide(values[i]) for i, aval in enumerate(jaxpr.in_avals) if jnp.issubdtype(aval.dtype, np.inexact)]
    largest = max((np.abs(a[np.isfinite(a)]).max(initial=0.0) for a in inputs), default=0.0)
    for ours, theirs in zip(outs, _outputs(jaxpr, values), strict=True):
        eps = float(jnp.finfo(theirs.dtype).eps) if jnp.issubdtype(theirs.dtype, np.inexact) else 0.0
        a, b = _wide(ours), _wide(theirs)
        finite = np.isfinite(b)
        a, b = a[finite], b[finite]
        rms = np.sqrt(np.mean(np.abs(b) ** 2)) if b.size else 0.0
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= min(256 * eps, 0.05) * (np.abs(b) + rms) + 16 * eps * largest
        if not near.all():
            return False
    return True


def _wide(array: Any) -> np.ndarray:
    array = np.asarray(array)
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def _is_seen(
    jaxpr: FlatJaxpr, values: Sequence[Values], mutation: Mutation, accepts: Callable[[int, list], bool]
) -> bool:
    """Whether the mutant's cotangents are rejected somewhere, or XLA refuses to compute them."""
    try:
        outs = (jaxpr.rerun(v, mutation.number, mutation.run) for v in values)
        return any(bars is not None and not accepts(n, bars) for n, bars in enumerate(outs))
    except jax.errors.JaxRuntimeError:
        return True


def _differs(jaxpr: FlatJaxpr, values: Values, mutation: Mutation) -> bool:
    outs = jaxpr.rerun(values, mutation.number, mutation.run)
    return outs is not None and not _alike(outs, jaxpr, values)


# Inputs of other kinds, of the same shapes. Some may lie outside the function's domain, such as a negative variance:
# entries at which its result is not finite are not compared.

KINDS: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "other whole numbers": lambda rng, x: x,
    "Gaussian values": lambda rng, x: rng.normal(size=x.shape),
    "ties and zeros": lambda rng, x: rng.integers(-1, 2, size=x.shape),
    "values between 0 and 1": lambda rng, x: rng.uniform(size=x.shape),
    "values whose exp overflows": lambda rng, x: 2 * float(np.log(jnp.finfo(x.dtype).max)) * rng.normal(size=x.shape),
    "these values in another order": lambda rng, x: rng.permutation(x.ravel()).reshape(x.shape),
}

DRAWS = 6  # of each kind: one alone may have its ties where the cotangent is zero


def _elsewhere(jaxpr: FlatJaxpr, inputs: Sequence[tuple], values: list[Values], seed: int) -> Callable[[], Iterator]:
    """A generator function: what could show a mutant, and the jaxpr's values there, computed at the first request."""
    columns = list(zip(*(jax.tree.leaves(args) for args in inputs), strict=True))
    # Inputs that decide when a loop ends are left alone: with others it may never end.
    kept = deciding(jaxpr)

    @functools.cache
    def drawn(kind: str, draw: int) -> Values:
        rng = np.random.default_rng([seed, draw])
        leaves = [given[0] if i in kept else _drawn(rng, given, KINDS[kind]) for i, given in enumerate(columns)]
        return jaxpr.values(leaves)

    def generator() -> Iterator[tuple[str, Values]]:
        yield from (("a closer comparison", v) for v in values)
        yield from ((kind, drawn(kind, draw)) for kind in KINDS for draw in range(DRAWS))

    return generator


def _drawn(rng: np.random.Generator, given: Sequence, draw: Callable) -> Any:
    """A leaf in place of the given ones; whole numbers lie between those that were given."""
    dtype = jnp.result_type(given[0])
    if jax.dtypes.issubdtype(dtype, jax.dtypes.extended):
        return given[0]
    first = np.asarray(given[0]).astype(dtype)
    if jnp.issubdtype(dtype, np.complexfloating):
        return (draw(rng, first.real) + 1j * draw(rng, first.imag)).astype(dtype)
    if jnp.issubdtype(dtype, np.floating):
        return np.asarray(draw(rng, first)).astype(dtype)
    if not first.size:
        return first
    if jnp.issubdtype(dtype, np.bool_):
        return rng.integers(0, 2, size=first.shape).astype(dtype)
    low, high = min(np.min(g) for g in given), max(np.max(g) for g in given)
    return rng.integers(low, high, size=first.shape, endpoint=True).astype(dtype)
