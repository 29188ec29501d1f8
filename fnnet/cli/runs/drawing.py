"""The pictures of a finished run, each in its file."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from fnnet.cli.own_networks import short
from fnnet.cli.runs import pictures
from fnnet.cli.runs.directory import Config, probabilities
from fnnet.cli.subjects import IMAGES, Examples, subject_of


def draw(run: Path, net: Any, params: Any, history: list, dataset: Examples, config: Config) -> None:
    """All pictures of the run."""
    smoothing = f", labels smoothed by {config['label_smoothing']}" if config["label_smoothing"] else ""
    title = f"{short(config['net'])} on {dataset.name}, {config['optimizer']}{smoothing}"
    subject = subject_of(config)
    pictures.curves(run / "curves.png", history, title=title, of=subject.labelled)
    if subject is not IMAGES:
        return
    xs, ys = dataset.test
    chances = np.asarray(probabilities(net, params, xs))
    pictures.confusion(run / "confusion.png", ys, chances.argmax(-1), dataset.classes)
    if xs.ndim != 4:
        return
    pictures.surest_mistakes(run / "wrong.png", xs, ys, chances, dataset.classes)
    kernel = _first_kernel(net, params, xs.shape[1:])
    if kernel is not None:
        pictures.kernels(run / "kernels.png", kernel, xs.shape[1:])


def _first_kernel(net: Any, params: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """The kernel of the first layer that has parameters, if it is one of images."""
    members = getattr(net, "members", {})
    first: Any = next((params[name] for name, layer in members.items() if layer.entries), {})
    kernel = np.asarray(first.get("kernel", 0))
    is_of_images = kernel.ndim == 4 or (kernel.ndim == 2 and len(kernel) == math.prod(shape))
    return kernel if is_of_images else None
