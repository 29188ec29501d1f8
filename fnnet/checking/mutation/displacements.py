"""Edits of operations that move entries: transposes, flips, offsets, scatters, matrix products, convolutions."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import jax.numpy as jnp
from jax import lax

from fnnet.checking.mutation.edits import Edit, Editors, editor
from fnnet.core.jaxprs import Operation

DISPLACEMENTS: Editors = defaultdict(list)


@editor(DISPLACEMENTS, "transpose")
def _transpose(op: Operation) -> Iterator[Edit]:
    before, after = op.in_avals[0].shape, op.out_avals[0].shape
    permutation = op.params["permutation"]
    moved = [a for a in permutation if before[a] > 1]
    unseen = f"it only moves axes of one entry of {before}" if moved == sorted(moved) else ""
    yield Edit("made a reshape", lambda x: [x.reshape(after)], unseen)
    for i, j in _equal_pairs(after, range(len(after))):
        exchanged = list(permutation)
        exchanged[i], exchanged[j] = exchanged[j], exchanged[i]
        if exchanged != sorted(exchanged):  # that would be the reshape
            yield Edit(f"axes {i} and {j} of the result exchanged", lambda x, p=tuple(exchanged): [lax.transpose(x, p)])


def _equal_pairs(shape: tuple[int, ...], axes: Iterable[int]) -> Iterator[tuple[int, int]]:
    return ((i, j) for i, j in itertools.combinations(axes, 2) if shape[i] == shape[j] > 1)


@editor(DISPLACEMENTS, "rev")
def _flip(op: Operation) -> Iterator[Edit]:
    axes, shape = op.params["dimensions"], op.in_avals[0].shape
    unseen = f"axes {tuple(axes)} of {shape} have one entry"
    yield Edit("dropped", lambda x: [x], unseen if all(shape[a] == 1 for a in axes) else "")
    for a in axes if len(axes) > 1 else ():
        others = tuple(other for other in axes if other != a)
        yield Edit(f"axis {a} left out", lambda x, o=others: [lax.rev(x, o)], unseen if shape[a] == 1 else "")


@editor(DISPLACEMENTS, "broadcast_in_dim")
def _along_another_axis(op: Operation) -> Iterator[Edit]:
    axes, shape = op.params["broadcast_dimensions"], op.out_avals[0].shape
    for position, a in enumerate(axes):
        for other in range(len(shape)):
            moved = (*axes[:position], other, *axes[position + 1 :])
            fits = shape[other] == shape[a] == op.in_avals[0].shape[position] > 1
            if other != a and fits and all(i < j for i, j in itertools.pairwise(moved)):
                yield Edit(f"along axis {other} for {a}", lambda x, m=moved: [lax.broadcast_in_dim(x, shape, m)])


@editor(DISPLACEMENTS, "scatter-add")
def _overwriting(op: Operation) -> Iterator[Edit]:
    params = op.params
    same = {name: params[name] for name in ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")}
    yield Edit("made scatter, without add", lambda x, indices, updates: [lax.scatter(x, indices, updates, **same)])


@editor(DISPLACEMENTS, "pad")
def _pad(op: Operation) -> Iterator[Edit]:
    config = op.params["padding_config"]
    for axis, (lo, hi, between) in enumerate(config):
        if lo or hi:
            shifted = (*config[:axis], (lo + 1, hi - 1, between), *config[axis + 1 :])
            yield Edit(f"shifted by one on axis {axis}", op.with_params(padding_config=shifted))


@editor(DISPLACEMENTS, "slice")
def _slice(op: Operation) -> Iterator[Edit]:
    start, limit = op.params["start_indices"], op.params["limit_indices"]
    for axis, size in enumerate(op.in_avals[0].shape):
        step = 1 if limit[axis] < size else -1 if start[axis] > 0 else 0
        if step:
            moved = {
                name: tuple(n + step * (a == axis) for a, n in enumerate(ends))
                for name, ends in (("start_indices", start), ("limit_indices", limit))
            }
            yield Edit(f"moved by one on axis {axis}", op.with_params(**moved))


@editor(DISPLACEMENTS, "dot_general")
def _dot_general(op: Operation) -> Iterator[Edit]:
    contracted, batched = op.params["dimension_numbers"]
    for side, name in enumerate(("first", "second")):
        shape = op.in_avals[side].shape
        free = [a for a in range(len(shape)) if a not in contracted[side] and a not in batched[side]]
        for position, c in enumerate(contracted[side]):
            for f in free:
                if shape[f] == shape[c] > 1:
                    transposed = (*contracted[side][:position], f, *contracted[side][position + 1 :])
                    both = (transposed, contracted[1]) if side == 0 else (contracted[0], transposed)
                    run = op.with_params(dimension_numbers=(both, batched))
                    yield Edit(f"{name} operand transposed, axis {f} for {c}", run)


@editor(DISPLACEMENTS, "conv_general_dilated")
def _conv(op: Operation) -> Iterator[Edit]:
    params, kernel = op.params, op.in_avals[1]
    axes = tuple(params["dimension_numbers"].rhs_spec[2:])
    unseen = f"the kernel has one tap, {kernel.shape}" if all(kernel.shape[a] == 1 for a in axes) else ""
    yield Edit("kernel flipped", lambda x, w: op.run(x, lax.rev(w, axes)), unseen)
    for i, j in _equal_pairs(kernel.shape, axes):
        name = f"spatial axes {axes.index(i)} and {axes.index(j)} of the kernel exchanged"
        yield Edit(name, lambda x, w, i=i, j=j: op.run(x, jnp.swapaxes(w, i, j)))
    padding, spread = params["padding"], any(d > 1 for d in params["lhs_dilation"])
    for axis, (lo, hi) in enumerate(padding):
        # XLA's compiler aborts on some negative paddings of a dilated image: choose a shift without any.
        step = 1 if hi > 0 or not spread else -1 if lo > 0 else 0
        if step:
            shifted = (*padding[:axis], (lo + step, hi - step), *padding[axis + 1 :])
            yield Edit(f"padding shifted by one on axis {axis}", op.with_params(padding=shifted))
    for one, other in itertools.combinations(("window_strides", "lhs_dilation", "rhs_dilation"), 2):
        if params[one] != params[other]:
            changed = {**params, one: params[other], other: params[one]}
            fitted = _padding_for(op, changed)
            if fitted is not None:
                yield Edit(f"{one} and {other} exchanged", op.with_params(**{**changed, "padding": fitted}))


def _padding_for(op: Operation, params: dict[str, Any]) -> tuple | None:
    """The padding, changed at its end, with which the output keeps its shape; None if XLA might not take it."""
    numbers, (image, kernel) = params["dimension_numbers"], op.in_avals
    padding = []
    for axis, (lo, _) in enumerate(params["padding"]):
        n, k = image.shape[numbers.lhs_spec[axis + 2]], kernel.shape[numbers.rhs_spec[axis + 2]]
        o = op.out_avals[0].shape[numbers.out_spec[axis + 2]]
        s, d, between = (params[name][axis] for name in ("window_strides", "rhs_dilation", "lhs_dilation"))
        padding.append((lo, (o - 1) * s + d * (k - 1) + 1 - ((n - 1) * between + 1) - lo))
    spread = any(d > 1 for d in params["lhs_dilation"])
    return None if spread and min(min(ends) for ends in padding) < 0 else tuple(padding)
