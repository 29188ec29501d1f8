"""B: other shapes. Asking the reference, under eval_shape, tells which axes may change together.

An axis that arguments share, such as dense's inputs, changes in all of them at once. The groups of axes give a dozen
other shapes: every size 1, 2, 3, one more than it was, all different, and one more axis in front.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnnet.checking.checks.structure import mismatches
from fnnet.checking.cotangent import Trial
from fnnet.checking.errors import NotRun, RaisedError
from fnnet.checking.judgement import judge
from fnnet.checking.leaves import all_wide, are_finite, as_wide, described, widened
from fnnet.checking.session import Session
from fnnet.core.primitives import is_inexact

Axis = tuple[int, int]  # a leaf, and one of its axes
Group = tuple[Axis, ...]
MOST_TRIALS = 24
MOST_RESIZINGS = 14
NEAR = 1e-2  # relative; two functions that differ by more are not the same


@dataclass(frozen=True)
class Resizing:
    """Other shapes: a size for each group of axes, and which leaves get how many new axes in front."""

    sizes: tuple[tuple[Group, int], ...]
    leading: frozenset[int] = frozenset()
    depth: int = 1


def check(session: Session) -> None:
    """Judge the rule at all shapes that both the reference and the function itself take."""
    session.need_reference(compiled=True)
    findings, tried = session.findings, 0
    for resizing in resizings(session):
        if _was_judged(session, resized(session, resizing), resizing):
            tried += 1
        if len(findings.known_wrong) == len(session.subject.with_gradient) and findings.has_failed("B"):
            return
    if not tried:
        raise NotRun("the reference takes no other shapes than the example's")


def _was_judged(session: Session, leaves: list, resizing: Resizing) -> bool:
    """Whether these shapes could be judged."""
    findings, changed = session.findings, [i for i, leaf in enumerate(leaves) if leaf.shape != session.working[i].shape]
    where = described([session.subject.paths[i] for i in changed], [leaves[i] for i in changed])
    try:
        shapes = [out.shape for out in session.programs.out_shapes(leaves)]
    except RaisedError:
        return False
    if [out.shape for out in session.programs.reference_in[True].shape(widened(leaves))] != shapes:
        findings.note("B", f"left out {where}: the rule and the reference differ in shape there")
        return False
    bars = session.output_bars(leaves, "shapes", where)
    exact = all_wide(session.reference_program(widened(leaves), all_wide(bars))[0])
    if not are_finite(exact) or (resizing.leading and not _is_batch_axis(session, leaves, resizing, exact)):
        return False
    refused = [(one.path, one.text) for one in mismatches(session, leaves, bars)]
    if not refused:
        try:
            outs = all_wide(session.pull(leaves, bars)[0])
        except RaisedError as problem:
            refused = [("", f"raises {problem}")]
    if refused:
        _refused(session, resizing, refused, where)
        return True
    if not all(_is_near(value, right, NEAR) for value, right in zip(outs, exact, strict=True)):
        findings.note("B", f"left out {where}: the rule and the reference differ in value there")
        return False
    judge(session, Trial("B", leaves, bars, where))
    return True


def _is_near(value: np.ndarray, right: np.ndarray, relative: float) -> bool:
    return np.allclose(value, right, rtol=relative, atol=relative * np.abs(right).max(initial=0))


def _is_batch_axis(session: Session, leaves: list, resizing: Resizing, stacked: list) -> bool:
    """Whether the function of a stack is the stack of the function: else it takes no more axes in front."""
    lead = leaves[min(resizing.leading)].shape[: resizing.depth]
    values = []
    for index in np.ndindex(lead):
        one = [leaf[index] if i in resizing.leading else leaf for i, leaf in enumerate(leaves)]
        values.append(all_wide(session.programs.reference_in[True](widened(one))))
    for whole, *parts in zip(stacked, *values, strict=True):
        wanted = np.reshape(parts, (*lead, *parts[0].shape))
        if wanted.shape != whole.shape or not _is_near(wanted, whole, 1e-6):
            return False
    return True


def _refused(session: Session, resizing: Resizing, found: list[tuple[str, str]], where: str) -> None:
    """An error gives no wrong gradient, so it is a note, unless a fnnet.rule declares that it takes this shape."""
    owners, names = session.subject.owners, session.subject.names
    if resizing.leading and {names[owners[i]] for i in resizing.leading} == set(session.subject.batched):
        for path, text in found:
            session.findings.fail("B", text, argument=path, circumstance=where)
    else:
        session.findings.note("B", f"refuses {where}: {' '.join(found[0]).strip()}")


def resizings(session: Session) -> Iterator[Resizing]:
    """The other shapes to try, each accepted by the reference."""
    groups = list(axis_groups(session))
    plans = [[n for _ in groups] for n in (1, 2, 3)]
    plans.append([_size(session, g) + 1 for g in groups])
    plans.append([2 + i % 4 for i in range(len(groups))])
    plans.append([2 + (i + 2) % 5 for i in reversed(range(len(groups)))])
    for i in range(len(groups)):  # one axis alone is 1, the others stay
        plans.append([1 if i == j else 0 for j in range(len(groups))])
    for i in range(len(groups)):
        plans.append([_size(session, groups[i]) + 1 if i == j else 0 for j in range(len(groups))])
    seen, count = set(), 0
    for plan in plans:
        sizes: tuple[tuple[Group, int], ...] = ()
        for group, n in zip(groups, plan, strict=True):  # as much of the plan as the reference takes
            if n and n != _size(session, group) and _takes(session, Resizing((*sizes, (group, n)))):
                sizes = (*sizes, (group, n))
        if sizes and sizes not in seen:
            seen.add(sizes)
            yield Resizing(sizes)
            count += 1
        if count == MOST_RESIZINGS:
            break
    yield from itertools.islice((c for c in _leading(session) if _takes(session, c)), 2)


def axis_groups(session: Session) -> Iterator[Group]:
    """For each axis of each leaf, the smallest set of axes with it that the reference lets change together."""
    leaves = session.working
    arrays = [(i, leaf) for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray)]
    axes = [(i, a) for i, leaf in arrays for a in range(leaf.ndim) if leaf.shape[a]]
    grouped: set[Axis] = set()
    for axis in axes:
        if axis in grouped:
            continue
        n = leaves[axis[0]].shape[axis[1]]
        same = [other for other in axes if other != axis and leaves[other[0]].shape[other[1]] == n]
        sets = (s for size in range(len(same) + 1) for s in itertools.combinations(same, size))
        for others in itertools.islice(sets, MOST_TRIALS):
            group = (axis, *others)
            if any(_takes(session, Resizing(((group, m),))) for m in (n + 1, 2 * n)):
                if not any(g in grouped for g in others):
                    yield group
                grouped.update(group)
                break


def _leading(session: Session) -> Iterator[Resizing]:
    """One more axis in front: of one leaf, of all floating leaves, of the leaves with the first one's rank or batch."""
    leaves, subject = session.working, session.subject
    arrays = [i for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray)]
    with_gradient = list(subject.with_gradient)
    first = leaves[with_gradient[0]]
    batch = [i for i in arrays if leaves[i].ndim and first.ndim and leaves[i].shape[0] == first.shape[0]]
    batched = [i for i in arrays if subject.names[subject.owners[i]] in subject.batched]
    if batched:  # as a fnnet.rule says
        yield from (Resizing((), frozenset(batched), depth) for depth in (1, 2))
        return
    one_each = ([i] for i in with_gradient[1:])
    sets = [frozenset(s) for s in ([with_gradient[0]], batch, with_gradient, arrays, *one_each) if s]
    yield from (Resizing((), s) for s in dict.fromkeys(sets))


