"""Categorical cross-entropy of three layers, the softmax Jacobian of each sample, integer and one-hot labels.

    python experiments/sources/categorical_cross_entropy.py [--epochs 10] [--rate 0.1] [--batch 16] [--picture FILE]

Source: 004 ("Artificial Neural Network in Python", chapter 4.1), the loss of "The chain rule" (two ReLU layers and a
softmax) and the two `backward` methods. The mean over the samples is differentiated by their code, by the fused rule
and by jax.grad, each with both kinds of labels; 64-32-32-10 is trained by the fused rule and by the pair of rules.
"""

import class_loops
import jax.numpy as jnp
import numpy as np
import optax
from three_ways import Outcome, drawn, gradients_of, largest_difference, main
from training_curves import draw, lines, train

import fnnet

SIZES = ((6, 5), (5, 4), (4, 3))
SAMPLES = 4


def loops(params, xs, labels):
    """By the code of the source; dense and ReLU as in its neuron."""
    inputs, a = [], xs
    for number, (kernel, bias) in enumerate(params):
        inputs.append(a)
        z = a @ kernel + bias
        a = class_loops.softmax(z) if number == len(params) - 1 else np.maximum(z, 0)
    z_bar = class_loops.softmax_backward(a, class_loops.cross_entropy_backward(a, labels))
    found = []
    for (kernel, _), x in zip(reversed(params), reversed(inputs), strict=True):
        found.append((x.T @ z_bar, z_bar.sum(0)))
        z_bar = z_bar @ kernel.T * (x > 0)  # `1. if z > 0 else 0.`
    return found[::-1]


def rule(params, xs, labels):
    for kernel, bias in params[:-1]:
        xs = fnnet.relu(fnnet.dense(xs, kernel, bias))
    return fnnet.softmax_cross_entropy(fnnet.dense(xs, *params[-1]), labels).mean()


def plain(params, xs, labels):
    for kernel, bias in params[:-1]:
        xs = jnp.maximum(xs @ kernel + bias, 0)
    e = jnp.exp(xs @ params[-1][0] + params[-1][1])
    targets = jnp.eye(e.shape[-1])[labels] if labels.ndim == 1 else labels
    return -jnp.sum(targets * jnp.log(e / e.sum(-1, keepdims=True))) / len(xs)


def gradients(seed):
    rng = np.random.default_rng(seed)
    params = drawn(rng, SIZES)
    xs, integers = rng.normal(size=(SAMPLES, 6)), rng.integers(0, 3, SAMPLES)
    found = {}
    for kind, labels in (("integers", integers), ("one-hot", np.eye(3)[integers])):
        ways = gradients_of(loops(params, xs, labels), rule, plain, params, xs, labels)
        found |= {f"{way}, {kind}": gradient for way, gradient in ways.items()}
    return found


def pair(outputs, labels):
    return fnnet.cross_entropy(fnnet.softmax(outputs), labels)


def run(seed: int = 0, picture=None, epochs: int = 10, rate: float = 0.1, batch: int = 16) -> Outcome:
    data, curves = fnnet.data.digits(), {}
    hidden = (fnnet.Dense(32), fnnet.relu, fnnet.Dense(32), fnnet.relu)
    net = fnnet.Sequential(fnnet.Flatten(), *hidden, fnnet.Dense(10))
    for name, loss in (("fused", fnnet.softmax_cross_entropy), ("softmax, then the loss", pair)):
        curves[name] = train(net, loss, optax.sgd(rate), data, seed=seed, epochs=epochs, batch_size=batch)
    print(lines(curves))
    draw(picture, curves, "Three dense layers on the digits")
    result = f"digits {curves['fused']} right, by softmax and loss apart {curves['softmax, then the loss']}"
    return Outcome("categorical cross-entropy", "004", largest_difference(gradients(seed)), result)


if __name__ == "__main__":
    main(run, __doc__, epochs=10, rate=0.1, batch=16)
