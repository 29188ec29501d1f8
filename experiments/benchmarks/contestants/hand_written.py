"""fnnet: its layers, its losses, its rules."""

import os
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any

import jax

import fnnet
from benchmarks.contestants.jax_programs import Model
from benchmarks.contestants.through_jax import ThroughJax
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
    Relu,
    Residual,
)
from benchmarks.tasks import Convolution, Pooling, flat, nested
from fnnet.core import onednn


def sequential(net: Net) -> fnnet.Sequential:
    """The network as fnnet has it."""
    return _sequential(net.layers)


def _sequential(layers: Iterable[Layer]) -> fnnet.Sequential:
    return fnnet.Sequential(*map(_layer, layers))


def _layer(layer: Layer) -> Any:
    match layer:
        case Conv(features, window, stride, padding, groups, bias):
            return fnnet.Conv(features, window, stride=stride, padding=padding, groups=groups, bias=bias)
        case MaxPool(window, stride, dilation):
            return fnnet.MaxPool(window, stride=stride, dilation=dilation)
        case MeanPool(window):
            return fnnet.AvgPool(window)
        case Dense(features):
            return fnnet.Dense(features)
        case Embedding(rows, features):
            return fnnet.Embedding(rows, features)
        case Attention(heads):
            return fnnet.Attention(heads, causal=True, rotary=True)
        case Residual(body, shortcut):
            return fnnet.Residual(*map(_layer, body), shortcut=_sequential(shortcut) if shortcut else None)
    return OTHERS[layer]


OTHERS: dict[Layer, Any] = {
    Flatten(): fnnet.Flatten(),
    Relu(): fnnet.relu,
    LeakyRelu(): fnnet.leaky_relu,
    Gelu(): fnnet.gelu,
    BatchNorm(): fnnet.BatchNorm(epsilon=EPSILON),
    LayerNorm(): fnnet.LayerNorm(epsilon=EPSILON),
}


def _params(arrays: Mapping[str, Any]) -> Any:
    return jax.tree.map(jax.numpy.asarray, nested(arrays))


class HandWritten(ThroughJax):
    """A `Library`. Where XLA's flags have oneDNN, its forms of convolutions are for oneDNN."""

    def __init__(self) -> None:
        """Before anything is traced."""
        if onednn.FLAGS[0] in os.environ.get("XLA_FLAGS", "") and not fnnet.use_onednn():
            raise RuntimeError(f"jaxlib {version('jaxlib')} cannot call oneDNN here")

    def shapes(self, net: Net) -> dict[str, tuple[int, ...]]:
        """fnnet's own names."""
        params = jax.eval_shape(lambda: sequential(net).init(jax.random.key(0), net.shape))
        return {name: leaf.shape for name, leaf in flat(params).items()}

    def model(self, net: Net, arrays: Mapping[str, Any] | None) -> Model:
        """A network of one example, mapped over the mini-batch; with batch norm a network of the mini-batch."""
        own = sequential(net)
        params = own.init(jax.random.key(0), net.shape) if arrays is None else _params(arrays)

        def logits(params: Any, xs: Any) -> Any:
            if net.of_batch:
                keys = jax.random.split(jax.random.key(0), len(xs))  # there, they say that this is training
                return own.apply_batch(params, xs, keys=keys)[0]
            return jax.vmap(own.apply, (None, 0))(params, xs)

        def loss(params: Any, xs: Any, ys: Any) -> Any:
            rows = logits(params, xs).reshape(ys.size, -1)  # of texts a row for each token
            return fnnet.mean_loss(fnnet.softmax_cross_entropy, rows, ys.reshape(-1))

        def example_loss(params: Any, x: Any, y: Any) -> Any:
            return fnnet.softmax_cross_entropy(own.apply(params, x), y)

        return Model(params, loss, example_loss, logits)

    def rule(self, case: Pooling | Convolution) -> Callable:
        """A function of fnnet."""
        if isinstance(case, Pooling):
            return lambda x: fnnet.max_pool(x, case.window, stride=case.stride, dilation=case.dilation)
        return lambda x, kernel: fnnet.conv(
            x, kernel, stride=case.stride, padding=case.padding, dilation=case.dilation, groups=case.groups
        )

    def train(self, net: Net, arrays: Mapping[str, Any], data: Any, recipe: Any, seed: int, report: Any) -> None:
        """By `fnnet.fit`."""
        import optax

        own = sequential(net)
        own.init(jax.random.key(seed), net.shape)  # as for the others: drawn, then replaced
        fnnet.fit(
            own,
            fnnet.softmax_cross_entropy,
            optax.adam(optax.cosine_decay_schedule(recipe.rate, recipe.steps(len(data.train[0])))),
            data.train,
            key=jax.random.key(seed),
            epochs=recipe.epochs,
            batch_size=recipe.batch,
            params=_params(arrays),
            validation=data.test,
            callback=lambda record, state: report(record["validation_accuracy"]),
            progress=False,
        )


library = HandWritten
