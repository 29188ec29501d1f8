"""How many bytes each layer moves to and from memory in a training step.

Counted is the step that XLA compiles for a CPU out of what accelerators are given: plain convolutions, and max-poolings
and ReLUs whose index and sign nothing compels it to keep. In it a product (a Dense, a Conv) is an operation of its own,
and all between two products are loops, each of which reads arrays, computes, and writes one array. With X, Y, W, W' the
bytes of input, output, parameters and their gradient:

    Dense, Conv     forward    X + W + Y
                    backward   X + Y + W', Y again for a bias; Y + W + X where x needs a cotangent
    a function      forward    X + Y
                    backward   what was kept, or X for its sign, + Y + X; without Y before a pooling, whose loop goes on
    max-pooling     forward    X + Y; t X + Y after a max-pooling of t taps, which is done anew
                    backward   t Y + Y + X, for t taps that find the maximum again; without X after a function
    mean pooling    forward    X + Y
                    backward   Y + X; without X after a function
    a sum           forward    3 Y
                    backward   3 X

A loop that reads slices of an array reads each of them: hence t. `Flatten` costs nothing; the loss, a dropout's random
bits and what caches save are left out.

Some of these bytes are copies, which accelerators need not make: for a kernel's gradient x and y's cotangent are put
into another order, and the kernel for x's cotangent, 2 X + 2 Y + 2 W; the gradient of g groups is computed for all
pairs of channels, and what is wanted taken from it, 4 g W'.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax

from fnnet.costs.summary import Visit
from fnnet.layers.answers import Access
from fnnet.layers.containers import is_threaded
from fnnet.layers.functions import Function

GRADIENT = 4  # bytes of an entry of a gradient


class Traffic(NamedTuple):
    """Of one layer, forward and backward.

    Attributes:
        bytes: To and from memory.
        copied: How many of them only put arrays into another order.
    """

    bytes: int
    copied: int = 0


def traffic_of(visits: Iterable[Visit], examples: int) -> list[Traffic]:
    """What each layer moves for so many examples."""
    found, before = [], None
    visits = list(visits)
    following = [visit for visit in visits if _access(visit).kind != "view"][1:]
    for visit in visits:
        if _access(visit).kind == "view":
            found.append(Traffic(0))
            continue
        after = following.pop(0) if following else None
        found.append(_traffic(visit, examples, before, after))
        before = visit
    return found


def _access(visit: Visit) -> Access:
    return Access() if is_threaded(visit.layer) else visit.layer.access(visit.x)


def _traffic(visit: Visit, examples: int, before: Visit | None, after: Visit | None) -> Traffic:
    layer, access = visit.layer, _access(visit)
    x, y = (examples * array.size * array.dtype.itemsize for array in (visit.x, visit.y))
    x_bar, learns = x * visit.moving, visit.moving or bool(jax.tree.leaves(visit.params))
    if is_threaded(layer):
        return Traffic((3 * y + 3 * x_bar) * bool(layer.flops(visit.params, visit.x)))
    if access.kind == "product":
        return _of_products(visit, access, x, y)
    if access.kind == "window":
        chosen_before = None if before is None else _access(before)
        recomputed = chosen_before.taps if chosen_before is not None and chosen_before.selects else 1
        finding = access.taps * access.selects
        going_on = before is not None and _elementwise(before)
        return Traffic(recomputed * x + y + (finding * y + y + x_bar * (not going_on)) * learns)
    going_on = _elementwise(visit) and after is not None and _access(after).kind == "window"
    kept = examples * visit.kept_bytes
    if isinstance(layer, Function):
        kept = max(kept, x)  # of a sign alone, which is found again
    return Traffic(x + y + (kept + y * (not going_on) + x_bar) * learns)


def _of_products(visit: Visit, access: Access, x: int, y: int) -> Traffic:
    leaves = jax.tree.leaves(visit.params)
    entries = sum(leaf.size for leaf in leaves)
    parameters, gradient = entries * max(leaf.dtype.itemsize for leaf in leaves), entries * GRADIENT
    forward, of_kernel, of_x = x + parameters + y, x + y + gradient, (y + parameters + x) * visit.moving
    copied = 0
    if access.groups:
        copied = 2 * (x + y + parameters * visit.moving)
        if access.groups > 1:
            copied += 4 * access.groups * gradient
    has_bias = len(leaves) > 1
    return Traffic(forward + of_kernel + of_x + has_bias * y + copied, copied)


def _elementwise(visit: Visit) -> bool:
    """Whether its loop can go on with another layer's."""
    return not is_threaded(visit.layer) and _access(visit).kind == "elementwise" and visit.x.shape == visit.y.shape
