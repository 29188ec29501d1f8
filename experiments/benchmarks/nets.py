"""The networks, described without any library: each contestant builds them with its own layers.

cnn, mlp and vgg are the usual small ones, lenet is LeNet-5 with max-pooling and ReLU; depthwise is built of blocks as
in MobileNet (a depthwise 3x3, then a pointwise 1x1 convolution), pooling of max-poolings that overlap or are dilated.
resnet and gpt are those of `fnnet train`: ResNet-20 with batch norm in training, and a transformer over windows of
tokens, whose last layer has weights of its own here. PyTorch alone averages the batch norms' statistics as well.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Conv:
    """Convolution with a square window, and as much padding on each side."""

    features: int
    window: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = True


@dataclass(frozen=True)
class MaxPool:
    """Maximum over square windows, without padding."""

    window: int
    stride: int
    dilation: int = 1


@dataclass(frozen=True)
class MeanPool:
    """Mean over square windows side by side."""

    window: int


@dataclass(frozen=True)
class Flatten:
    """All axes of an example as one."""


@dataclass(frozen=True)
class Dense:
    """x W + b."""

    features: int


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True)
class LeakyRelu:
    """x, or x / 100 where it is negative."""


@dataclass(frozen=True)
class Gelu:
    """x times the normal distribution's function of x, by the formula with tanh."""


@dataclass(frozen=True)
class BatchNorm:
    """Each channel by mean and variance of the mini-batch, then scale and bias."""


@dataclass(frozen=True)
class LayerNorm:
    """Each row by its mean and variance, then scale and bias."""


@dataclass(frozen=True)
class Embedding:
    """A row of a table for each token."""

    rows: int
    features: int


@dataclass(frozen=True)
class Attention:
    """Causal self-attention with rotary positions."""

    heads: int


@dataclass(frozen=True)
class Residual:
    """body(x) + shortcut(x); without a shortcut body(x) + x."""

    body: tuple["Layer", ...]
    shortcut: tuple["Layer", ...] = ()


Activation = Relu | LeakyRelu | Gelu
Norm = BatchNorm | LayerNorm
Layer = Conv | MaxPool | MeanPool | Flatten | Dense | Activation | Norm | Embedding | Attention | Residual
EPSILON = 1e-5  # added to each variance
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Net:
    """Layers in a row, for examples of one shape: images (height, width, channels), or texts (length,)."""

    name: str
    shape: Shape
    layers: tuple[Layer, ...]

    @property
    def vocabulary(self) -> int | None:
        """How many tokens there are; None for images."""
        return self.layers[0].rows if isinstance(self.layers[0], Embedding) else None

    @property
    def of_batch(self) -> bool:
        """Whether an example's output depends on the others of its mini-batch."""
        return any(isinstance(layer, BatchNorm) for layer, _, _ in leaves(self.layers, self.shape))


def block(inputs: int, features: int, stride: int) -> tuple[Layer, ...]:
    """MobileNet's: each channel by itself, then all channels at each point."""
    return Conv(inputs, 3, stride, 1, groups=inputs), Relu(), Conv(features, 1), Relu()


def wide(features: int) -> tuple[Layer, ...]:
    return Conv(features, 3, padding=1), Relu(), Conv(features, 3, padding=1), Relu(), MaxPool(2, 2)


def normed(features: int, window: int, stride: int = 1) -> tuple[Layer, ...]:
    return Conv(features, window, stride, window // 2, bias=False), BatchNorm()


def residual(features: int, stride: int = 1) -> tuple[Layer, ...]:
    """ResNet's: two convolutions beside the identity, or beside a projection where the size changes."""
    body = *normed(features, 3, stride), Relu(), *normed(features, 3)
    return Residual(body, normed(features, 1, stride) if stride > 1 else ()), Relu()


def transformer(width: int, heads: int) -> tuple[Layer, ...]:
    """Attention, then two dense layers, each beside the identity."""
    dense = Dense(4 * width), Gelu(), Dense(width)
    return Residual((LayerNorm(), Attention(heads))), Residual((LayerNorm(), *dense))


GREY, COLOUR = (28, 28, 1), (32, 32, 3)
CNN = Conv(32, 3, padding=1), Relu(), MaxPool(2, 2), Conv(64, 3, padding=1), Relu(), MaxPool(2, 2), Flatten()
LENET = Conv(6, 5, padding=2), Relu(), MaxPool(2, 2), Conv(16, 5), Relu(), MaxPool(2, 2), Flatten()
BLOCKS = *block(32, 64, 1), *block(64, 128, 2), *block(128, 128, 1), *block(128, 256, 2), *block(256, 256, 1)
POOLING = Conv(32, 3, padding=1), Relu(), MaxPool(3, 2), Conv(64, 3, padding=1), Relu(), MaxPool(3, 1, dilation=2)
STAGES = (16, 1), (16, 1), (16, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)
RESNET = *normed(16, 3), Relu(), *(layer for stage in STAGES for layer in residual(*stage)), MeanPool(8), Flatten()
GPT = Embedding(96, 128), *transformer(128, 4) * 4, LayerNorm(), Dense(96)

NETS = {
    net.name: net
    for net in (
        Net("cnn", GREY, (*CNN, Dense(128), Relu(), Dense(10))),
        Net("lenet", GREY, (*LENET, Dense(120), Relu(), Dense(84), Relu(), Dense(10))),
        Net("mlp", GREY, (Flatten(), Dense(512), LeakyRelu(), Dense(10))),
        Net("vgg", COLOUR, (*wide(64), *wide(128), Flatten(), Dense(256), Relu(), Dense(10))),
        Net("depthwise", COLOUR, (Conv(32, 3, padding=1), Relu(), *BLOCKS, MeanPool(8), Flatten(), Dense(10))),
        Net("pooling", COLOUR, (*POOLING, MaxPool(3, 2), Flatten(), Dense(128), Relu(), Dense(10))),
        Net("resnet", COLOUR, (*RESNET, Dense(10))),
        Net("gpt", (64,), GPT),
    )
}


def shapes(net: Net) -> list[Shape]:
    """The shape of an example before each layer, and after the last."""
    return shapes_of(net.layers, net.shape)


def shapes_of(layers: tuple[Layer, ...], shape: Shape) -> list[Shape]:
    found = [shape]
    for layer in layers:
        found.append(after(layer, found[-1]))
    return found


def leaves(layers: tuple[Layer, ...], shape: Shape) -> Iterator[tuple[Layer, Shape, Shape]]:
    """Each layer with the shapes before and after it; in the place of a residual block what it is made of."""
    found = shapes_of(layers, shape)
    for layer, before, end in zip(layers, found[:-1], found[1:], strict=True):
        if isinstance(layer, Residual):
            yield from leaves(layer.body, before)
            yield from leaves(layer.shortcut, before)
        else:
            yield layer, before, end


def after(layer: Layer, shape: Shape) -> Shape:
    match layer:
        case Conv(features, window, stride, padding):
            return (*_places(shape, window, stride, padding), features)
        case MaxPool(window, stride, dilation):
            return (*_places(shape, dilation * (window - 1) + 1, stride, 0), shape[-1])
        case MeanPool(window):
            return (*_places(shape, window, window, 0), shape[-1])
        case Flatten():
            return (math.prod(shape),)
        case Dense(features):
            return (*shape[:-1], features)
        case Embedding(_, features):
            return (*shape, features)
        case Residual(body, _):
            return shapes_of(body, shape)[-1]
    return shape


def _places(shape: Shape, extent: int, stride: int, padding: int) -> Shape:
    return tuple((size + 2 * padding - extent) // stride + 1 for size in shape[:-1])
