"""A fresh process: train the cnn on MNIST until it is right often enough, printing the accuracy after each epoch.

All contestants start from the same parameters, and take Adam, its rate along half a cosine, and mini-batches of
one size; each draws its order anew every epoch, and tests on all test images after it. fnnet trains by `fnnet.fit`, the
others by the loop that their users write, at its best: data on the device, mini-batches taken out within the jitted
step, its state donated.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contestants import load
from benchmarks.nets import NETS


@dataclass(frozen=True)
class Recipe:
    """How all are trained."""

    target: float = 0.99
    epochs: int = 4
    batch: int = 128
    rate: float = 2e-3

    def steps(self, examples: int) -> int:
        """In all epochs; after the last the learning rate is 0."""
        return self.epochs * (examples // self.batch)

    def batches(self, order: np.random.Generator, examples: int) -> Iterator[np.ndarray]:
        """The rows of each mini-batch of an epoch; the leftovers are dropped."""
        rows = order.permutation(examples)
        steps = examples // self.batch
        yield from rows[: steps * self.batch].reshape(steps, self.batch)

    def parts(self, examples: int, size: int = 1000) -> list[slice]:
        """The test images, in parts."""
        return [slice(start, min(start + size, examples)) for start in range(0, examples, size)]


@dataclass(frozen=True)
class Data:
    """Images channels last and labels, to train and to test."""

    train: tuple[Any, Any]
    test: tuple[Any, Any]


def save(file: Path, train: tuple, test: tuple) -> None:
    """For `read`, in another process: reading costs all contestants the same."""
    np.savez(file, *train, *test)


def read(file: Path) -> Data:
    with np.load(file) as arrays:
        xs, ys, test_xs, test_ys = arrays.values()
    return Data((xs, ys), (test_xs, test_ys))


def main() -> None:
    contestant, data, arrays, seed = sys.argv[1:]
    recipe = Recipe()

    def report(accuracy: float) -> bool:
        print(f"mark {accuracy}", flush=True)
        return accuracy >= recipe.target

    library = load(contestant)
    with np.load(arrays) as own:
        library.train(NETS["cnn"], dict(own), read(Path(data)), recipe, int(seed), report)


if __name__ == "__main__":
    main()
