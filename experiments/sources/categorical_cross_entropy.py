"""Categorical cross-entropy of three layers, the softmax Jacobian of each sample, integer and one-hot labels.

    python experiments/sources/categorical_cross_entropy.py [--epochs 10] [--rate 0.1] [--batch 16] [--picture FILE]

Source: 004 ("Artificial Neural Network in Python", chapter 4.1), the loss of "The chain rule" (two ReLU layers and a
softmax) and the two `backward` methods. The mean over the samples is differentiated by their code, by the fused rule
and by jax.grad, each with both kinds of labels; 64-32-32-10 is trained by the fused rule and by the pair of rules.
"""

import class_loops
import jax
import jax.numpy as jnp
import numpy as np
import optax
from three_ways import Outcome, largest_difference, main
from training_curves import lines, train

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
    params = [(rng.normal(size=size), rng.normal(size=size[1])) for size in SIZES]
    xs, integers = rng.normal(size=(SAMPLES, 6)), rng.integers(0, 3, SAMPLES)
    found = {}
    with jax.enable_x64(True):
        for kind, labels in (("integers", integers), ("one-hot", np.eye(3)[integers])):
            found[f"loops, {kind}"] = loops(params, xs, labels)
            found[f"rule, {kind}"] = jax.jit(jax.grad(rule))(params, xs, labels)
            found[f"jax.grad, {kind}"] = jax.jit(jax.grad(plain))(params, xs, labels)
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
    if picture is not None:
        draw_jacobians(picture, np.random.default_rng(seed).normal(size=(SAMPLES, 10)) * np.arange(1, 5)[:, None])
    result = f"digits {curves['fused']} right, by softmax and loss apart {curves['softmax, then the loss']}"
    return Outcome("categorical cross-entropy", "004", largest_difference(gradients(seed)), result)


def draw_jacobians(picture, logits):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    figure.suptitle("The softmax Jacobian of four samples, their logits drawn wider from left to right")
    for axes, p in zip(figure.subplots(1, SAMPLES), class_loops.softmax(logits), strict=True):
        image = axes.imshow(np.diagflat(p) - np.outer(p, p), cmap="RdBu_r", vmin=-0.25, vmax=0.25)
        axes.set(title=f"largest probability {p.max():.2f}", xlabel="by logit k", xticks=[], yticks=[])
        axes.set_ylabel("of probability j")
    figure.colorbar(image, ax=figure.axes, shrink=0.7)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(run, __doc__, epochs=10, rate=0.1, batch=16)
