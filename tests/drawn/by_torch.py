"""Convolution and pooling by PyTorch in f64, with its autograd: another library's idea of the same configuration."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fnnet.proofs import windows

Arrays = dict[str, Any]
Static = dict[str, Any]


def pulled(rule: str, static: Static, arrays: Arrays, cotangent: np.ndarray) -> tuple[np.ndarray, Arrays]:
    """The value, and the cotangent pulled back to every array."""
    import torch

    torch.set_num_threads(1)
    rank = arrays["kernel"].ndim - 2 if rule == "conv" else _rank(static["window"])
    lead = arrays["x"].shape[: -rank - 1]
    given: Arrays = {name: torch.from_numpy(_channels_first(name, a, rank).copy()) for name, a in arrays.items()}
    for tensor in given.values():
        tensor.requires_grad_()
    rules: dict[str, Callable] = {"conv": _conv, "max_pool": _max_pool, "avg_pool": _avg_pool}
    y = rules[rule](given, rank, **static)
    y.backward(torch.from_numpy(_channels_first("x", cotangent, rank).copy()))
    bars: Arrays = {name: tensor.grad.numpy() for name, tensor in given.items()}
    back = {name: _channels_last(name, bar, rank).reshape(arrays[name].shape) for name, bar in bars.items()}
    value = _channels_last("x", y.detach().numpy(), rank)
    return value.reshape(*lead, *value.shape[1:]), back


def _conv(given: dict[str, Any], rank: int, *, padding: Any, groups: int = 1, **window: Any) -> Any:
    import torch

    x, kernel = given["x"], given["kernel"]
    placed = _placed(x, tuple(kernel.shape[2:]), padding=padding, **({"stride": 1} | window))
    convolution = getattr(torch.nn.functional, f"conv{rank}d")
    padded = _padded(x, [(axis.lo, axis.hi) for axis in placed], 0.0)
    steps = [axis.stride for axis in placed], 0, [axis.dilation for axis in placed]
    return convolution(padded, kernel, given.get("bias"), *steps, groups)


def _max_pool(given: dict[str, Any], rank: int, **window: Any) -> Any:
    import torch

    x, pool = given["x"], getattr(torch.nn.functional, f"max_pool{rank}d")
    placed = _placed(x, **window)
    size, strides, dilations = ([getattr(axis, name) for axis in placed] for name in ("size", "stride", "dilation"))
    if _is_torchs(placed):
        pads = [axis.lo for axis in placed]
        return pool(x, size, strides, pads, dilations, ceil_mode=window.get("ceil_mode", False))
    return pool(_padded(x, _cover(placed), -math.inf), size, strides, 0, dilations)


def _avg_pool(
    given: dict[str, Any], rank: int, *, count_padding: bool = False, divisor: Any = None, **window: Any
) -> Any:
    import torch

    x = given["x"]
    placed = _placed(x, **window)
    if all(axis.dilation == 1 for axis in placed) and _is_torchs(placed) and (divisor is None or rank > 1):
        further = {} if divisor is None else {"divisor_override": int(2 * divisor)}  # PyTorch's is an integer
        pool = getattr(torch.nn.functional, f"avg_pool{rank}d")
        y = pool(
            x,
            [axis.size for axis in placed],
            [axis.stride for axis in placed],
            [axis.lo for axis in placed],
            window.get("ceil_mode", False),
            count_padding,
            **further,
        )
        return y if divisor is None else 2 * y
    sums = _summed(_padded(x, _cover(placed), 0.0), placed)
    if divisor is not None:
        return sums / divisor
    # What counts is 1: the image, or that with its padding; what the last windows see beyond is 0.
    pads = [(axis.lo, axis.hi) for axis in placed]
    counted = _padded(torch.ones_like(x[:1, :1]), pads, 1.0 if count_padding else 0.0)
    beyond = [(0, end - hi) for (_, hi), (_, end) in zip(pads, _cover(placed), strict=True)]
    return sums / _summed(_padded(counted, beyond, 0.0), placed)


def _summed(x: Any, placed: list[windows.Axis]) -> Any:
    """The sum of each window: a convolution of each channel with ones, since PyTorch's pooling has no dilation."""
    import torch

    ones = torch.ones(x.shape[1], 1, *(axis.size for axis in placed), dtype=x.dtype)
    steps = [axis.stride for axis in placed], 0, [axis.dilation for axis in placed]
    return getattr(torch.nn.functional, f"conv{len(placed)}d")(x, ones, None, *steps, x.shape[1])


def _is_torchs(placed: list[windows.Axis]) -> bool:
    """Whether PyTorch takes this padding: the same on both sides, at most half of a window that fits into the image."""
    return all(axis.lo == axis.hi and 2 * axis.lo <= axis.size <= axis.image for axis in placed)


def _cover(placed: list[windows.Axis]) -> list[tuple[int, int]]:
    """The padding that the windows cover; negative where they leave out the end of the image."""
    return [(axis.lo, int(axis.starts[-1]) + axis.dilation * (axis.size - 1) + 1 - axis.image) for axis in placed]


def _padded(x: Any, pads: list[tuple[int, int]], fill: float) -> Any:
    import torch

    return torch.nn.functional.pad(x, [p for pair in reversed(pads) for p in pair], value=fill)


def _placed(x: Any, window: Any, **keywords: Any) -> list[windows.Axis]:
    return windows.axes((*x.shape[2:], 1), window, **keywords)


def _rank(window: Any) -> int:
    return 2 if isinstance(window, int) else len(window)


def _channels_first(name: str, array: np.ndarray, rank: int) -> np.ndarray:
    if name == "x":
        merged = array.reshape(math.prod(array.shape[: -rank - 1]), *array.shape[-rank - 1 :])
        return np.moveaxis(merged, -1, 1)
    return array if name == "bias" else np.transpose(array, (rank + 1, rank, *range(rank)))


def _channels_last(name: str, array: np.ndarray, rank: int) -> np.ndarray:
    if name == "x":
        return np.moveaxis(array, 1, -1)
    return array if name == "bias" else np.transpose(array, (*range(2, rank + 2), 1, 0))
