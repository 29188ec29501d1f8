"""A sigmoid network with half the summed squared error, by its recursion in dC/dz; and with the slope's printed sign.

    python experiments/sources/sigmoid_recursion.py [--epochs 10] [--rate 1.0] [--batch 8] [--picture FILE]

Source: 002 ("AI lmao"). The gradients are compared on a network of four layers; 64-32-10 is trained on the digits. With
the printed sign the last layer climbs its cost, whatever the layer before it does.
"""

import jax.numpy as jnp
import numpy as np
import optax
import printed_rules
import sigmoid_loops
from three_ways import Outcome, drawn, gradients_of, largest_difference, main, transposed
from training_curves import draw, lines, one_hot, train

import fnnet

SIZES = ((6, 5), (5, 4), (4, 3))


def rule(params, x, y):
    for kernel, bias in params:
        x = fnnet.sigmoid(fnnet.dense(x, kernel, bias))
    return fnnet.squared_error(x, y)


def plain(params, x, y):
    for kernel, bias in params:
        x = 1 / (1 + jnp.exp(-(x @ kernel + bias)))
    return 0.5 * jnp.sum((y - x) ** 2)


def gradients(seed):
    rng = np.random.default_rng(seed)
    params, x, y = drawn(rng, SIZES), rng.normal(size=6), rng.uniform(size=3)
    loops = transposed(sigmoid_loops.recursion(transposed(params), x, y))
    return gradients_of(loops, rule, plain, params, x, y)


def loss(outputs, labels):
    return fnnet.squared_error(outputs, one_hot(labels, outputs))


def run(seed: int = 0, picture=None, epochs: int = 10, rate: float = 1.0, batch: int = 8) -> Outcome:
    data, curves = fnnet.data.digits(), {}
    for name, activation in (("the gradient", fnnet.sigmoid), ("printed sign", printed_rules.sigmoid_negative)):
        net = fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(32), activation, fnnet.Dense(10), activation)
        curves[name] = train(net, loss, optax.sgd(rate), data, seed=seed, epochs=epochs, batch_size=batch)
    print(lines(curves))
    draw(picture, curves, "A sigmoid network on the digits")
    result = f"digits {curves['the gradient']} right, with the printed sign {curves['printed sign']}"
    return Outcome("sigmoid network, recursion", "002", largest_difference(gradients(seed)), result)


if __name__ == "__main__":
    main(run, __doc__, epochs=10, rate=1.0, batch=8)
