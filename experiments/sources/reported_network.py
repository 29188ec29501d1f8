"""784-512-10, leaky ReLU and softmax, on MNIST: true gradient, the notes' pseudo-code as printed, cross-entropy.

    python experiments/sources/reported_network.py --data DIR [--epochs 11] [--rate 0.03] [--batch 64] [--picture FILE]

The network that the author of 000 and 001 ("Al Project") reports elsewhere, with 87 % right: loss 1/n_L times the sum
of half the squared errors, batches of 64, rate 0.03, 11 epochs. DIR has MNIST's four IDX files; without it, it is the
digits, with 64 inputs. The gradients are compared on 12-7-5 and a batch of 4. "As printed" means what runs of the
pseudo-code of step 2, its indices mended where it would stop:

    001    mini-batches: only the weights from the first 64 inputs learn, and each bias 64 times as fast
    000    the mean over the batch of its one example: the softmax's diagonal, multiplied for the first two outputs
           alone, no slope of the hidden layer, each bias once for every input
"""

import functools

import dense_loops
import jax.numpy as jnp
import numpy as np
import optax
import printed_rules
from three_ways import Outcome, drawn, gradients_of, largest_difference, main, mean, transposed
from training_curves import draw, half_mean_square, lines, train

import fnnet

SIZES = ((12, 7), (7, 5))
BATCH = 4


def cost(hidden, softmax, params, x, y):
    a = hidden(fnnet.dense(x, *params[0]))
    return fnnet.squared_error(softmax(fnnet.dense(a, *params[1])), y) / y.shape[-1]


def plain(params, x, y):
    z = x @ params[0][0] + params[0][1]
    e = jnp.exp(jnp.where(z > 0, z, 0.01 * z) @ params[1][0] + params[1][1])
    return 0.5 * jnp.mean((e / e.sum() - y) ** 2)


def example(seed):
    rng = np.random.default_rng(seed)
    return drawn(rng, SIZES), rng.normal(size=(BATCH, SIZES[0][0])), np.eye(SIZES[-1][1])[rng.integers(0, 5, BATCH)]


def layers_of(params):
    kinds = ("leaky_relu", "softmax")
    return [dense_loops.Layer(kernel.T, bias, kind) for (kernel, bias), kind in zip(params, kinds, strict=True)]


def gradients(seed):
    params, xs, ys = example(seed)
    loops = transposed(dense_loops.step_2_batch(layers_of(params), xs, ys))
    rule = functools.partial(cost, fnnet.leaky_relu, fnnet.softmax)
    return gradients_of(loops, mean(rule), mean(plain), params, xs, ys)


SLOPELESS = printed_rules.passed_on(fnnet.leaky_relu)
FEW = functools.partial(printed_rules.softmax_of_few, few=len(SIZES))


def systems(batch):
    """Hidden activation, loss, changes of the gradients."""
    every_input, as_the_batch = printed_rules.bias_inside_loop(), printed_rules.bias_inside_loop(batch)
    few_columns, true = printed_rules.columns_by_batch(batch), half_mean_square(fnnet.softmax)
    return {
        "true gradient": (fnnet.leaky_relu, true, []),
        "001 as printed": (fnnet.leaky_relu, true, [as_the_batch, few_columns]),
        "000 as printed": (SLOPELESS, half_mean_square(FEW), [every_input]),
        "softmax-diagonal alone": (fnnet.leaky_relu, half_mean_square(printed_rules.softmax_diagonal), []),
        "bias-inside-loop alone": (fnnet.leaky_relu, true, [every_input]),
        "cross-entropy": (fnnet.leaky_relu, fnnet.softmax_cross_entropy, []),
    }


def run(
    seed: int = 0, picture=None, data=None, epochs: int = 11, rate: float = 0.03, batch: int = 64, hidden: int = 512
) -> Outcome:
    images, curves = fnnet.data.load(data or "digits"), {}
    for name, (activation, loss, changes) in systems(batch).items():
        net = fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(hidden), activation, fnnet.Dense(len(images.classes)))
        optimizer = optax.chain(*changes, optax.sgd(rate))
        curves[name] = train(net, loss, optimizer, images, seed=seed, epochs=epochs, batch_size=batch)
        print(lines({name: curves[name]}), flush=True)
    draw(picture, curves, f"The reported network on {images.name}, rate {rate:g}")
    shown = "true gradient", "001 as printed", "000 as printed", "cross-entropy"
    result = f"{images.name}: {', '.join(f'{name} {curves[name]}' for name in shown)}"
    return Outcome("the reported network", "000, 001", largest_difference(gradients(seed)), result)


if __name__ == "__main__":
    main(run, __doc__, data=None, epochs=11, rate=0.03, batch=64, hidden=512)
