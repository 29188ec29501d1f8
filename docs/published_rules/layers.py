"""Layers of Flax (linen and nnx) and of Equinox, against plain functions where one is short."""

import jax
import jax.numpy as jnp

from published_rules.entry import Entry, normal

X, IMAGE, SEQUENCE = normal(0, 3, 4), normal(1, 2, 5, 5, 4), normal(2, 2, 3, 4)


def linen(name, x=X, *, make=None, reference=None, **settings):
    """A layer of flax.linen as a function of (parameters, x)."""

    def build():
        import flax.linen as layers

        layer = make(layers) if make else getattr(layers, name)(**settings)
        variables = layer.init(jax.random.key(0), x)
        stirred = jax.tree.map(lambda p: p + 0.1 * normal(3, *p.shape), variables)
        return layer.apply, stirred, x

    said = ", ".join(f"{key}={value}" for key, value in settings.items())
    return Entry("flax", f"flax.linen.{name}({said})", build, reference)


def nnx(name, x=X, **settings):
    """A layer of flax.nnx, split into its graph and its parameters."""

    def build():
        from flax import nnx

        layer = getattr(nnx, name)(rngs=nnx.Rngs(0), **settings)
        graph, state = nnx.split(layer)
        leaves, tree = jax.tree.flatten(state)
        parameters = [leaf + 0.1 * normal(3, *leaf.shape) for leaf in leaves]
        return (lambda parameters, x: nnx.merge(graph, jax.tree.unflatten(tree, parameters))(x)), parameters, x

    said = ", ".join(f"{key}={value}" for key, value in settings.items())
    return Entry("flax", f"flax.nnx.{name}({said})", build)


def equinox(name, x, *positional, call=lambda layer, x: layer(x), reference=None, **settings):
    """A layer of Equinox, split into arrays and the rest."""

    def build():
        import equinox

        keyed = (
            {}
            if name in ("LayerNorm", "GroupNorm", "RMSNorm", "MaxPool2d", "AvgPool2d", "PReLU")
            else {"key": jax.random.key(0)}
        )
        layer = getattr(equinox.nn, name)(*positional, **settings, **keyed)
        arrays, rest = equinox.partition(layer, equinox.is_inexact_array)
        leaves, tree = jax.tree.flatten(arrays)
        parameters = [leaf + 0.1 * normal(3, *leaf.shape) for leaf in leaves]
        if not parameters:
            return (lambda x: call(layer, x)), x
        return (lambda p, x: call(equinox.combine(jax.tree.unflatten(tree, p), rest), x)), parameters, x

    return Entry("equinox", f"equinox.nn.{name}({', '.join(map(str, positional))})", build, reference)


def normalised(x, eps, axes=-1):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + eps)


LINEN = [
    linen("Dense", features=3, reference=lambda p, x: x @ p["params"]["kernel"] + p["params"]["bias"]),
    linen("DenseGeneral", SEQUENCE, features=(2, 3)),
    linen("Einsum", X, shape=(4, 2), einsum_str="nd,do->no"),
    linen("Conv", IMAGE, features=3, kernel_size=(3, 3)),
    linen("Conv", IMAGE, features=4, kernel_size=(2, 2), strides=2, feature_group_count=2),
    linen("ConvTranspose", IMAGE, features=3, kernel_size=(3, 3), strides=(2, 2)),
    linen("LayerNorm", reference=lambda p, x: normalised(x, 1e-6) * p["params"]["scale"] + p["params"]["bias"]),
    linen(
        "RMSNorm", reference=lambda p, x: x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * p["params"]["scale"]
    ),
    linen("GroupNorm", IMAGE, num_groups=2),
    linen("InstanceNorm", IMAGE),
    linen("WeightNorm", X, make=lambda nn: nn.WeightNorm(nn.Dense(3))),
    linen("MultiHeadDotProductAttention", SEQUENCE, num_heads=2),
    linen("PReLU", X),
    linen("RNN", SEQUENCE, make=lambda nn: nn.RNN(nn.LSTMCell(3))),
    linen("RNN of GRUCell", SEQUENCE, make=lambda nn: nn.RNN(nn.GRUCell(3))),
]
NNX = [
    nnx("Linear", in_features=4, out_features=3),
    nnx("Conv", IMAGE, in_features=4, out_features=3, kernel_size=(3, 3)),
    nnx("LayerNorm", num_features=4),
    nnx("RMSNorm", num_features=4),
    nnx("GroupNorm", IMAGE, num_features=4, num_groups=2),
    nnx("LoRA", in_features=4, lora_rank=2, out_features=3),
]
EQUINOX = [
    equinox("Linear", normal(0, 4), 4, 3, reference=lambda p, x: p[0] @ x + p[1]),
    equinox("Conv2d", normal(0, 2, 5, 5), 2, 3, 3),
    equinox("ConvTranspose2d", normal(0, 2, 4, 4), 2, 3, 3, stride=2),
    equinox("LayerNorm", normal(0, 4), 4, reference=lambda p, x: normalised(x, 1e-5) * p[0] + p[1]),
    equinox("RMSNorm", normal(0, 4), 4),
    equinox("GroupNorm", normal(0, 4, 3, 3), 2, 4),
    equinox("MaxPool2d", normal(0, 2, 5, 5), 2, 2),
    equinox("AvgPool2d", normal(0, 2, 5, 5), 2, 2),
    equinox("PReLU", normal(0, 4)),
    equinox("MLP", normal(0, 4), 4, 2, 3, 1),
    equinox("MultiheadAttention", normal(0, 3, 4), 2, 4, call=lambda layer, x: layer(x, x, x)),
    equinox("GRUCell", normal(0, 4), 4, 3, call=lambda layer, x: layer(x, jnp.asarray(x[:3]))),
    equinox("LSTMCell", normal(0, 4), 4, 3, call=lambda layer, x: layer(x, (x[:3], x[1:]))),
]
