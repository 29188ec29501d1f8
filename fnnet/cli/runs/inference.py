"""What a trained network answers: its scores on held-out examples, and the classes of an image file."""

from typing import Any

import numpy as np

from fnnet.cli.runs.directory import Run
from fnnet.data.image_files import read_image
from fnnet.serving import Exported
from fnnet.training.fitting import evaluate


def classify(network: Run | Exported, file: str) -> list[tuple[str, float]]:
    """All classes with their probabilities for an image file, the most probable first."""
    chances = np.asarray(network(read_image(file, network.shape)[None])[0])
    if chances.shape != (len(network.classes),):
        raise ValueError(f"predict: the network gives {chances.shape} numbers for {len(network.classes)} classes")
    return [(network.classes[place], float(chances[place])) for place in np.argsort(-chances, kind="stable")]


def held_out(run: Run, source: str | None) -> tuple[Any, Any]:
    """The held-out examples of `source`, or else of the data of the training, and their labels."""
    nonfinite = bool(run.config.get("allow_nonfinite"))
    return run.subject.load(run.config["data"] if source is None else source, allow_nonfinite=nonfinite).test


def score(run: Run, source: str | None) -> tuple[dict[str, float], int]:
    """Loss and accuracy on the held-out examples, and their number."""
    xs, ys = held_out(run, source)
    if xs.shape[1:] != run.shape:
        raise ValueError(
            f"evaluate: {run.subject.examples} of shape {xs.shape[1:]} must have the shape {run.shape} that the run "
            "was trained on"
        )
    return evaluate(run.net, run.params, run.loss, (xs, ys)), len(xs)
