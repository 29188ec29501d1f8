"""How the shape of a cotangent differs from that of its argument, as a mistake with sums and axes explains it."""

import itertools
from collections.abc import Sequence

MOST_AXES = 6


def shape_difference(found: Sequence[int], wanted: Sequence[int]) -> str:
    """What makes a cotangent of shape `found` where `wanted` is right: ": the sum over axis 0 is missing"; or ""."""
    found, wanted = tuple(found), tuple(wanted)
    if max(len(found), len(wanted)) > MOST_AXES:
        return ""
    if sorted(found) == sorted(wanted):
        return ": its axes are in another order"
    if axes := _dropped(found, wanted):
        return f": the sum over {_named(axes)} is missing"
    if axes := _dropped(wanted, found):
        return f": a sum over {_named(axes)} is too much"
    return ""


def _dropped(longer: tuple[int, ...], shorter: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of `longer` without which, or with 1 in place of which, it is `shorter`; leading ones if several do."""
    for count in range(1, len(longer) + 1):
        for axes in itertools.combinations(range(len(longer)), count):
            without = tuple(n for axis, n in enumerate(longer) if axis not in axes)
            kept = tuple(1 if axis in axes else n for axis, n in enumerate(longer))
            if shorter in (without, kept):
                return axes
    return ()


def _named(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes}"
