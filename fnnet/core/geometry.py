"""Window arithmetic of convolution and pooling: pure functions of integers.

    extent      e = d (k - 1) + 1                                     what k taps span at dilation d       (1)
    out size    o = floor((n + lo + hi - e) / s) + 1                                                       (2)
    ceil mode   o = ceil(...) + 1, less the last window if it starts beyond the image and its left padding (3)
    SAME        o = ceil(n / s),  lo + hi = max((o - 1) s + e - n, 0),  the odd one at the end             (4)
    SAME_LOWER  the same, the odd one in front
    transposed  N = (n - 1) s + e + q - lo - hi, so that a window over N has n places where q < s          (5)

n is the size of the image along one axis, k the window, s the stride, d the dilation, (lo, hi) the padding, q the
output padding.
Source 001 gives (4) for stride 1 (Conv2D, item 4: p = w_F - 1, the odd row and column at the end).
"""

import operator
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

Padding = str | int | Sequence[int | Sequence[int]]

NUMBERS = "an integer, or for each axis an integer or a pair"
PADDINGS = f"'SAME', 'SAME_LOWER', 'VALID', {NUMBERS}"


@dataclass(frozen=True)
class Window:
    """A window that slides over an image, one entry for each spatial axis."""

    image: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    out: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    @property
    def axes(self) -> Iterator[tuple]:
        """Each axis as (n, k, s, d, (lo, hi), o)."""
        return zip(self.image, self.size, self.stride, self.dilation, self.padding, self.out, strict=True)

    @property
    def extent(self) -> tuple[int, ...]:
        """What the taps span in the image, (1)."""
        return tuple(extent(k, d) for k, d in zip(self.size, self.dilation, strict=True))


def extent(size: int, dilation: int) -> int:
    """Span of `size` taps that stand `dilation` apart, (1)."""
    return dilation * (size - 1) + 1


