"""What grad(vmap(loss)) of a dense layer costs with the hand-written rule, over what it costs with autodiff.

    python experiments/dense_under_vmap.py [--repeats N]

Both run in turn in one process; the ratio is of their medians. Run it on a machine that does nothing else.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp

import fnnet

SHAPES = [(128, 784, 512), (512, 2048, 2048)]  # examples, inputs, outputs


def gradient(layer):
    def loss(params, x):
        return jnp.sum(jnp.square(layer(x, *params)))

    return jax.jit(jax.grad(lambda params, xs: jnp.mean(jax.vmap(loss, (None, 0))(params, xs))))


def seconds(step, *args):
    start = time.perf_counter()
    jax.block_until_ready(step(*args))
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=50)
    repeats = parser.parse_args().repeats
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}, medians of {repeats}")
    for examples, inputs, outputs in SHAPES:
        keys = jax.random.split(jax.random.key(0), 2)
        params = (jax.random.normal(keys[0], (inputs, outputs)) / inputs**0.5, jnp.zeros(outputs))
        xs = jax.random.normal(keys[1], (examples, inputs))
        steps = {"rule": gradient(fnnet.dense), "autodiff": gradient(lambda x, kernel, bias: x @ kernel + bias)}
        times = {name: [] for name in steps}
        for _ in range(repeats + 3):
            for name, step in steps.items():
                times[name].append(seconds(step, params, xs))
        medians = {name: 1e3 * statistics.median(values[3:]) for name, values in times.items()}
        ratio = medians["rule"] / medians["autodiff"]
        print(
            f"({examples}, {inputs}, {outputs}): rule {medians['rule']:.2f} ms, autodiff {medians['autodiff']:.2f} ms, "
            f"ratio {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
