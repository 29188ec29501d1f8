"""A dense network trained one example at a time, softmax and half squared errors; and with the mistakes of the notes.

    python experiments/sources/one_at_a_time.py [--epochs 5] [--rate 1.0] [--hidden 32] [--picture FILE]

Source: 000 ("Al Project", first version), whose step 2 propagates the diagonal of the softmax Jacobian alone, runs its
first loop over the layers, leaves out the hidden layers' slope, and changes each bias once for every input. How far
each turns the gradient is told by its angle with the true one, at the first weights, over the training set; what is
reached at one rate depends on the length too, in which they differ by a factor of a thousand.
"""

import functools
from typing import Any

import dense_loops
import jax
import jax.numpy as jnp
import numpy as np
import optax
import printed_rules
from three_ways import Outcome, drawn, gradients_of, largest_difference, main, table, transposed
from training_curves import draw, half_mean_square, lines, train

import fnnet

SIZES = ((6, 5), (5, 4))
LAYERS = 2


def rule(params, x, y):
    hidden = fnnet.sigmoid(fnnet.dense(x, *params[0]))
    return fnnet.squared_error(fnnet.softmax(fnnet.dense(hidden, *params[1])), y) / y.shape[-1]


def plain(params, x, y):
    hidden = 1 / (1 + jnp.exp(-(x @ params[0][0] + params[0][1])))
    e = jnp.exp(hidden @ params[1][0] + params[1][1])
    return 0.5 * jnp.mean((e / e.sum() - y) ** 2)


def gradients(seed):
    rng = np.random.default_rng(seed)
    params, x, y = drawn(rng, SIZES), rng.normal(size=6), np.eye(4)[2]
    kinds = ("sigmoid", "softmax")
    layers = [dense_loops.Layer(kernel.T, bias, kind) for (kernel, bias), kind in zip(params, kinds, strict=True)]
    return gradients_of(transposed(dense_loops.step_2_first(layers, x, y)), rule, plain, params, x, y)


SLOPELESS = printed_rules.passed_on(jax.nn.sigmoid)
DIAGONAL, FEW = printed_rules.softmax_diagonal, functools.partial(printed_rules.softmax_of_few, few=LAYERS)
INSIDE = (printed_rules.bias_inside_loop,)
SYSTEMS: dict[str, Any] = {  # hidden activation, softmax, changes of the gradients
    "true gradient": (fnnet.sigmoid, fnnet.softmax, ()),
    "softmax-diagonal": (fnnet.sigmoid, DIAGONAL, ()),
    "and loop-over-layers": (fnnet.sigmoid, FEW, ()),
    "hidden-slope": (SLOPELESS, fnnet.softmax, ()),
    "bias-inside-loop": (fnnet.sigmoid, fnnet.softmax, INSIDE),
    "as printed": (SLOPELESS, FEW, INSIDE),
}


def network(hidden, activation):
    return fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(hidden), activation, fnnet.Dense(10))


def mean_gradient(name, hidden, seed, data):
    """The mean gradient over the training set at the first weights, as one vector."""
    activation, softmax, changes = SYSTEMS[name]
    net, loss = network(hidden, activation), half_mean_square(softmax)
    params = net.init(jax.random.key(seed), data.train[0].shape[1:])
    outputs = jax.vmap(net.apply, (None, 0))
    bar = jax.jit(jax.grad(lambda params: loss(outputs(params, data.train[0]), data.train[1]).mean()))(params)
    for change in changes:
        bar, _ = change().update(bar, None)
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(bar)])


def angle(ours, theirs):
    cosine = ours @ theirs / (jnp.linalg.norm(ours) * jnp.linalg.norm(theirs))
    return float(jnp.degrees(jnp.arccos(jnp.clip(cosine, -1, 1))))


def run(seed: int = 0, picture=None, epochs: int = 5, rate: float = 1.0, hidden: int = 32) -> Outcome:
    data, curves = fnnet.data.digits(), {}
    true = mean_gradient("true gradient", hidden, seed, data)
    rows = []
    for name, (activation, softmax, changes) in SYSTEMS.items():
        bar = mean_gradient(name, hidden, seed, data)
        rows.append(
            (name, f"{angle(bar, true):.0f} degrees", f"{float(jnp.linalg.norm(bar) / jnp.linalg.norm(true)):.2f}")
        )
        optimizer = optax.chain(*(change() for change in changes), optax.sgd(rate))
        net = network(hidden, activation)
        curves[name] = train(net, half_mean_square(softmax), optimizer, data, seed=seed, epochs=epochs, batch_size=1)
    print(table(("gradient", "angle to the true one", "its length over that of the true one"), rows))
    print(lines(curves))
    draw(picture, curves, f"One digit at a time, rate {rate:g}")
    result = ", ".join(f"{name} {curves[name]}" for name in ("true gradient", "softmax-diagonal", "as printed"))
    return Outcome("one example at a time", "000", largest_difference(gradients(seed)), f"digits: {result}")


if __name__ == "__main__":
    main(run, __doc__, epochs=5, rate=1.0, hidden=32)
