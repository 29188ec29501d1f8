"""PyTorch: modules channels first, as many threads as cores, in its default memory format or in channels_last."""

import gc
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.contestants import Library, Program, Unsupported
from benchmarks.contestants import torch_programs as programs
from benchmarks.nets import (
    EPSILON,
    Attention,
    BatchNorm,
    Conv,
    Dense,
    Embedding,
    Flatten,
    Gelu,
    Layer,
    LayerNorm,
    LeakyRelu,
    MaxPool,
    MeanPool,
    Net,
    Residual,
    Shape,
    shapes_of,
)
from benchmarks.tasks import LEARNING_RATE, Convolution, PerExample, Pooling, Product, Rule, Stream, Task, Training


def sequential(net: Net) -> nn.Sequential:
    """The network as PyTorch has it."""
    return _sequential(net.layers, net.shape)


def _sequential(layers: tuple[Layer, ...], shape: Shape) -> nn.Sequential:
    return nn.Sequential(*(_layer(*pair) for pair in zip(layers, shapes_of(layers, shape), strict=False)))


def _layer(layer: Layer, before: Shape) -> nn.Module:
    inputs = before[-1]
    match layer:
        case Conv(features, window, stride, padding, groups, bias):
            return nn.Conv2d(inputs, features, window, stride, padding, groups=groups, bias=bias)
        case BatchNorm():
            return nn.BatchNorm2d(inputs, EPSILON)
        case LayerNorm():
            return nn.LayerNorm(inputs, EPSILON)
        case Embedding(rows, features):
            return nn.Embedding(rows, features)
        case Attention(heads):
            return SelfAttention(before[0], inputs, heads)
        case Residual(body, shortcut):
            return Sum(_sequential(body, before), _sequential(shortcut, before))
        case Gelu():
            return nn.GELU("tanh")
        case MaxPool(window, stride, dilation):
            return nn.MaxPool2d(window, stride, dilation=dilation)
        case MeanPool(window):
            return nn.AvgPool2d(window)
        case Flatten():
            return nn.Flatten()
        case Dense(features):
            return nn.Linear(inputs, features)
        case LeakyRelu():
            return nn.LeakyReLU(0.01)
    return nn.ReLU()


class Sum(nn.Module):
    """body(x) + shortcut(x); an empty `nn.Sequential` is the identity."""

    def __init__(self, body: nn.Module, shortcut: nn.Module):
        """Registers both, in the order in which fnnet has them."""
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return self.body(x) + self.shortcut(x)


class SelfAttention(nn.Module):
    """Causal, with rotary positions; its parameters have the names of nn.MultiheadAttention's."""

    def __init__(self, length: int, features: int, heads: int):
        """Keeps the positions' cosines and sines."""
        super().__init__()
        self.heads, half = heads, features // heads // 2
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * features, features)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * features))
        self.out_proj = nn.Linear(features, features)
        angles = torch.arange(length, dtype=torch.float64)[:, None] / 10000 ** (torch.arange(half) / half)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, length, features), the same shape."""
        qkv = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv)
        seen = nn.functional.scaled_dot_product_attention(self._turned(q), self._turned(k), v, is_causal=True)
        return self.out_proj(seen.transpose(1, 2).flatten(2))

    def _turned(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        return torch.cat((a * self.cos - b * self.sin, b * self.cos + a * self.sin), -1)


class PyTorch(Library):
    """A `Library`."""

    def __init__(self, channels_last: bool):
        """Whether images and models are in the memory format channels_last."""
        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        self.format = torch.channels_last if channels_last else torch.contiguous_format

    def versions(self) -> dict[str, str]:
        """Of the library."""
        return {"torch": version("torch")}

    def shapes(self, net: Net) -> dict[str, tuple[int, ...]]:
        """PyTorch's own names."""
        with torch.device("meta"):
            return {name: tuple(value.shape) for name, value in sequential(net).state_dict().items()}

    def images(self, xs: np.ndarray) -> torch.Tensor:
        """Examples, channels last, as PyTorch takes them; tokens as they are."""
        if np.issubdtype(xs.dtype, np.integer):
            return _labels(xs)
        first = np.ascontiguousarray(np.moveaxis(xs, -1, 1))
        return torch.from_numpy(first).contiguous(memory_format=self.format)

    def model(self, net: Net, arrays: Mapping[str, Any] | None) -> nn.Sequential:
        """The network with these parameters; None: drawn as PyTorch draws them."""
        model = sequential(net)
        if arrays is not None:
            model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
        return model.to(memory_format=self.format)

    def program(self, task: Task) -> Program:
        """A task, ready to run."""
        match task:
            case Training(net, "loop", arrays, xs, ys):
                batches = [(self.images(x), _labels(y)) for x, y in zip(xs, ys, strict=True)]
                return programs.Loop(self.model(net, arrays), batches)
            case PerExample(net, arrays, xs, ys):
                return programs.per_example(self.model(net, arrays), self.images(xs), _labels(ys))
            case Rule(case, _):
                return programs.rule(_rule(case), task, self.images)
            case Product(size):
                a, b = torch.randn(2, size, size)
                return programs.Call(lambda: a @ b, lambda c: {})
            case Stream(numbers):
                x = torch.zeros(numbers)
                return programs.Call(lambda: x.add_(1), lambda x: {})
        raise Unsupported("PyTorch has no lax.scan, and no example of experiments/drop_in")

    def first_step(self, net: Net, xs: Any, ys: Any) -> float:
        """Draw parameters, take one step: its loss."""
        model = self.model(net, None)
        return programs.step(model, _adam(model), self.images(xs), _labels(ys)).item()

    def train(self, net: Net, arrays: Mapping[str, Any], data: Any, recipe: Any, seed: int, report: Any) -> None:
        """The usual loop, over tensors in memory."""
        self.model(net, None)  # drawn as its users have to, then replaced by what all start from
        model = self.model(net, arrays)
        adam, order = _adam(model, recipe.rate), np.random.default_rng(seed)
        (xs, ys), (test_xs, test_ys) = ((self.images(xs), _labels(ys)) for xs, ys in (data.train, data.test))
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, recipe.steps(len(xs)))
        for _ in range(recipe.epochs):
            for rows in map(torch.from_numpy, recipe.batches(order, len(xs))):
                programs.step(model, adam, xs[rows].contiguous(memory_format=self.format), ys[rows])
                rate.step()
            with torch.inference_mode():
                parts = recipe.parts(len(test_xs))
                right = sum(int((model(test_xs[part]).argmax(-1) == test_ys[part]).sum()) for part in parts)
            if report(right / len(test_xs)):
                return

    def clear(self) -> None:
        """Drop what is unreachable."""
        gc.collect()


def _adam(model: nn.Module, rate: float = LEARNING_RATE) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), rate)


def _labels(ys: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(ys, np.int64))


def _rule(case: Pooling | Convolution) -> Callable:
    if isinstance(case, Pooling):
        return lambda x: nn.functional.max_pool2d(x, case.window, case.stride, dilation=case.dilation)
    return lambda x, kernel: nn.functional.conv2d(
        x, kernel, stride=case.stride, padding=case.padding, dilation=case.dilation, groups=case.groups
    )


library = PyTorch
