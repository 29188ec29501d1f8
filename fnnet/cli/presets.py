"""What `python -m fnnet train` knows by name: networks, optimisers, and what is usual for a data set."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fnnet.layers.attention import Attention
from fnnet.layers.batch_norm import BatchNorm
from fnnet.layers.convolution import Conv
from fnnet.layers.dense import Dense
from fnnet.layers.dropout import Dropout
from fnnet.layers.embedding import Embedding
from fnnet.layers.flatten import Flatten
from fnnet.layers.normalisation import LayerNorm
from fnnet.layers.pooling import GlobalAvgPool, MaxPool
from fnnet.layers.recurrent import LSTM
from fnnet.layers.repeat import Repeat
from fnnet.layers.residual import Residual
from fnnet.layers.sequential import Sequential
from fnnet.layers.tied import Tied
from fnnet.rules.activations import gelu, leaky_relu, relu

Shape = tuple[int, ...]


def lenet(classes: int, shape: Shape) -> Sequential:
    """Two convolutions and two dense layers, like LeNet-5, and about as large; small images are pooled only once."""
    between = (MaxPool(2),) if min(shape[:2]) >= 16 else ()
    features = Conv(16, 3), relu, *between, Conv(32, 3), relu, MaxPool(2), Flatten()
    return Sequential(*features, Dropout(0.5), Dense(128), relu, Dropout(0.5), Dense(classes))


def cnn(classes: int, shape: Shape) -> Sequential:
    """The usual network for MNIST, without dropout."""
    features = Conv(32, 3), relu, MaxPool(2), Conv(64, 3), relu, MaxPool(2), Flatten()
    return Sequential(*features, Dense(128), relu, Dense(classes))


def mlp(classes: int, shape: Shape) -> Sequential:
    """One hidden layer: 784-512-10 for MNIST."""
    return Sequential(Flatten(), Dense(512), leaky_relu, Dense(classes))


def resnet(classes: int, shape: Shape) -> Sequential:
    """ResNet-20: three times three blocks of two convolutions, with 16, 32 and 64 channels. He et al. (2016), 4.2."""

    def block(channels: int, stride: int = 1) -> tuple[Any, ...]:
        first = Conv(channels, 3, stride=stride, bias=False)
        body = first, BatchNorm(), relu, Conv(channels, 3, bias=False), BatchNorm()
        wider = Sequential(Conv(channels, 1, stride=stride, bias=False), BatchNorm()) if stride > 1 else None
        return Residual(*body, shortcut=wider), relu

    stages = [block(channels, stride) for channels in (16, 32, 64) for stride in (1 if channels == 16 else 2, 1, 1)]
    first = Conv(16, 3, bias=False), BatchNorm(), relu
    return Sequential(*first, *(layer for each in stages for layer in each), GlobalAvgPool(), Dense(classes))


def gpt(classes: int, shape: Shape) -> Sequential:
    """A small transformer over tokens, like GPT-2 but for its rotary positions: four blocks of width 128."""
    block = Sequential(
        Residual(LayerNorm(), Attention(4, causal=True, rotary=True)),
        Residual(LayerNorm(), Dense(512), gelu, Dense(128)),
    )
    return Sequential(Tied(Embedding(classes, 128), Repeat(block, 4), LayerNorm()))


def lstm(classes: int, shape: Shape) -> Sequential:
    """One recurrent layer over tokens."""
    return Sequential(Embedding(classes, 64), LSTM(256), Dense(classes))


NETS: dict[str, Callable[[int, Shape], Sequential]] = {
    "lenet": lenet,
    "cnn": cnn,
    "mlp": mlp,
    "resnet": resnet,
    "gpt": gpt,
    "lstm": lstm,
}
TEXT_NETS = ("gpt", "lstm")


COMPUTE_DTYPES = ("float32", "bfloat16")


class Optimizer(NamedTuple):
    """An optimiser: its name in optax, its usual learning rate, and what else it is given."""

    name: str
    learning_rate: float
    decays: bool  # whether the learning rate goes down to 0, along half a cosine, until the last step
    arguments: dict[str, float]


OPTIMIZERS = {
    "adam": Optimizer("adam", 1e-3, True, {}),
    "adamw": Optimizer("adamw", 2e-3, True, {"weight_decay": 1e-2}),
    "momentum": Optimizer("sgd", 1e-2, True, {"momentum": 0.9}),
    "sgd": Optimizer("sgd", 3e-2, False, {}),
}


def optimizer(name: str, learning_rate: float, steps: int) -> Any:
    """The optax transformation for a training of so many steps."""
    import optax

    preset = OPTIMIZERS[name]
    rate = optax.cosine_decay_schedule(learning_rate, steps) if preset.decays else learning_rate
    return getattr(optax, preset.name)(rate, **preset.arguments)


class Recipe(NamedTuple):
    """How a data set is trained on, if nothing else is said."""

    net: str
    epochs: int
    batch_size: int
    optimizer: str
    label_smoothing: float


# Chosen by five-fold cross-validation within the training part of the digits: 99.4 % right (with two poolings 98.7 %,
# without smoothing 99.2 %; random shifts gained nothing). The held-out part had no say.
DIGITS = Recipe("lenet", 40, 32, "adamw", 0.1)
LARGER = Recipe("cnn", 10, 128, "adamw", 0.1)


TEXTS = {"gpt": Recipe("gpt", 8, 8, "adamw", 0.0), "lstm": Recipe("lstm", 20, 8, "adamw", 0.0)}


def recipe(data: str, net: str | None = None) -> Recipe:
    """The recipe for "digits", or for a directory of MNIST's kind; or that of a network for texts."""
    if net in TEXTS:
        return TEXTS[net]
    return DIGITS if data == "digits" else LARGER
