"""`fnnet export RUN`, and `fnnet predict` with the file that it wrote."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fnnet.cli import runs
from fnnet.data.image_files import read_image
from fnnet.rules.softmax import softmax
from fnnet.serving import Exported, export
from fnnet.serving.exporting import PLATFORMS


def export_run(directory: Path, file: Path | None, platforms: Sequence[str] | None) -> Path:
    """Write the network of a run directory, as its newest whole checkpoint has it, with its probabilities.

    Args:
        directory: The run.
        file: Where it goes. None: network.fnnet in the run directory.
        platforms: As for `serving.export`; None: all.

    Raises:
        ValueError: It is no run directory, or a platform is unknown.
        FileExistsError: The file is there already.
    """
    run = runs.load(directory)
    return export(
        run.net,
        run.params,
        run.config["shape"],
        directory / "network.fnnet" if file is None else file,
        output=softmax,
        classes=[str(name) for name in run.config["classes"]],
        platforms=PLATFORMS if platforms is None else platforms,
    )


def classify(network: Exported, file: str) -> list[tuple[str, float]]:
    """All classes with their probabilities for an image file, the most probable first."""
    chances = np.asarray(network(read_image(file, network.shape)[None])[0])
    if chances.shape != (len(network.classes),):
        raise ValueError(f"predict: the network gives {chances.shape} numbers for {len(network.classes)} classes")
    return [(network.classes[place], float(chances[place])) for place in np.argsort(-chances, kind="stable")]
