"""What a trained network answers: its scores on held-out examples, and the classes of an image file."""

from typing import Any, NamedTuple

import numpy as np

from fnnet.cli.runs.directory import Run
from fnnet.cli.subjects import READINGS, TEXT, place_of, usual_reading
from fnnet.data.digit_images import read_digit
from fnnet.data.image_files import read_image, read_photograph
from fnnet.serving import Exported
from fnnet.training.evaluation import evaluate


class Answer(NamedTuple):
    """What a network says of an image file."""

    classes: list[tuple[str, float]]  # all, each with its probability, the most probable first
    seen: np.ndarray  # the network's input
    warnings: list[str]


def classify(network: Run | Exported, file: str, reading: str | None = None) -> Answer:
    """The classes of an image file, which is read as the network's images were; or as `reading`, one of READINGS."""
    image, warnings = _read(file, network.shape, reading or reading_of(network))
    chances = np.asarray(network(image[None])[0])
    if chances.shape != (len(network.classes),):
        raise ValueError(f"predict: the network gives {chances.shape} numbers for {len(network.classes)} classes")
    classes = [(network.classes[place], float(chances[place])) for place in np.argsort(-chances, kind="stable")]
    return Answer(classes, image, warnings)


def reading_of(network: Run | Exported) -> str:
    """How an image file becomes an example of the network; ValueError where it is not one of images."""
    if isinstance(network, Run):
        is_of_text, reading = network.subject is TEXT, network.reading
    else:
        is_of_text = np.issubdtype(network.dtype, np.integer)
        reading = network.notes.get("reading", usual_reading(network.shape, network.classes))
    if is_of_text:
        raise ValueError("predict: the network is of a text, not of images; fnnet sample RUN draws from it")
    if reading not in READINGS or len(network.shape) != 3 or network.shape[-1] not in (1, 3):
        raise ValueError(f"predict: the network is of arrays of shape {network.shape}, not of images in [0, 1]")
    return reading


def _read(file: str, shape: tuple[int, ...], reading: str) -> tuple[np.ndarray, list[str]]:
    if reading == "digit":
        return read_digit(file, shape)
    return (read_image if reading == "grey" else read_photograph)(file, shape), []


def held_out(command: str, run: Run, source: str | None) -> tuple[Any, Any]:
    """The held-out examples of the training and their labels; or other data's test part, or all where they have none.

    Raises ValueError in the name of the command: they have another shape than those of the training, or the data of the
    training have changed, so that other examples would be held out.
    """
    subject, config = run.subject, run.config
    if source is None or place_of(source) == place_of(config["data"]):
        dataset = subject.load(config["data"], config)
        xs, ys = dataset.test
    else:
        dataset, (xs, ys) = None, subject.test_part(source, config)
    if xs.shape[1:] != run.shape:
        raise ValueError(
            f"{command}: {subject.examples} of shape {xs.shape[1:]} must have the shape {run.shape} that the run "
            "was trained on"
        )
    if dataset is not None and config.get("data_sha256", known := dataset.sha256()) != known:
        raise ValueError(
            f"{command}: the data in {config['data']} are not those that the run was trained on, so it is unknown "
            "which of them it has not seen; give others with --data"
        )
    return xs, ys


def score(run: Run, source: str | None) -> tuple[dict[str, float], int]:
    """Loss and accuracy on the held-out examples, and their number."""
    xs, ys = held_out("evaluate", run, source)
    return evaluate(run.net, run.params, run.loss, (xs, ys)), len(xs)