def out_size(n: int, size: int, stride: int, dilation: int, padding: tuple[int, int], ceil_mode: bool = False) -> int:
    """Number of places of a window along one axis, (2) and (3); 0 or less where it does not fit."""
    room = n + sum(padding) - extent(size, dilation)
    if not ceil_mode:
        return room // stride + 1
    out = -(-room // stride) + 1
    return out - 1 if (out - 1) * stride >= n + padding[0] else out


def same_padding(n: int, size: int, stride: int, dilation: int) -> tuple[int, int]:
    """The padding that makes ceil(n / stride) outputs, (4)."""
    out = -(-n // stride)
    total = max((out - 1) * stride + extent(size, dilation) - n, 0)
    return total // 2, total - total // 2


def window(
    function: str,
    x_shape: Sequence[Any],
    size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
) -> Window:
    """The window of `function` over an image of shape `x_shape` = (..., *spatial, channels).

    Raises ValueError, in the name of `function`, for a rank, stride, dilation, padding or size that cannot be.
    """
    rank = len(size)
    size = per_axis(function, "window", size, rank)
    stride = per_axis(function, "stride", stride, rank)
    dilation = per_axis(function, "dilation", dilation, rank)
    _check_rank(function, x_shape, rank)
    image = tuple(x_shape[-rank - 1 : -1])
    pads = _pads(function, padding, image, size, stride, dilation)
    out = tuple(out_size(*axis, ceil_mode) for axis in zip(image, size, stride, dilation, pads, strict=True))
    if any(o < 1 for o in out):
        spread = f" dilated by {dilation}" if any(d > 1 for d in dilation) else ""
        raise ValueError(
            f"{function}: window {size}{spread} does not fit into x of shape {tuple(x_shape)} with padding {padding!r}"
        )
    return Window(image, size, stride, dilation, pads, out)


def transposed_window(
    function: str,
    x_shape: Sequence[Any],
    size: Sequence[int],
    *,
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
    padding: int | Sequence[int | Sequence[int]],
    output_padding: int | Sequence[int],
) -> tuple[Window, tuple[int, ...]]:
    """The window whose places are the spatial entries of x (..., *spatial, channels), over an image of size (5).

    Also returns how many zeros x lacks at the end of each axis: an output padding of a stride is one more entry.
    Raises ValueError, in the name of `function`, for sizes that cannot be.
    """
    rank = len(size)
    size = per_axis(function, "window", size, rank)
    stride = per_axis(function, "stride", stride, rank)
    dilation = per_axis(function, "dilation", dilation, rank)
    added = per_axis(function, "output_padding", output_padding, rank, least=0)
    _check_rank(function, x_shape, rank)
    if any(q >= max(s, d) for q, s, d in zip(added, stride, dilation, strict=True)):
        raise ValueError(
            f"{function}: output_padding (={output_padding!r}) must be less than the stride {stride} or the dilation "
            f"{dilation}, on each axis"
        )
    pads = _pads_in_numbers(function, padding, rank, NUMBERS)
    given = tuple(x_shape[-rank - 1 : -1])
    image = tuple(
        (n - 1) * s + extent(k, d) + q - lo - hi
        for n, k, s, d, q, (lo, hi) in zip(given, size, stride, dilation, added, pads, strict=True)
    )
    if any(n < 1 for n in (*given, *image)):
        raise ValueError(
            f"{function}: x of shape {tuple(x_shape)} with window {size} and padding {padding!r} gives an output of "
            f"size {image}, which must be 1 or more on each axis"
        )
    more = tuple(q // s for q, s in zip(added, stride, strict=True))
    places = tuple(n + m for n, m in zip(given, more, strict=True))
    return Window(image, size, stride, dilation, pads, places), more


def pooling_window(
    function: str,
    x_shape: Sequence[Any],
    size: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: Padding,
    dilation: int | Sequence[int],
    ceil_mode: bool,
) -> Window:
    """A pooling's window: an integer size means two axes, no stride means the size, no window is all padding."""
    if isinstance(size, Sequence):
        size = per_axis(function, "window", size, len(size))
    else:
        size = per_axis(function, "window", size, 2)
    if not 1 <= len(size) <= 3:
        raise ValueError(f"{function}: window (={size}) must have 1 to 3 entries, one for each spatial axis")
    place = window(
        function,
        x_shape,
        size,
        stride=size if stride is None else stride,
        dilation=dilation,
        padding=padding,
        ceil_mode=ceil_mode,
    )
    if any(max(pads) >= e for pads, e in zip(place.padding, place.extent, strict=True)):
        raise ValueError(
            f"{function}: padding (={padding!r}) must be less than what the window {size} spans, {place.extent}: "
            "a window would lie in the padding alone"
        )
    return place


def integer(function: str, argument: str, value: Any, least: int = 1) -> int:
    """`value` as one integer."""
    try:
        number = _index(value)
    except TypeError:
        raise TypeError(f"{function}: {argument} (={value!r}) must be an integer") from None
    if number < least:
        raise ValueError(f"{function}: {argument} (={number}) must be {least} or more")
    return number


def per_axis(function: str, argument: str, value: Any, rank: int, least: int = 1) -> tuple[int, ...]:
    """`value` as one integer an axis: an integer means the same for each."""
    try:
        values = (_index(value),) * rank
    except TypeError:
        try:
            values = tuple(_index(v) for v in _ordered(value))
        except TypeError:
            raise TypeError(
                f"{function}: {argument} (={value!r}) must be an integer, or one integer for each of {rank} axes"
            ) from None
    if len(values) != rank:
        raise ValueError(f"{function}: {argument} (={value!r}) must have {rank} entries, one for each spatial axis")
    if any(v < least for v in values):
        raise ValueError(f"{function}: {argument} (={value!r}) must be {least} or more")
    return values


def _index(value: Any) -> int:
    """`value` as an integer, which True and False are not."""
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def _ordered(values: Any) -> tuple:
    """The values of what has an order: a set has none, and a string has no numbers."""
    if isinstance(values, str | bytes | bytearray | Set | Mapping):
        raise TypeError
    return tuple(values)


def _check_rank(function: str, x_shape: Sequence[Any], rank: int) -> None:
    if len(x_shape) < rank + 1:
        raise ValueError(
            f"{function}: x of shape {tuple(x_shape)} has rank {len(x_shape)}; a window over {rank} spatial "
            f"{'axis' if rank == 1 else 'axes'} needs (..., {'spatial, ' * rank}channels), rank {rank + 1} or more"
        )


def _pads(
    function: str,
    padding: Padding,
    image: tuple[int, ...],
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    rank = len(image)
    if isinstance(padding, str):
        if padding.upper() == "VALID":
            return ((0, 0),) * rank
        same = tuple(same_padding(*axis) for axis in zip(image, size, stride, dilation, strict=True))
        if padding.upper() == "SAME":
            return same
        if padding.upper() == "SAME_LOWER":
            return tuple((hi, lo) for lo, hi in same)
        raise ValueError(f"{function}: padding (={padding!r}) must be {PADDINGS}")
    return _pads_in_numbers(function, padding, rank, PADDINGS)


def _pads_in_numbers(function: str, padding: Any, rank: int, wanted: str) -> tuple[tuple[int, int], ...]:
    try:
        both = (_index(padding),) * rank
    except TypeError:
        try:
            both = _ordered(padding)
        except TypeError:
            raise TypeError(f"{function}: padding (={padding!r}) must be {wanted}") from None
    if len(both) != rank:
        raise ValueError(f"{function}: padding (={padding!r}) must have {rank} entries, one for each spatial axis")
    pads = tuple(per_axis(function, "padding", p, 2, least=0) for p in both)
    return tuple((p[0], p[1]) for p in pads)
