"""The four files of a data set in MNIST's layout: their names, where they are published, and what is in them.

A checksum is of a file's contents: gzip may pack the same numbers in many ways, and the mirrors do.

Sources: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits"; H. Xiao, K. Rasul, R. Vollgraf,
"Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", arXiv:1708.07747 (Debian has it as
the package dataset-fashion-mnist).
"""

from pathlib import Path
from typing import NamedTuple

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


class Contents(NamedTuple):
    """What a file holds when it is decompressed."""

    size: int
    sha256: str


class Published(NamedTuple):
    """A data set: addresses that each hold its files under their own names with .gz, and the files' contents."""

    mirrors: tuple[str, ...]
    files: dict[str, Contents]


PUBLISHED = {
    "mnist": Published(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        files={
            TRAIN_IMAGES: Contents(47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            TRAIN_LABELS: Contents(60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            TEST_IMAGES: Contents(7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            TEST_LABELS: Contents(10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        },
    ),
    "fashion-mnist": Published(
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        files={
            TRAIN_IMAGES: Contents(47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            TRAIN_LABELS: Contents(60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            TEST_IMAGES: Contents(7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            TEST_LABELS: Contents(10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        },
    ),
}


def locate(directory: Path, file: str) -> Path | None:
    """Where a directory has this file: under its name or with .idx for -idx, plain before gzip; None if nowhere."""
    for spelling in (file, file.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            if (path := directory / (spelling + suffix)).is_file():
                return path
    return None
