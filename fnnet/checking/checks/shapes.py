"""B: other shapes. Which axes may change together is found by asking the reference, under eval_shape.

An axis that is shared between arguments, such as dense's inputs, changes in all of them at once. From the groups of
axes so found come a dozen configurations: every size 1, 2, 3, one more than it was, all different, and one more axis in
front.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnnet.checking.checks.structure import faults
from fnnet.checking.judgement import judge
from fnnet.checking.programs import RaisedError, as_wide, is_wide, widened
from fnnet.checking.report import Failure
from fnnet.checking.session import NotRun, Session, leaf_type
from fnnet.checking.subject import is_moving

Axis = tuple[int, int]  # a leaf, and one of its axes
Group = tuple[Axis, ...]
MOST_TRIALS = 24
MOST_CONFIGURATIONS = 14


@dataclass(frozen=True)
class Configuration:
    """A size for each group of axes, and which leaves get how many new axes in front."""

    sizes: tuple[tuple[Group, int], ...]
    leading: frozenset[int] = frozenset()
    depth: int = 1


def check(session: Session) -> None:
    """Judge the rule at each configuration that both the reference and the function itself take."""
    session.compiled_reference_pull  # noqa: B018 -- raises NotRun without one
    tried = 0
    for configuration in configurations(session):
        leaves = resized(session, configuration)
        if _at_shape(session, leaves, configuration):
            tried += 1
        if len(session.settled) == len(session.subject.places) and any(f.check == "B" for f in session.failures):
            return
    if not tried:
        raise NotRun("the reference takes no other shapes than the example's")


def _at_shape(session: Session, leaves: list, configuration: Configuration) -> bool:
    """Whether this configuration could be judged."""
    changed = [i for i, leaf in enumerate(leaves) if leaf.shape != session.working[i].shape]
    where = ", ".join(f"{session.subject.paths[i]} {leaf_type(leaves[i])}" for i in changed)
    try:
        shapes = session.programs.value[is_wide(leaves)].shape(leaves)
    except RaisedError:
        return False
    theirs = session.programs.reference_in[True].shape(widened(leaves))
    if [s.shape for s in theirs] != [s.shape for s in shapes]:
        session.notes.append(f"B: left out {where}: the rule and the reference differ in shape there")
        return False
    bars = session.output_bars(leaves, "shapes", where)
    exact, _ = session.reference_pull(widened(leaves), [as_wide(b) for b in bars])
    if not all(np.isfinite(as_wide(e)).all() for e in exact):
        return False
    if configuration.leading and not _is_batch_axis(session, leaves, configuration, exact):
        return False
    found = faults(session.subject, leaves, bars)
    if not found:
        try:
            outs, _ = session.pull(leaves, bars)
        except RaisedError as problem:
            found = [("", f"raises {problem}")]
    if found:
        _refused(session, configuration, found, where)
        return True
    for value, right in zip(outs, exact, strict=True):
        if not np.allclose(as_wide(value), as_wide(right), rtol=1e-2, atol=1e-2 * np.abs(right).max(initial=0)):
            session.notes.append(f"B: left out {where}: the rule and the reference differ in value there")
            return False
    judge(session, "B", leaves, bars, where)
    return True


def _is_batch_axis(session: Session, leaves: list, configuration: Configuration, stacked: list) -> bool:
    """Whether the function of a stack is the stack of the function: else it takes no more axes in front."""
    lead = leaves[min(configuration.leading)].shape[: configuration.depth]
    values = []
    for index in np.ndindex(lead):
        one = [leaf[index] if i in configuration.leading else leaf for i, leaf in enumerate(leaves)]
        values.append([as_wide(v) for v in session.programs.reference_in[True](widened(one))])
    for whole, *parts in zip(stacked, *values, strict=True):
        wanted = np.reshape(parts, (*lead, *parts[0].shape))
        if wanted.shape != whole.shape or not np.allclose(
            wanted, whole, rtol=1e-6, atol=1e-6 * np.abs(wanted).max(initial=0)
        ):
            return False
    return True


def _refused(session: Session, configuration: Configuration, found: list[tuple[str, str]], where: str) -> None:
    """What the rule refuses aloud gives nobody a wrong gradient: a note, unless it is what a fnnet.rule promises."""
    owners, names = session.subject.owners, session.subject.names
    if configuration.leading and {names[owners[i]] for i in configuration.leading} == set(session.subject.batched):
        session.failures += [Failure("B", path, where, text) for path, text in found]
    else:
        session.notes.append(f"B: refuses {where}: {' '.join(found[0]).strip()}")


def configurations(session: Session) -> Iterator[Configuration]:
    """The configurations to try, each accepted by the reference."""
    groups = list(axis_groups(session))
    plans = [[n for _ in groups] for n in (1, 2, 3)]
    plans.append([_size(session, g) + 1 for g in groups])
    plans.append([2 + i % 4 for i in range(len(groups))])
    plans.append([2 + (i + 2) % 5 for i in reversed(range(len(groups)))])
    for i in range(len(groups)):  # one axis alone: 1, where the others stay
        plans.append([1 if i == j else 0 for j in range(len(groups))])
    for i in range(len(groups)):
        plans.append([_size(session, groups[i]) + 1 if i == j else 0 for j in range(len(groups))])
    seen, count = set(), 0
    for plan in plans:
        sizes: tuple[tuple[Group, int], ...] = ()
        for group, n in zip(groups, plan, strict=True):  # as much of the plan as the reference takes
            if n and n != _size(session, group) and _takes(session, Configuration((*sizes, (group, n)))):
                sizes = (*sizes, (group, n))
        if sizes and sizes not in seen:
            seen.add(sizes)
            yield Configuration(sizes)
            count += 1
        if count == MOST_CONFIGURATIONS:
            break
    yield from itertools.islice((c for c in _leading(session) if _takes(session, c)), 2)


def axis_groups(session: Session) -> Iterator[Group]:
    """For each axis of each leaf, the smallest set of axes with it that the reference lets change together."""
    leaves = session.working
    axes = [
        (i, a)
        for i, leaf in enumerate(leaves)
        if isinstance(leaf, np.ndarray)
        for a in range(leaf.ndim)
        if leaf.shape[a]
    ]
    grouped: set[Axis] = set()
    for axis in axes:
        if axis in grouped:
            continue
        n = leaves[axis[0]].shape[axis[1]]
        same = [other for other in axes if other != axis and leaves[other[0]].shape[other[1]] == n]
        sets = (s for size in range(len(same) + 1) for s in itertools.combinations(same, size))
        for others in itertools.islice(sets, MOST_TRIALS):
            group = (axis, *others)
            if any(_takes(session, Configuration(((group, m),))) for m in (n + 1, 2 * n)):
                if not any(g in grouped for g in others):
                    yield group
                grouped.update(group)
                break


def _leading(session: Session) -> Iterator[Configuration]:
    """One more axis in front: of one leaf, of all floating leaves, of the leaves with the first one's rank or batch."""
    leaves = session.working
    places = [i for i in range(len(leaves)) if isinstance(leaves[i], np.ndarray)]
    moving = list(session.subject.places)
    first = leaves[moving[0]]
    batch = [i for i in places if leaves[i].ndim and first.ndim and leaves[i].shape[0] == first.shape[0]]
    batched = [i for i in places if session.subject.names[session.subject.owners[i]] in session.subject.batched]
    if batched:  # as a fnnet.rule says
        yield from (Configuration((), frozenset(batched), depth) for depth in (1, 2))
        return
    sets = [frozenset(s) for s in ([moving[0]], batch, moving, places, *([m] for m in moving[1:])) if s]
    yield from (Configuration((), s) for s in dict.fromkeys(sets))


def resized(session: Session, configuration: Configuration) -> list:
    """The example's leaves in these shapes: its own values again, each shrunk a little, so that no two are the same."""
    leaves, rng = list(session.working), session.rng("resized", configuration)
    for group, n in configuration.sizes:
        old = _size(session, group)
        for i, axis in group:
            leaves[i] = np.take(leaves[i], np.arange(n) % leaves[i].shape[axis], axis)
        if n < old:  # integers that may point along this axis
            leaves = [_folded(leaf, old, n) for leaf in leaves]
    for i in configuration.leading:
        for n in range(configuration.depth):
            leaves[i] = np.stack([leaves[i]] * (2 + n))
    changed = {i for group, _ in configuration.sizes for i, _ in group} | configuration.leading
    return [_shrunk(leaf, rng) if i in changed and is_moving(leaf) else leaf for i, leaf in enumerate(leaves)]


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


def _takes(session: Session, configuration: Configuration) -> bool:
    leaves = widened(resized(session, configuration))
    try:
        outs = session.programs.reference_in[True].shape(leaves)
    except RaisedError:
        return False
    return bool(outs) and all(np.prod(o.shape) for o in outs)
