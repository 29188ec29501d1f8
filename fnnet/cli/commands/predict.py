"""`fnnet predict`: the classes of images, by a run or by a file that `fnnet export` wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fnnet import serving
from fnnet.cli import runs
from fnnet.cli.parsing import Command, Parser, one_of, words_of
from fnnet.cli.runs.directory import warn
from fnnet.cli.subjects import READINGS
from fnnet.data.folder import SUFFIXES

SHOWN = 280  # pixels on a side, about, of an image of --save-input


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    how = """Images are read as the images that the network was trained on were made. digit: dark ink on light paper or
        light on dark, also photographed; the ink is cut out, scaled and centred as in MNIST; a blank image, or several
        digits, are refused. grey: the whole image, inverted where its border is light. photograph: the middle of the
        image, scaled. Exit status: 0, or 2 where an image could not be read; the others are classified all the
        same."""
    parser: Parser = commands.add_parser("predict", help="classify images", description=how)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory, or a file that fnnet export wrote")
    parser.add_argument("images", nargs="+", metavar="IMAGE.png", help="PNG or JPEG files, one character or thing each")
    reading = one_of("way to read images", READINGS)
    ways = f"{', '.join(READINGS)}; default: as the network's own images"
    parser.add_argument("--as", type=reading, dest="reading", metavar="HOW", help=ways)
    seen = "write what the network saw as PNG files into a folder, or for one image into FILE.png"
    parser.add_argument("--save-input", type=Path, metavar="FOLDER", help=seen)
    parser.set_defaults(command=Command(parser, predict))


def predict(*, run: Path, images: Sequence[str], reading: str | None, save_input: Path | None) -> int:
    """Print the three most probable classes of each image; 2 where one could not be read, else 0."""
    if run.suffix.lower() in SUFFIXES and run.is_file():
        raise ValueError(f"predict: {run} is an image; the run comes first: fnnet predict RUN {run}")
    is_exported = run.exists() and not run.is_dir()
    network = serving.load(run) if is_exported else runs.load(run)
    runs.reading_of(network)
    failed = False
    for file in images:
        try:
            if Path(file).is_dir():
                raise ValueError(f"predict: {file} is a directory; name its files, such as {file}/*.png")
            answer = runs.classify(network, file, reading)
            if save_input is not None:
                _save(answer.seen, _place(save_input, file, images))
        except (OSError, ValueError) as error:
            warn(words_of(error))
            failed = True
            continue
        for warning in answer.warnings:
            warn(f"{file}: {warning}")
        first = ", ".join(f"{name} ({100 * chance:.1f} %)" for name, chance in answer.classes[:3])
        print(f"{file}: {first}", flush=True)
    return 2 if failed else 0


def _place(save_input: Path, file: str, images: Sequence[str]) -> Path:
    """Where the input of one image goes; images of one name from several folders are numbered."""
    if len(images) == 1 and save_input.suffix.lower() == ".png":
        return save_input
    save_input.mkdir(parents=True, exist_ok=True)
    stems = [Path(image).stem for image in images]
    stem, number = Path(file).stem, images.index(file)
    return save_input / (f"{stem}.png" if stems.count(stem) == 1 else f"{stem}-{number + 1}.png")


def _save(image: np.ndarray, file: Path) -> None:
    """Write an example as an image that is large enough to look at."""
    from PIL import Image

    pixels = np.uint8(np.round(255 * np.clip(image, 0, 1)))
    factor = max(1, round(SHOWN / max(pixels.shape[:2])))
    large = pixels.repeat(factor, 0).repeat(factor, 1)
    Image.fromarray(large[..., 0] if large.shape[-1] == 1 else large).save(file)
