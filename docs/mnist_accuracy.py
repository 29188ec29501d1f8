"""What a convolutional and a dense network reach on MNIST, for each seed and compute dtype.

    python docs/mnist_accuracy.py DIRECTORY [--systems cnn mlp] [--seeds 0 1 2] [--compute-dtypes float32 bfloat16]

DIRECTORY holds MNIST's four IDX files: fnnet.data.fetch("mnist", DIRECTORY) brings them. The dense network is
784-512-10 with leaky ReLU and softmax, trained by SGD at rate 0.03.
"""

import argparse
import functools
import itertools
import statistics

import jax
import numpy as np
import optax

import fnnet
from fnnet.cli import presets

SYSTEMS = {  # network, loss, epochs, batch size, optimiser for a number of steps
    "cnn": (
        presets.cnn,
        functools.partial(fnnet.softmax_cross_entropy, label_smoothing=0.1),
        10,
        128,
        lambda steps: presets.optimizer({"optimizer": "adamw", "learning_rate": 2e-3}, steps),
    ),
    "mlp": (presets.mlp, fnnet.softmax_cross_entropy, 11, 64, lambda steps: optax.sgd(0.03)),
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
        medians = np.median(curves, axis=0)
        print(f"{name}, {dtype}, median by epoch: {' '.join(f'{a:.2f}' for a in medians)} %", flush=True)


if __name__ == "__main__":
    main()
