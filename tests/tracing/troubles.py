"""Fifteen ways for a network not to learn, each planted alone, and what `first_problem` must call it."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fnnet


class Planted(NamedTuple):
    """A trouble.

    Args:
        make: make() -> the arguments of `fnnet.trace`, and its keywords.
        layer: The layer that is to be named.
        kind: The problem's kind.
        words: What its sentence must say.
    """

    make: Callable[[], tuple[tuple, dict]]
    layer: str
    kind: str
    words: str


def batch(examples=16, features=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(examples, features)).astype(np.float32), rng.integers(0, classes, examples)


def multilayer(*activations, features=6, width=12, classes=3, seed=0, dtype=jnp.float32):
    layers = [layer for activation in activations for layer in (fnnet.Dense(width), activation)]
    net = fnnet.Sequential(*layers, fnnet.Dense(classes))
    return net, net.init(jax.random.key(seed), (features,), dtype)


def changed(params, layer, entry, by):
    """The parameters with `by` in the place of one array, or by(array)."""
    own = params[layer]
    return params | {layer: own | {entry: by(own[entry]) if callable(by) else by}}


def dead_relu():
    net, params = multilayer(fnnet.relu, fnnet.relu)
    return (net, fnnet.softmax_cross_entropy, changed(params, "dense_2", "bias", lambda b: b - 50.0), *batch()), {}


def saturation():
    net, params = multilayer(fnnet.sigmoid, fnnet.sigmoid)
    return (net, fnnet.softmax_cross_entropy, changed(params, "dense_0", "kernel", lambda k: 60 * k), *batch()), {}


def exploding_depth():
    net, params = multilayer(*[fnnet.relu] * 8)
    params = jax.tree.map(lambda leaf: 8 * leaf, params)
    return (net, fnnet.squared_error, params, batch()[0], np.zeros((16, 3), np.float32)), {}


def zero_initialisation():
    net, params = multilayer(fnnet.relu, fnnet.relu)
    return (net, fnnet.softmax_cross_entropy, jax.tree.map(jnp.zeros_like, params), *batch()), {}


def sigmoid_fwd(z):
    y = jax.nn.sigmoid(z)
    return y, y


def sigmoid_bwd(y, y_bar):
    return (y_bar * y,)  # 1 - y is lost


def wrong_rule():
    net, params = multilayer(fnnet.relu, fnnet.rule(sigmoid_fwd, sigmoid_bwd, batched=("z",)))
    return (net, fnnet.softmax_cross_entropy, params, *batch()), {}


def nan_in_data():
    net, params = multilayer(fnnet.relu)
    x, y = batch()
    x[3, 2] = np.nan
    return (net, fnnet.softmax_cross_entropy, params, x, y), {}


def labels_off_by_one():
    net, params = multilayer(fnnet.relu)
    x, y = batch()
    return (net, fnnet.softmax_cross_entropy, params, x, y + 1), {}


def learning_rate_too_large():
    net, params = multilayer(fnnet.relu)
    return (net, fnnet.softmax_cross_entropy, params, *batch()), {"optimizer": optax.sgd(100.0)}


def dense_fwd(x, kernel, bias):
    return x @ kernel + bias, (x, kernel)


def dense_bwd(kept, y_bar):
    x, kernel = kept
    kernel_bar = jnp.tensordot(x, y_bar, (tuple(range(x.ndim - 1)),) * 2)
    return y_bar @ kernel.T, kernel_bar, jnp.zeros(kernel.shape[-1], kernel.dtype)


def forgotten_bias_gradient():
    net, params = multilayer(fnnet.relu, fnnet.relu)
    own = fnnet.rule(dense_fwd, dense_bwd, batched=("x",))
    return (net, fnnet.softmax_cross_entropy, params, *batch()), {"replace": {"dense_2": own}}


def bf16_underflow():
    """A loss so small that its gradient, passed back through sigmoids, is below what bf16 can tell from 0."""
    net, params = multilayer(*[fnnet.sigmoid] * 3, dtype=jnp.bfloat16)
    x, y = batch()

    def scaled(logits, labels):
        return fnnet.softmax_cross_entropy(logits, labels) * jnp.asarray(2e-37, logits.dtype)

    return (net, scaled, params, jnp.asarray(x, jnp.bfloat16), y), {}


def bf16_update_lost():
    """A step that is smaller than half a unit in the last place of each weight."""
    net, params = multilayer(fnnet.relu, dtype=jnp.bfloat16)
    x, y = batch()
    return (net, fnnet.softmax_cross_entropy, params, jnp.asarray(x, jnp.bfloat16), y), {"optimizer": optax.sgd(1e-5)}


def labels_shifted():
    """Labels 0 to 8 have become 1 to 9: each is a class, and the network knows better."""
    net = fnnet.Sequential(fnnet.Dense(10))
    params = {"dense_0": {"kernel": 5 * jnp.eye(10), "bias": jnp.zeros(10)}}
    labels = np.arange(18) % 9
    return (net, fnnet.softmax_cross_entropy, params, np.eye(10, dtype=np.float32)[labels], labels + 1), {}


def one_hot_attention():
    """Kernels of queries and keys that are far too large; rotary, so that equal tokens do not share a row's weight."""
    net, params = reader(fnnet.Attention(2, causal=True, rotary=True))
    for name in ("query_kernel", "key_kernel"):
        params = changed(params, "attention_1", name, lambda kernel: 60 * kernel)
    return (net, mean_of_tokens, params, *windows()), {}


