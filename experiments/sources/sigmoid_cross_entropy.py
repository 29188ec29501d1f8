"""Sigmoid with binary cross-entropy: the cancellation a - y, against the pair of derivatives that it is made of.

    python experiments/sources/sigmoid_cross_entropy.py [--epochs 20] [--rate 0.5] [--picture FILE]

Source: 003 ("AI Coffee Club, Backpropagation"), (16) to (19). The gradients are compared on a network of three layers.
In single precision the pair is as exact as a - y until a rounds to 1, and NaN from there on. 64-16-1 learns which
digits are 5 or more, by the same loss both ways, from weights so large that some outputs are saturated at the start.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import sigmoid_loops
from three_ways import Outcome, drawn, gradients_of, largest_difference, main, transposed
from training_curves import lines, train

import fnnet

SIZES = ((6, 5), (5, 4), (4, 2))


def rule(params, x, y):
    for kernel, bias in params[:-1]:
        x = fnnet.sigmoid(fnnet.dense(x, kernel, bias))
    return fnnet.sigmoid_binary_cross_entropy(fnnet.dense(x, *params[-1]), y)


def plain(params, x, y):
    for kernel, bias in params:
        x = 1 / (1 + jnp.exp(-(x @ kernel + bias)))
    return -jnp.sum(y * jnp.log(x) + (1 - y) * jnp.log(1 - x))


def gradients(seed):
    rng = np.random.default_rng(seed)
    params, x, y = drawn(rng, SIZES), rng.normal(size=6), rng.uniform(size=2)
    loops = transposed(sigmoid_loops.cancellation(transposed(params), x, y))
    return gradients_of(loops, rule, plain, params, x, y)


def derivatives(z, y):
    """dC/dz in single precision, by the pair (16) and by (19)."""
    a, targets = np.asarray(fnnet.sigmoid(z)), np.full_like(z, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        pair = sigmoid_loops.unfused(a, targets)
    return pair, np.asarray(jax.grad(lambda z: fnnet.sigmoid_binary_cross_entropy(z, targets))(z))


def one_output(outputs, labels):
    """The logit of "5 or more", and whether it is so."""
    return outputs[..., 1:] - outputs[..., :1], labels[..., None].astype(outputs.dtype)


def fused_loss(outputs, labels):
    return fnnet.sigmoid_binary_cross_entropy(*one_output(outputs, labels))


def pair_loss(outputs, labels):
    logits, targets = one_output(outputs, labels)
    return fnnet.binary_cross_entropy(fnnet.sigmoid(logits), targets)


def run(seed: int = 0, picture=None, epochs: int = 20, rate: float = 0.5) -> Outcome:
    z = np.linspace(-25, 25, 1001, dtype=np.float32)
    found = {y: derivatives(z, y) for y in (0, 1)}
    first = z[np.isnan(found[0][0])][0]
    digits = fnnet.data.digits()
    train_part, test = ((xs, (ys >= 5).astype(np.int32)) for xs, ys in (digits.train, digits.test))
    data = dataclasses.replace(digits, train=train_part, test=test)
    wide = jax.nn.initializers.normal(8.0)
    net = fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(16), fnnet.sigmoid, fnnet.Dense(2, kernel_init=wide))
    curves = {
        name: train(net, loss, optax.sgd(rate), data, seed=seed, epochs=epochs, batch_size=16)
        for name, loss in (("a - y", fused_loss), ("the pair", pair_loss))
    }
    print(lines(curves))
    if picture is not None:
        draw(picture, z, found, first)
    result = f"5 or more: {curves['a - y']} right, by the pair: {curves['the pair']}; NaN from z = {first:.2f} on"
    return Outcome("sigmoid and cross-entropy", "003", largest_difference(gradients(seed)), result)


def draw(picture, z, found, first):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for y, (pair, fused) in found.items():
        axes.plot(z, fused, color="#0072B2", label="a - y (19)" if y else None)
        axes.plot(z, pair, color="#D55E00", linestyle="--", label="the pair (16)" if y else None)
        axes.text(z[0], fused[0] + 0.05, f"target {y}")
    axes.axvspan(first, z[-1], color="#D55E00", alpha=0.15, label="the pair is NaN")
    axes.set(xlabel="logit z", ylabel="dC/dz", title="The derivative in single precision")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(run, __doc__, epochs=20, rate=0.5)
