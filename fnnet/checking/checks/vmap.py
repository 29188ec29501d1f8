"""V: vmap. Each subset of the arguments mapped: grad of vmap, and vmap of grad, against a loop over the rule itself.

JAX batches a custom_vjp by batching its backward, and sums over the batch the cotangents of what is not mapped. It
forgets that sum where a cotangent depends on nothing that is mapped; and on some versions it counts an output that the
batch shares once for each example. The first is an error of the rule, which is not linear then. The second is JAX's.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from fnnet.checking.programs import Program, RaisedError, as_wide, pull_of, vjp
from fnnet.checking.report import Failure, number
from fnnet.checking.session import NotRun, Session, jittered
from fnnet.checking.subject import is_moving, moving_leaves
from fnnet.checking.tolerance import wrong_entries
from fnnet.core.jax_messages import is_shared_output_refused

EXAMPLES = 3
MOST_SUBSETS = 8
Bars = list[np.ndarray]


def check(session: Session) -> None:
    """Every subset of the arguments; beyond three arguments each one, all, and all but one."""
    subject = session.subject
    singles = [_example(session, k) for k in range(EXAMPLES)]
    output_bars = [session.output_bars(singles[0], "vmap", k) for k in range(EXAMPLES)]
    each = [[as_wide(b) for b in session.pull(a, g)[1]] for a, g in zip(singles, output_bars, strict=True)]
    allowed = [session.own_expected(a, g).bar_allowed for a, g in zip(singles, output_bars, strict=True)]
    bars = [np.stack(b) for b in zip(*output_bars, strict=True)]
    names = [n for n in range(len(subject.names)) if n in subject.owners]
    if session.options.mapped is not None:
        unknown = set(session.options.mapped) - set(subject.names)
        if unknown:
            raise ValueError(f"check: mapped names {sorted(unknown)}, but the arguments are {', '.join(subject.names)}")
        names = [n for n in names if subject.names[n] in session.options.mapped]
    if not names:
        raise NotRun("no argument may be mapped")
    for count, subset in enumerate(_subsets(names)):
        axes = {n: -((count + n) % 2) if n in subset else None for n in range(len(subject.names))}
        leaves = [
            np.stack([s[i] for s in singles], axes[owner] or 0) if owner in subset else subject_leaf
            for i, (owner, subject_leaf) in enumerate(zip(subject.owners, singles[0], strict=True))
        ]
        # What is not mapped is the same in every example.
        these = [[s[i] if subject.owners[i] in subset else singles[0][i] for i in range(len(leaves))] for s in singles]
        loop, slack = each, allowed
        if len(subset) < len(set(subject.owners)):
            loop = [[as_wide(b) for b in session.pull(a, g)[1]] for a, g in zip(these, output_bars, strict=True)]
        _one_subset(session, subset, axes, leaves, bars, loop, slack)


def _subsets(names: Sequence[int]) -> Iterator[tuple[int, ...]]:
    every = [s for size in range(1, len(names) + 1) for s in itertools.combinations(names, size)]
    if len(every) <= MOST_SUBSETS:
        yield from every
        return
    yield from [s for s in every if len(s) in (1, len(names) - 1, len(names))][: 2 * MOST_SUBSETS]


def _example(session: Session, k: int) -> list:
    """The example, and others of its shapes: numbers shrunk a little, integers in another order."""
    if k == 0:
        return session.working
    near = jittered(session.working, session.rng("vmap", k), 0.3)
    return [leaf if is_moving(leaf) or not np.size(leaf) or not hasattr(leaf, "ravel") or isinstance(leaf, jax.Array)
            else np.roll(leaf.ravel(), k).reshape(leaf.shape) for leaf in near]  # fmt: skip


def _one_subset(
    session: Session, subset: tuple, axes: dict, leaves: list, bars: Bars, loop: list[Bars], allowed: list
) -> None:
    subject, wide = session.subject, session.takes_doubles
    in_axes = tuple(axes[n] for n in range(len(subject.names)))
    leaf_axes = [axes[owner] for owner in subject.owners]
    moving_axes = [leaf_axes[i] for i in subject.places]
    where = f"{', '.join(subject.names[n] for n in subset)} mapped"
    batch = jax.vmap(subject.function, in_axes)

    def grad_of_vmap(leaves: list, bars: list) -> list:
        _, pulled = vjp(subject, batch, leaves)
        return list(pulled(bars))

    pull = pull_of(subject, subject.function)
    vmap_of_grad = jax.vmap(lambda leaves, bars: pull(leaves, bars)[1], in_axes=(leaf_axes, 0))
    results: dict[str, Bars | None] = {}
    for what, function in (("vmap of grad", vmap_of_grad), ("grad of vmap", grad_of_vmap)):
        try:
            program = session.programs.once((what, in_axes), function, wide)
            results[what] = [as_wide(a) for a in program(leaves, bars)]
        except RaisedError as problem:
            results[what] = None
            _raised(
                session,
                f"{what}, {where}",
                problem,
                batch,
                leaves,
                refused_by_jax=results.get("vmap of grad") is not None,
            )
    stacked = [np.stack(b) for b in zip(*loop, strict=True)]
    slack = [max(a) for a in zip(*allowed, strict=True)]
    per_example_right = True
    for k, path in enumerate(subject.moving_paths()):
        if results["vmap of grad"] is not None:
            ours = results["vmap of grad"][k]
            per_example_right &= _compare(session, path, f"vmap of grad, {where}", ours, stacked[k], slack[k]) is None
        if results["grad of vmap"] is not None:
            axis = moving_axes[k]
            theirs = np.asarray(stacked[k].sum(0)) if axis is None else np.moveaxis(stacked[k], 0, axis)
            ours, slack_here = results["grad of vmap"][k], slack[k] * (EXAMPLES if axis is None else 1)
            wrong = wrong_entries(ours, theirs, slack_here)
            if not wrong.any():
                continue
            if axis is None and not subject.own_batching and per_example_right and results["vmap of grad"] is not None:
                _batched_by_jax(session, k, path, where, ours, theirs, slack_here)
            else:
                _compare(
                    session,
                    path,
                    f"grad of vmap, {where}",
                    ours,
                    theirs,
                    slack_here,
                    _sums(ours, stacked[k], slack_here),
                )


def _compare(
    session: Session, path: str, where: str, ours: Any, theirs: Any, allowed: float, diagnosis: str = ""
) -> Failure | None:
    if ours.shape != theirs.shape:
        failure = Failure("V", path, where, f"has shape {ours.shape}, a loop gives {theirs.shape}")
    else:
        wrong = wrong_entries(ours, theirs, allowed)
        if not wrong.any():
            return None
        text = diagnosis or "is not what a loop over the examples gives"
        failure = Failure.entrywise("V", path, where, text, ours, theirs, wrong, allowed)
    session.failures.append(failure)
    return failure


def _sums(ours: np.ndarray, stacked: np.ndarray, allowed: float) -> str:
    """What it is in place of the sum over the examples."""
    if ours.shape != stacked.shape[1:]:
        return ""
    guesses = {
        "is the mean over the examples, not the sum": stacked.mean(0),
        "is the first example's, not the sum over the examples": stacked[0],
        "is the last example's, not the sum over the examples": stacked[-1],
        f"is the sum over the examples times their number, {len(stacked)}": len(stacked) * stacked.sum(0),
    }
    for text, guess in guesses.items():
        if not wrong_entries(ours, guess, allowed).any():
            return text
    return "is not the sum over a loop of the examples"


def _batched_by_jax(session: Session, k: int, path: str, where: str, ours: Any, theirs: Any, allowed: float) -> None:
    """The backward is right example by example, and its batching JAX's own: whose error is the missing or extra sum?"""
    leaves = session.working
    zero = [0 * b for b in session.output_bars(leaves, "vmap", 0)]
    constant = as_wide(session.pull(leaves, zero)[1][k])
    if np.abs(constant).max(initial=0) > allowed:
        text = (
            "is not summed over the examples: it has a part that depends on nothing that is mapped, and JAX does not "
            "sum that under vmap"
        )
        _compare(session, path, f"grad of vmap, {where}", ours, theirs, allowed, text)
        return
    session.notes.append(
        f"V: grad of vmap, {where}: the cotangent of {path} is wrong ({number(ours.flat[0])}, a loop gives "
        f"{number(theirs.flat[0])}), though the backward is right example by example: jax {jax.__version__} counts the "
        "cotangent of an output that the batch shares once for each example. Not an error of the rule"
    )


def _raised(session: Session, where: str, problem: RaisedError, batch: Any, leaves: list, refused_by_jax: bool) -> None:
    said = str(problem)
    if not session.subject.own_batching and refused_by_jax and is_shared_output_refused(problem.problem):
        session.notes.append(
            f"V: {where}: jax {jax.__version__} refuses it, since an output is shared by the batch. Not an error of "
            "the rule: jax.custom_vjp.defvjp(..., generic_batching=True) takes it"
        )
        return
    try:
        Program(lambda leaves: moving_leaves(batch(*session.subject.merge(leaves))), session.takes_doubles).shape(
            leaves
        )
    except RaisedError:
        session.notes.append(f"V: {where}: the function itself refuses vmap: {said}")
        return
    session.failures.append(Failure("V", "", where, f"raises {said}"))