def one_hot_attention_of_numbers():
    (net, _, params, x, y), keywords = one_hot_attention()
    targets = np.random.default_rng(2).normal(size=(*y.shape, TOKENS)).astype(np.float32)
    return (net, lambda z, t: fnnet.squared_error(z, t).sum(-1), params, x, targets), keywords


TOKENS = 12


def mean_of_tokens(logits, labels):
    return fnnet.softmax_cross_entropy(logits, labels).mean(-1)


def windows(examples=4, length=10, seed=0):
    """Windows of a text, and the tokens that follow."""
    text = np.random.default_rng(seed).integers(0, TOKENS, (examples, length + 1))
    return text[:, :-1], text[:, 1:]


def reader(*layers, features=8, seed=0):
    """A network of tokens, and its parameters."""
    net = fnnet.Sequential(fnnet.Embedding(TOKENS, features), *layers, fnnet.Dense(TOKENS))
    return net, net.init(jax.random.key(seed), (10,))


def next_token_seen():
    block = fnnet.Residual(fnnet.LayerNorm(), fnnet.Attention(2))
    return (*leaky(block), *windows()), {}


def leaky(*layers):
    net, params = reader(fnnet.Attention(2, causal=True), *layers)
    return net, mean_of_tokens, params


def next_token_seen_in_reverse():
    return (*leaky(fnnet.LSTM(8, reverse=True)), *windows()), {}


def next_token_seen_by_a_norm():
    return (*leaky(fnnet.GroupNorm(2)), *windows()), {}


def next_token_seen_in_padded():
    net = fnnet.Sequential(
        fnnet.Padded(fnnet.Sequential(fnnet.Embedding(TOKENS, 8), fnnet.Attention(2))), fnnet.Dense(12)
    )
    return (net, mean_of_tokens, net.init(jax.random.key(0), (10,)), *windows()), {}


