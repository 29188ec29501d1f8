"""A ReLU neuron in numbers: every value, the gradients, the update and the output after it.

    python experiments/sources/relu_neuron.py [--steps 500] [--picture FILE]

Source: 004 ("Artificial Neural Network in Python", chapter 4.1), "Example of backpropagation on a single neuron".
Repeated, the update lowers the output by 0.015 each time, until ReLU's slope is 0 and nothing moves any more. All
numbers are the source's: the seed changes none.
"""

import class_loops
import jax
import jax.numpy as jnp
import numpy as np
from three_ways import Outcome, largest_difference, main, table

import fnnet

X, W, B = [1, -2, 3], [-3, -1, 2], 1


def rule(x, w, b):
    return fnnet.relu(fnnet.dense(x, w[:, None], b[None]))[0]


def plain(x, w, b):
    return jnp.maximum(jnp.sum(x * w) + b, 0)


def gradients(seed):
    values = class_loops.neuron(X, W, B)
    with jax.enable_x64(True):
        arrays = [jnp.asarray(value, float) for value in (X, W, B)]
        return {
            "loops": [np.asarray(values[name], float) for name in ("dx", "dw", "db")],
            "rule": jax.jit(jax.grad(rule, (0, 1, 2)))(*arrays),
            "jax.grad": jax.jit(jax.grad(plain, (0, 1, 2)))(*arrays),
        }


def run(seed: int = 0, picture=None, steps: int = 500) -> Outcome:
    values = class_loops.neuron(X, W, B)
    w, b = class_loops.updated(W, B, values["dw"], values["db"])
    after = class_loops.neuron(X, w, b)
    before = [(name, str(value)) for name, value in values.items()]
    print(table(("value", ""), [*before, ("w after", str(w)), ("b after", str(b)), ("z after", f"{after['z']:.3f}")]))
    if picture is not None:
        draw(picture, descent(steps))
    return Outcome(
        "ReLU neuron", "004", largest_difference(gradients(seed)), f"output 6, after the update {after['z']:.3f}"
    )


def descent(steps):
    """The output before each of so many updates."""
    w, b, found = W, B, []
    for _ in range(steps):
        values = class_loops.neuron(X, w, b)
        found.append(values["output"])
        w, b = class_loops.updated(w, b, values["dw"], values["db"])
    return found


def draw(picture, found):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(found, color="#0072B2")
    axes.set(xlabel="updates", ylabel="output", title="The neuron's output: at 0 its slope is 0, and it stays there")
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(run, __doc__, steps=500)
