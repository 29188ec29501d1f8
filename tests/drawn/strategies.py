"""Strategies: windows, images, channels, dtypes and mapped axes, drawn together so that every one is a valid call."""

from typing import Any, NamedTuple

from hypothesis import strategies as st

from drawn.configuration import Configuration

DTYPES = ("float64", "float64", "float32", "float32", "bfloat16", "float16")
LEADING = ((), (2,), (1,), (3,), (2, 3), (1, 2, 2), (0,), (2, 0))
MOST = {1: (9, 4, 4), 2: (5, 3, 3), 3: (3, 3, 2)}  # by rank: window, stride, dilation
LEVELS = (0, 1, 1, 2)
# By how much an image is larger than the window, at least and at most, by rank; the most channels of a group; leading
# axes. Hypothesis prefers what is small: what is large is so by its least.
SMALL = ((0, 12), (0, 7), (0, 4)), 3, LEADING
LARGE = ((4000, 20000), (60, 200), (14, 30)), 16, ((), (1,), (3,))


class Slide(NamedTuple):
    """A window over an image."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Any
    image: tuple[int, ...]


@st.composite
def convolutions(
    draw: Any, dtypes: tuple[str, ...] = DTYPES, levels: tuple[int, ...] = LEVELS, large: bool = False
) -> Configuration:
    """Convolution, in one to three dimensions.

    Args:
        draw: Hypothesis's.
        dtypes: To choose from.
        levels: How many mapped axes, to choose from.
        large: Whether images are of hundreds of thousands of entries.
    """
    spread, channels, lead = LARGE if large else SMALL
    slide = draw(_slides(spread))
    groups = draw(st.integers(1, 3))
    inputs, outputs = draw(st.integers(1, channels)), draw(st.integers(1, channels)) * groups
    shapes = {
        "x": (*draw(st.sampled_from(lead)), *slide.image, inputs * groups),
        "kernel": (*slide.size, inputs, outputs),
    }
    if draw(st.booleans()):
        shapes["bias"] = (outputs,)
    static = {"padding": slide.padding, "groups": groups}
    static |= draw(_spelled(1, stride=slide.stride, dilation=slide.dilation))
    return draw(_circumstances("conv", shapes, static, dtypes, levels))


@st.composite
def poolings(
    draw: Any, dtypes: tuple[str, ...] = DTYPES, levels: tuple[int, ...] = LEVELS, large: bool = False
) -> Configuration:
    """Max- or average-pooling, in one to three dimensions, no window in the padding alone; as for `convolutions`."""
    spread, channels, lead = LARGE if large else SMALL
    rule, ceil_mode = draw(st.sampled_from(("max_pool", "avg_pool"))), draw(st.booleans())
    slide = draw(_slides(spread, pooling=True, ceil_mode=ceil_mode))
    size, stride, dilation, padding, image = slide
    shapes = {"x": (*draw(st.sampled_from(lead)), *image, draw(st.integers(1, channels)))}
    square = len(size) == 2 and len(set(size)) == 1
    static = {"window": size[0] if square and draw(st.booleans()) else size, "padding": padding}
    static |= {} if stride == size and draw(st.booleans()) else draw(_spelled(None, stride=stride))
    static |= {"ceil_mode": True} if ceil_mode else {}
    static |= draw(_spelled(1, dilation=dilation))
    if rule == "avg_pool" and draw(st.booleans()):
        static |= draw(st.sampled_from(({"count_padding": True}, {"divisor": 3}, {"divisor": -2.5})))
    return draw(_circumstances(rule, shapes, static, dtypes, levels))


@st.composite
def _circumstances(
    draw: Any, rule: str, shapes: dict, static: dict, dtypes: tuple[str, ...], levels: tuple[int, ...]
) -> Configuration:
    """The dtype, the mapped axes, what is differentiated, and the values."""
    ranks = {name: len(shape) for name, shape in shapes.items()}
    sizes: list[int] = []
    mapped: list[dict[str, int]] = []
    for _ in range(draw(st.sampled_from(levels))):  # from the innermost
        names = draw(st.lists(st.sampled_from(sorted(shapes)), min_size=1, unique=True))
        mapped.insert(0, {name: draw(st.integers(-ranks[name] - 1, ranks[name])) for name in names})
        sizes.insert(0, draw(st.integers(1, 3)))
        ranks |= {name: ranks[name] + 1 for name in names}
    return Configuration(
        rule,
        shapes,
        static,
        dtype=draw(st.sampled_from(dtypes)),
        sizes=tuple(sizes),
        mapped=tuple(mapped),
        per_example=bool(sizes) and draw(st.booleans()),
        tied=draw(st.booleans()),
    )


@st.composite
def _slides(draw: Any, spread: tuple[tuple[int, int], ...], pooling: bool = False, ceil_mode: bool = False) -> Slide:
    rank = draw(st.integers(1, 3))
    most_size, most_stride, most_dilation = MOST[rank]
    size = draw(_each(rank, 1, most_size))
    stride = draw(_each(rank, 1, most_stride))
    dilation = draw(_each(rank, 1, most_dilation)) if draw(st.booleans()) else (1,) * rank
    extents = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    padding, slack = draw(_paddings(extents, pooling))
    least = [max(1, e - p - ceil_mode * (s - 1)) for e, p, s in zip(extents, slack, stride, strict=True)]
    if pooling:  # where neighbouring taps do not span the image, some window has none of them in it
        least = [max(n, d) for n, d in zip(least, dilation, strict=True)]
    image = tuple(n + draw(st.integers(*spread[rank - 1])) for n in least)
    return Slide(size, stride, dilation, padding, image)


@st.composite
def _paddings(draw: Any, extents: list[int], pooling: bool) -> tuple[Any, list[int]]:
    """A padding as a caller may write it, and by how much it makes each axis larger."""
    most = [e - 1 if pooling else e + 1 for e in extents]
    kind = draw(st.sampled_from(("SAME", "SAME_LOWER", "VALID", "number", "numbers", "pairs")))
    if kind in ("SAME", "SAME_LOWER"):
        return kind, extents
    if kind == "VALID":
        return kind, [0] * len(extents)
    if kind == "number":
        p = draw(st.integers(0, min(most)))
        return p, [2 * p] * len(extents)
    before = tuple(draw(st.integers(0, m)) for m in most)
    if kind == "numbers":
        return before, [2 * p for p in before]
    pairs = tuple((p, draw(st.integers(0, m))) for p, m in zip(before, most, strict=True))
    return pairs, [sum(pair) for pair in pairs]


@st.composite
def _spelled(draw: Any, default: int | None, **values: tuple[int, ...]) -> dict[str, Any]:
    """Each value as one number or left out, where that means the same."""
    spelled: dict[str, Any] = {}
    for name, value in values.items():
        alike = len(set(value)) == 1 and draw(st.booleans())
        if not (alike and value[0] == default):
            spelled[name] = value[0] if alike else value
    return spelled


def _each(rank: int, least: int, most: int) -> Any:
    return st.tuples(*[st.integers(least, most)] * rank)
