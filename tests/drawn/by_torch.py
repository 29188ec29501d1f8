"""Convolution and pooling by PyTorch in f64, with its autograd: another library's idea of the same configuration."""

import math
from typing import Any

import numpy as np
from contract import oracles

Arrays = dict[str, np.ndarray]
Static = dict[str, Any]


def pulled(rule: str, static: Static, arrays: Arrays, cotangent: np.ndarray) -> tuple[np.ndarray, Arrays]:
    """The value, and the cotangent pulled back to every array."""
    import torch

    torch.set_num_threads(1)
    rank = arrays["kernel"].ndim - 2 if rule == "conv" else _rank(static["window"])
    lead = arrays["x"].shape[: -rank - 1]
    given = {name: torch.from_numpy(_channels_first(name, a, rank).copy()) for name, a in arrays.items()}
    for tensor in given.values():
        tensor.requires_grad_()
    y = {"conv": _conv, "max_pool": _max_pool, "avg_pool": _avg_pool}[rule](given, rank, **static)
    y.backward(torch.from_numpy(_channels_first("x", cotangent, rank).copy()))
    bars = {name: tensor.grad.numpy() for name, tensor in given.items()}
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


def _avg_pool(given: dict[str, Any], rank: int, *, count_padding: bool = False, **window: Any) -> Any:
    import torch

    x, pool = given["x"], getattr(torch.nn.functional, f"avg_pool{rank}d")
    placed = _placed(x, **window)
    size, strides, pads = [a.size for a in placed], [a.stride for a in placed], [(a.lo, a.hi) for a in placed]
    if _is_torchs(placed):
        return pool(x, size, strides, [lo for lo, _ in pads], window.get("ceil_mode", False), count_padding)
    # What counts is 1: the image, or that with its padding; what the last windows see beyond is 0.
    counted = _padded(torch.ones_like(x[:1, :1]), pads, 1.0 if count_padding else 0.0)
    beyond = [(0, end - hi) for (_, hi), (_, end) in zip(pads, _cover(placed), strict=True)]
    return pool(_padded(x, _cover(placed), 0.0), size, strides) / pool(_padded(counted, beyond, 0.0), size, strides)


def _is_torchs(placed: list[oracles.Axis]) -> bool:
    """Whether PyTorch takes this padding: the same on both sides, at most half of a window that fits into the image."""
    return all(axis.lo == axis.hi and 2 * axis.lo <= axis.size <= axis.image for axis in placed)


def _cover(placed: list[oracles.Axis]) -> list[tuple[int, int]]:
    """The padding that the windows cover; negative where they leave out the end of the image."""
    return [(axis.lo, int(axis.starts[-1]) + axis.dilation * (axis.size - 1) + 1 - axis.image) for axis in placed]


def _padded(x: Any, pads: list[tuple[int, int]], fill: float) -> Any:
    import torch

    return torch.nn.functional.pad(x, [p for pair in reversed(pads) for p in pair], value=fill)


def _placed(x: Any, window: Any, **keywords: Any) -> list[oracles.Axis]:
    return oracles.axes((*x.shape[2:], 1), window, **keywords)


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
