"""V: vmap. Each subset of the arguments mapped: grad of vmap, and vmap of grad, against a loop over the rule itself.

JAX batches a custom_vjp by batching its backward, and sums the cotangents of what is not mapped over the batch. It
leaves out that sum for a cotangent that depends on nothing mapped; and some versions count an output that the batch
shares once for each example. The first is an error of the rule, which is not linear then. The second is JAX's.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from fnnet.checking.entries import Entries
from fnnet.checking.errors import NotRun, RaisedError
from fnnet.checking.kinds import Remark
from fnnet.checking.leaves import all_wide, as_wide, jittered
from fnnet.checking.programs import Program, pull_of, value_of, vjp
from fnnet.checking.report import number
from fnnet.checking.session import Session
from fnnet.checking.subject import Subject
from fnnet.checking.tolerance import compared
from fnnet.core.jax_messages import is_shared_output_refused
from fnnet.core.primitives import is_inexact

EXAMPLES = 3
MOST_SUBSETS = 8
VMAP_OF_GRAD, GRAD_OF_VMAP = "vmap of grad", "grad of vmap"


@dataclass(frozen=True, eq=False)
class Mapped:
    """Some arguments mapped, at several examples.

    Args:
        axes: The mapped axis of each argument; None for one that is not mapped.
        leaves: The arguments, stacked along these axes.
        output_bars: The output cotangents, stacked.
        loop: The cotangents example by example, stacked.
        allowed: How far each may be off.
    """

    axes: tuple[int | None, ...]
    leaves: list
    output_bars: list[np.ndarray]
    loop: list[np.ndarray]
    allowed: list[float]

    def where(self, subject: Subject) -> str:
        """What is mapped, in words."""
        names = [name for name, axis in zip(subject.names, self.axes, strict=True) if axis is not None]
        return f"{', '.join(names)} mapped"


def check(session: Session) -> None:
    """Every subset of the arguments; beyond three arguments each one, all, and all but one."""
    subject = session.subject
    singles = [_example(session, k) for k in range(EXAMPLES)]
    output_bars = [session.output_bars(singles[0], "vmap", k) for k in range(EXAMPLES)]
    each = [all_wide(session.pull(a, g)[1]) for a, g in zip(singles, output_bars, strict=True)]
    allowed = [session.own_expected(a, g).bar_allowed for a, g in zip(singles, output_bars, strict=True)]
    wanted = subject.names if session.options.mapped is None else session.options.mapped
    arguments = [n for n in range(len(subject.names)) if n in subject.owners and subject.names[n] in wanted]
    if not arguments:
        raise NotRun("no argument may be mapped")
    for count, subset in enumerate(_subsets(arguments)):
        axes = tuple(-((count + n) % 2) if n in subset else None for n in range(len(subject.names)))
        # An argument that is not mapped is the same in every example.
        of_each = [
            [s[i] if owner in subset else singles[0][i] for i, owner in enumerate(subject.owners)] for s in singles
        ]
        leaves = [
            np.stack([one[i] for one in of_each], axes[owner] or 0) if owner in subset else singles[0][i]
            for i, owner in enumerate(subject.owners)
        ]
        loop = each
        if len(subset) < len(set(subject.owners)):
            loop = [all_wide(session.pull(a, g)[1]) for a, g in zip(of_each, output_bars, strict=True)]
        slack = [max(a) for a in zip(*allowed, strict=True)]
        _one_subset(session, Mapped(axes, leaves, _stacked(output_bars), _stacked(loop), slack))


def _stacked(lists: list[list]) -> list[np.ndarray]:
    return [np.stack(arrays) for arrays in zip(*lists, strict=True)]


def _subsets(arguments: Sequence[int]) -> Iterator[tuple[int, ...]]:
    every = [s for size in range(1, len(arguments) + 1) for s in itertools.combinations(arguments, size)]
    if len(every) <= MOST_SUBSETS:
        yield from every
        return
    yield from [s for s in every if len(s) in (1, len(arguments) - 1, len(arguments))][: 2 * MOST_SUBSETS]


def _example(session: Session, k: int) -> list:
    """The example, and others of its shapes: numbers shrunk a little, integers in another order."""
    if k == 0:
        return session.working
    near = jittered(session.working, session.options.rng("vmap", k), 0.3)
    return [
        np.roll(leaf.ravel(), k).reshape(leaf.shape)
        if isinstance(leaf, np.ndarray) and leaf.size and not is_inexact(leaf)
        else leaf
        for leaf in near
    ]


def _one_subset(session: Session, mapped: Mapped) -> None:
    subject, where = session.subject, mapped.where(session.subject)
    results = _results(session, mapped)
    by_example, batched = results.get(VMAP_OF_GRAD), results.get(GRAD_OF_VMAP)
    is_right_by_example = by_example is not None
    for k, path in enumerate(subject.gradient_paths):
        loop, allowed = mapped.loop[k], mapped.allowed[k]
        if by_example is not None:
            is_right_by_example &= _is_right(session, path, f"{VMAP_OF_GRAD}, {where}", by_example[k], loop, allowed)
        if batched is None:
            continue
        axis = mapped.axes[subject.owners[subject.with_gradient[k]]]
        theirs = np.asarray(loop.sum(0)) if axis is None else np.moveaxis(loop, 0, axis)
        entries = compared(batched[k], theirs, allowed * (EXAMPLES if axis is None else 1))
        if not entries.are_wrong:
            continue
        if axis is None and not subject.own_batching and is_right_by_example:
            _batched_by_jax(session, k, f"{GRAD_OF_VMAP}, {where}", entries)
        else:
            text = _instead_of_the_sum(batched[k], loop, entries.allowed)
            _is_right(session, path, f"{GRAD_OF_VMAP}, {where}", batched[k], theirs, entries.allowed, text)


def _results(session: Session, mapped: Mapped) -> dict[str, list[np.ndarray]]:
    """The cotangents of vmap of grad and of grad of vmap; a way that raises is missing."""
    subject = session.subject
    batch, pull = jax.vmap(subject.function, mapped.axes), pull_of(subject, subject.function)

    def grad_of_vmap(leaves: list, bars: list) -> list:
        _, pulled = vjp(subject, batch, leaves)
        return list(pulled(bars))

    leaf_axes = [mapped.axes[owner] for owner in subject.owners]
    vmap_of_grad = jax.vmap(lambda leaves, bars: pull(leaves, bars)[1], in_axes=(leaf_axes, 0))
    results: dict[str, list[np.ndarray]] = {}
    for what, function in ((VMAP_OF_GRAD, vmap_of_grad), (GRAD_OF_VMAP, grad_of_vmap)):
        try:
            program = session.programs.once((what, mapped.axes), function, session.can.takes_doubles)
            results[what] = all_wide(program(mapped.leaves, mapped.output_bars))
        except RaisedError as problem:
            by_jax = not subject.own_batching and VMAP_OF_GRAD in results
            _raised(session, f"{what}, {mapped.where(subject)}", problem, mapped, may_be_jax=by_jax)
    return results


def _is_right(
    session: Session, path: str, where: str, ours: Any, theirs: Any, allowed: float, diagnosis: str = ""
) -> bool:
    if ours.shape != theirs.shape:
        text = f"has shape {ours.shape}, a loop gives {theirs.shape}"
        session.findings.fail("V", text, argument=path, circumstance=where)
        return False
    entries = compared(ours, theirs, allowed)
    if entries.are_wrong:
        text = diagnosis or "is not what a loop over the examples gives"
        session.findings.fail("V", text, argument=path, circumstance=where, entries=entries)
    return not entries.are_wrong


def _instead_of_the_sum(ours: np.ndarray, loop: np.ndarray, allowed: float) -> str:
    """What it is in place of the sum over the examples."""
    if ours.shape != loop.shape[1:]:
        return ""
    guesses = {
        "is the mean over the examples, not the sum": loop.mean(0),
        "is the first example's, not the sum over the examples": loop[0],
        "is the last example's, not the sum over the examples": loop[-1],
        f"is the sum over the examples times their number, {len(loop)}": len(loop) * loop.sum(0),
    }
    found = (text for text, guess in guesses.items() if not compared(ours, guess, allowed).are_wrong)
    return next(found, "is not the sum over a loop of the examples")


def _batched_by_jax(session: Session, k: int, where: str, entries: Entries) -> None:
    """The backward is right example by example, and its batching JAX's own: whose error is the missing or extra sum?"""
    leaves, path = session.working, session.subject.gradient_paths[k]
    zero = [0 * b for b in session.output_bars(leaves, "vmap", 0)]
    constant = as_wide(session.pull(leaves, zero)[1][k])
    if np.abs(constant).max(initial=0) > entries.allowed:
        text = (
            "is not summed over the examples: it has a part that depends on nothing that is mapped, and JAX does not "
            "sum that under vmap"
        )
        session.findings.fail("V", text, argument=path, circumstance=where, entries=entries)
        return
    text = (
        f"{where}: the cotangent of {path} is wrong ({number(entries.ours.flat[0])}, a loop gives "
        f"{number(entries.theirs.flat[0])}), though the backward is right example by example: jax {jax.__version__} "
        "counts the cotangent of an output that the batch shares once for each example. Not an error of the rule"
    )
    session.findings.note("V", text, Remark.JAX)


def _raised(session: Session, where: str, problem: RaisedError, mapped: Mapped, *, may_be_jax: bool) -> None:
    if may_be_jax and is_shared_output_refused(problem.problem):
        text = (
            f"{where}: jax {jax.__version__} refuses it, since an output is shared by the batch. Not an error of "
            "the rule: jax.custom_vjp.defvjp(..., generic_batching=True) takes it"
        )
        session.findings.note("V", text, Remark.JAX)
        return
    batch = value_of(session.subject, jax.vmap(session.subject.function, mapped.axes))
    try:
        Program(batch, session.can.takes_doubles).shape(mapped.leaves)
    except RaisedError:
        session.findings.note("V", f"{where}: the function itself refuses vmap: {problem}")
        return
    session.findings.fail("V", f"raises {problem}", circumstance=where)
