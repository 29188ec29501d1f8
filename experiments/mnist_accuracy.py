"""What the networks reach on MNIST: a small convolutional one, and a dense one with two losses.

    python experiments/mnist_accuracy.py DIRECTORY [--systems cnn mlp-cross-entropy mlp-squared-error] [--seeds 0 1 2]
        [--compute-dtypes float32 bfloat16]

DIRECTORY holds MNIST's four IDX files: fnnet.data.fetch("mnist", DIRECTORY) brings them. The dense network is
784-512-10 with leaky ReLU and softmax, plain SGD at rate 0.03, batch 64, 11 epochs: the setting of source 001's author.
"""

import argparse
import functools
import itertools
import statistics

import jax
import jax.numpy as jnp
import optax

import fnnet
from fnnet.cli import presets


def squared_error_of_softmax(logits, labels):
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return fnnet.squared_error(fnnet.softmax(logits), targets) / logits.shape[-1]


def summed_squared_error_of_softmax(logits, labels):
    return logits.shape[-1] * squared_error_of_softmax(logits, labels)


SYSTEMS = {  # network, loss, epochs, batch size, optimiser of the number of steps
    "cnn": (
        presets.cnn,
        functools.partial(fnnet.softmax_cross_entropy, label_smoothing=0.1),
        10,
        128,
        lambda steps: presets.optimizer("adamw", 2e-3, steps),
    ),
    "mlp-cross-entropy": (presets.mlp, fnnet.softmax_cross_entropy, 11, 64, lambda steps: optax.sgd(0.03)),
    "mlp-squared-error": (presets.mlp, summed_squared_error_of_softmax, 11, 64, lambda steps: optax.sgd(0.03)),
    "mlp-mean-squared-error": (presets.mlp, squared_error_of_softmax, 11, 64, lambda steps: optax.sgd(0.03)),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--compute-dtypes", nargs="+", choices=presets.COMPUTE_DTYPES, default=["float32"])
    parser.add_argument("--epochs", type=int, help="instead of the system's own number")
    arguments = parser.parse_args()
    data = fnnet.data.load(arguments.directory)
    examples, shape = len(data.train[0]), data.train[0].shape[1:]
    for name, dtype in itertools.product(arguments.systems, arguments.compute_dtypes):
        make, loss, epochs, batch_size, optimizer = SYSTEMS[name]
        epochs = arguments.epochs or epochs
        net = fnnet.Sequential(*make(len(data.classes), shape).layers, compute_dtype=dtype)
        curves = []
        for seed in arguments.seeds:
            _, history = fnnet.fit(
                net,
                loss,
                optimizer(epochs * (examples // batch_size)),
                data.train,
                key=jax.random.key(seed),
                epochs=epochs,
                batch_size=batch_size,
                validation=data.test,
            )
            curves.append([100 * record["validation_accuracy"] for record in history])
            seconds = statistics.median(record["seconds"] for record in history)
            right = " ".join(f"{a:.2f}" for a in curves[-1])
            print(f"{name}, {dtype}, seed {seed}: {right} % right; {seconds:.1f} s an epoch", flush=True)
        medians = jnp.median(jnp.array(curves), axis=0)
        print(f"{name}, {dtype}, median by epoch: {' '.join(f'{a:.2f}' for a in medians)} %", flush=True)


if __name__ == "__main__":
    main()
