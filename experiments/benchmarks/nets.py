"""The networks, described without any library: each contestant builds them with its own layers.

cnn, mlp and vgg are the usual small ones, lenet is LeNet-5 with max-pooling and ReLU; depthwise is built of blocks as
in MobileNet (a depthwise 3x3, then a pointwise 1x1 convolution), pooling of max-poolings that overlap or are dilated.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Conv:
    """Convolution with a square window, as much padding on each side, and a bias."""

    features: int
    window: int
    stride: int = 1
    padding: int = 0
    groups: int = 1


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


Layer = Conv | MaxPool | MeanPool | Flatten | Dense | Relu | LeakyRelu
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Net:
    """Layers in a row, for examples of one shape (height, width, channels)."""

    name: str
    shape: Shape
    layers: tuple[Layer, ...]


def block(inputs: int, features: int, stride: int) -> tuple[Layer, ...]:
    """MobileNet's: each channel by itself, then all channels at each point."""
    return Conv(inputs, 3, stride, 1, groups=inputs), Relu(), Conv(features, 1), Relu()


def wide(features: int) -> tuple[Layer, ...]:
    return Conv(features, 3, padding=1), Relu(), Conv(features, 3, padding=1), Relu(), MaxPool(2, 2)


GREY, COLOUR = (28, 28, 1), (32, 32, 3)
CNN = Conv(32, 3, padding=1), Relu(), MaxPool(2, 2), Conv(64, 3, padding=1), Relu(), MaxPool(2, 2), Flatten()
LENET = Conv(6, 5, padding=2), Relu(), MaxPool(2, 2), Conv(16, 5), Relu(), MaxPool(2, 2), Flatten()
BLOCKS = *block(32, 64, 1), *block(64, 128, 2), *block(128, 128, 1), *block(128, 256, 2), *block(256, 256, 1)
POOLING = Conv(32, 3, padding=1), Relu(), MaxPool(3, 2), Conv(64, 3, padding=1), Relu(), MaxPool(3, 1, dilation=2)

NETS = {
    net.name: net
    for net in (
        Net("cnn", GREY, (*CNN, Dense(128), Relu(), Dense(10))),
        Net("lenet", GREY, (*LENET, Dense(120), Relu(), Dense(84), Relu(), Dense(10))),
        Net("mlp", GREY, (Flatten(), Dense(512), LeakyRelu(), Dense(10))),
        Net("vgg", COLOUR, (*wide(64), *wide(128), Flatten(), Dense(256), Relu(), Dense(10))),
        Net("depthwise", COLOUR, (Conv(32, 3, padding=1), Relu(), *BLOCKS, MeanPool(8), Flatten(), Dense(10))),
        Net("pooling", COLOUR, (*POOLING, MaxPool(3, 2), Flatten(), Dense(128), Relu(), Dense(10))),
    )
}


def shapes(net: Net) -> list[Shape]:
    """The shape of an example before each layer, and after the last."""
    found = [net.shape]
    for layer in net.layers:
        found.append(after(layer, found[-1]))
    return found


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
    return shape


def _places(shape: Shape, extent: int, stride: int, padding: int) -> Shape:
    return tuple((size + 2 * padding - extent) // stride + 1 for size in shape[:-1])