def filled_up(examples=4, length=10):
    """Sentences of different lengths, filled up with 0; and a label for each token, 0 where it is padding."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, TOKENS, (examples, length))
    x[np.arange(length) >= rng.permutation(length)[:examples, None] + 1] = 0
    return x, np.where(x == 0, 0, (x * 5) % TOKENS)


def tagged(layer):
    """A network that names each token, from both sides, whose loss leaves the padding out."""
    net, params = reader(layer)
    return net, functools.partial(fnnet.softmax_cross_entropy, ignore_index=0), params


def padding_counts():
    return (*tagged(fnnet.Attention(2)), *filled_up()), {}


def padding_counts_in_reverse():
    return (*tagged(fnnet.GRU(8, reverse=True)), *filled_up()), {}


def normalised(image, **options):
    layers = (fnnet.Conv(4, 3), fnnet.BatchNorm(), fnnet.relu, fnnet.GlobalAvgPool()) if image else ()
    layers = layers or (fnnet.Dense(8), fnnet.BatchNorm(), fnnet.relu)
    net, shape = fnnet.Sequential(*layers, fnnet.Dense(3)), (6, 6, 1) if image else (6,)
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    return (net, fnnet.softmax_cross_entropy, net.init(jax.random.key(0), shape), x, np.array([1])), options


def batch_of_one():
    return normalised(False, key=jax.random.key(1))


def batch_of_one_image():
    return normalised(True, key=jax.random.key(1))


def exploding_recurrence(kind=fnnet.LSTM):
    net, params = reader(kind(16))
    params = changed(params, f"{kind.__name__.lower()}_1", "recurrent_kernel", lambda k: 8 * k)
    return (net, mean_of_tokens, params, *windows(length=60)), {}


def exploding_gru():
    return exploding_recurrence(fnnet.GRU)


def embedding_of(x, labels=None):
    """Rows of a table of 20, averaged; the labels are drawn."""
    net = fnnet.Sequential(fnnet.Embedding(20, 8), fnnet.GlobalAvgPool(), fnnet.Dense(3))
    labels = np.random.default_rng(1).integers(0, 3, len(x)) if labels is None else labels
    return (net, fnnet.softmax_cross_entropy, net.init(jax.random.key(0), x.shape[1:]), x, labels), {}


def tokens_cast_from_floats():
    return embedding_of(np.random.default_rng(0).random((16, 5)).astype(np.int32))


def tokens_rounded_from_floats():
    return embedding_of((1.1 * np.random.default_rng(0).random((16, 20))).astype(np.int32))


def tokens_are_positions():
    return embedding_of(np.tile(np.arange(5), (16, 1)))


def tokens_without_a_row():
    return embedding_of(np.random.default_rng(0).integers(1, 21, (16, 5)))


def table_without_a_gradient():
    args, keywords = next_token_seen()
    net = fnnet.Sequential(fnnet.Embedding(TOKENS, 8), jax.lax.stop_gradient, fnnet.Dense(TOKENS))
    return (net, args[1], net.init(jax.random.key(0), (10,)), *args[3:]), keywords


PLANTED = {
    "dead ReLU": Planted(dead_relu, "relu_3", "dead ReLU", "100 % of its units"),
    "saturation": Planted(saturation, "sigmoid_1", "saturation", "saturated sigmoid"),
    "exploding depth": Planted(exploding_depth, "", "exploding", "draw smaller weights"),
    "zero initialisation": Planted(zero_initialisation, "dense_4", "zero weights", "every weight of its kernel is 0"),
    "wrong rule": Planted(wrong_rule, "sigmoid_3", "wrong rule", "disagrees with autodiff"),
    "NaN in data": Planted(nan_in_data, "loss", "not finite", "x already has 1 NaN of 96 entries, first in example 3"),
    "label off by one": Planted(labels_off_by_one, "loss", "labels", "run from 1 to 3, one off"),
    "learning rate too large": Planted(learning_rate_too_large, "dense_2", "update too large", "rate too large"),
    "forgotten bias gradient": Planted(forgotten_bias_gradient, "dense_2", "wrong rule", "gradient of bias disagrees"),
    "bf16 underflow": Planted(bf16_underflow, "", "underflow", "underflows in bfloat16"),
    "bf16 update lost": Planted(bf16_update_lost, "dense_2", "update lost", "lost in bfloat16"),
    "labels one off, all of them classes": Planted(labels_shifted, "loss", "labels", "labels off by one"),
    "next token seen": Planted(next_token_seen, "residual_2/attention_1", "leak", "with the tokens after it"),
    "next token seen in reverse": Planted(next_token_seen_in_reverse, "lstm_2", "leak", "use reverse=False"),
    "next token seen by a norm": Planted(next_token_seen_by_a_norm, "group_norm_2", "leak", "see earlier tokens alone"),
    "next token seen in Padded": Planted(next_token_seen_in_padded, "padded_0", "leak", "Attention(..., causal=True)"),
    "padding counts": Planted(padding_counts, "attention_1", "padding", "use fnnet.Padded(net, index=0)"),
    "padding counts in reverse": Planted(padding_counts_in_reverse, "gru_1", "padding", "token 0 only fills"),
    "batch of one": Planted(batch_of_one, "batch_norm_1", "batch of one", "no gradient passes"),
    "batch of one image": Planted(batch_of_one_image, "batch_norm_1", "batch of one", "normalised by itself"),
    "exploding recurrence": Planted(exploding_recurrence, "lstm_1", "exploding recurrence", "times a step"),
    "exploding GRU": Planted(exploding_gru, "gru_1", "exploding recurrence", "going back over 60 steps"),
    "saturated attention": Planted(one_hot_attention, "attention_1", "saturated attention", "one weight is above 0.99"),
    "saturated attention, no classes": Planted(
        one_hot_attention_of_numbers, "attention_1", "saturated attention", "queries and keys get nearly no gradient"
    ),
    "embedding never touched": Planted(tokens_cast_from_floats, "embedding_0", "tokens", "for start tokens alone"),
    "tokens of rounded floats": Planted(tokens_rounded_from_floats, "embedding_0", "tokens", "2 of 20 rows learn"),
    "tokens are positions": Planted(tokens_are_positions, "embedding_0", "tokens", "though their labels differ"),
    "tokens without a row": Planted(tokens_without_a_row, "embedding_0", "tokens", "such as 20, which makes"),
    "table without a gradient": Planted(table_without_a_gradient, "stop_gradient_1", "zero gradient", "none goes out"),
}  # fmt: skip
TROUBLES = (  # the others are variants of them
    *("dead ReLU", "saturation", "exploding depth", "zero initialisation", "wrong rule", "NaN in data"),
    *("label off by one", "learning rate too large", "forgotten bias gradient", "bf16 underflow"),
    *("next token seen", "padding counts", "batch of one", "exploding recurrence", "embedding never touched"),
    "saturated attention",
)