def resized(session: Session, resizing: Resizing) -> list:
    """The example's leaves in these shapes: its own values again, each shrunk a little, so that no two are the same."""
    leaves, rng = list(session.working), session.options.rng("resized", resizing)
    for group, n in resizing.sizes:
        old = _size(session, group)
        for i, axis in group:
            leaves[i] = np.take(leaves[i], np.arange(n) % leaves[i].shape[axis], axis)
        if n < old:  # integers that may point along this axis
            leaves = [_folded(leaf, old, n) for leaf in leaves]
    for i in resizing.leading:
        for n in range(resizing.depth):
            leaves[i] = np.stack([leaves[i]] * (2 + n))
    changed = {i for group, _ in resizing.sizes for i, _ in group} | resizing.leading
    return [_shrunk(leaf, rng) if i in changed and is_inexact(leaf) else leaf for i, leaf in enumerate(leaves)]


def _shrunk(leaf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(leaf), as_wide(leaf) * (1 - 0.3 * rng.random(leaf.shape)), leaf).astype(leaf.dtype)


def _folded(leaf: Any, old: int, n: int) -> Any:
    if not isinstance(leaf, np.ndarray) or leaf.dtype.kind not in "iu" or not leaf.size or leaf.max() >= old:
        return leaf
    return np.where(leaf >= n, leaf % n, leaf).astype(leaf.dtype)


def _size(session: Session, group: Sequence[Axis]) -> int:
    leaf, axis = group[0]
    return session.working[leaf].shape[axis]


def _takes(session: Session, resizing: Resizing) -> bool:
    leaves = widened(resized(session, resizing))
    try:
        outs = session.programs.reference_in[True].shape(leaves)
    except RaisedError:
        return False
    return bool(outs) and all(np.prod(o.shape) for o in outs)
