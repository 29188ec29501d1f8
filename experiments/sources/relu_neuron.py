"""A ReLU neuron in numbers: every value, the gradients, the update and the output after it.

    python experiments/sources/relu_neuron.py

Source: 004 ("Artificial Neural Network in Python", chapter 4.1), "Example of backpropagation on a single neuron". All
numbers are the source's: the seed changes none, and there is no picture.
"""

import class_loops
import jax.numpy as jnp
import numpy as np
from three_ways import Outcome, gradients_of, largest_difference, main, table

import fnnet

X, W, B = [1, -2, 3], [-3, -1, 2], 1


def rule(arguments):
    x, w, b = arguments
    return fnnet.relu(fnnet.dense(x, w[:, None], b[None]))[0]


def plain(arguments):
    x, w, b = arguments
    return jnp.maximum(jnp.sum(x * w) + b, 0)


def gradients(seed):
    values = class_loops.neuron(X, W, B)
    loops = [np.asarray(values[name], float) for name in ("dx", "dw", "db")]
    return gradients_of(loops, rule, plain, [np.asarray(value, float) for value in (X, W, B)])


def run(seed: int = 0, picture=None) -> Outcome:
    values = class_loops.neuron(X, W, B)
    w, b = class_loops.updated(W, B, values["dw"], values["db"])
    after = class_loops.neuron(X, w, b)
    before = [(name, str(value)) for name, value in values.items()]
    print(table(("value", ""), [*before, ("w after", str(w)), ("b after", str(b)), ("z after", f"{after['z']:.3f}")]))
    return Outcome(
        "ReLU neuron", "004", largest_difference(gradients(seed)), f"output 6, after the update {after['z']:.3f}"
    )


if __name__ == "__main__":
    main(run, __doc__)
