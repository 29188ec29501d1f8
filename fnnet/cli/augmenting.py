"""`--augment shift,flip,crop`: the random changes of training images, and by how much."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from fnnet.cli.parsing import commas, one_of
from fnnet.data.augmentation import Augment

WHAT = ("shift", "flip", "crop")
SHIFT, CROP = 1 / 8, 0.8  # of the shorter side at most; of each side at least


def changes(text: str) -> tuple[str, ...]:
    """The names between commas, with "=" and an amount where one is given: ("shift=2", "flip")."""
    for part in commas(text):
        name, _, amount = part.partition("=")
        one_of("change of images", WHAT)(name)
        if "=" in part and not _is_amount(name, amount):
            wanted = {"shift": "shift=2, in pixels", "crop": "crop=0.8, the smallest part of each side"}
            raise argparse.ArgumentTypeError(f"{part!r} must be such as {wanted.get(name, name)}")
    return commas(text)


def _is_amount(name: str, amount: str) -> bool:
    try:
        if name == "flip":
            return False
        return are_amounts({name: int(amount) if name == "shift" else float(amount)})
    except ValueError:
        return False


def amounts(parts: Sequence[str], shape: Sequence[int]) -> dict[str, Any]:
    """The arguments of `fnnet.data.Augment` for images of that shape; ValueError where the examples are no images."""
    if len(shape) != 3:
        raise ValueError(f"train: --augment changes images (height, width, channels), not examples of shape {shape}")
    usual = {"shift": max(1, round(SHIFT * min(shape[:2]))), "flip": True, "crop": CROP}
    given = dict(part.partition("=")[::2] for part in parts)
    return {
        name: usual[name] if not amount else int(amount) if name == "shift" else float(amount)
        for name, amount in given.items()
    }


def augment_of(config: Mapping[str, Any]) -> Augment | None:
    """What changes the training images of a run, if anything does."""
    return Augment(**config["augment"]) if config.get("augment") else None


def are_amounts(value: Any) -> bool:
    """Whether a setting is one that `amounts` gives."""
    try:
        return value is None or isinstance(Augment(**value), Augment)
    except (TypeError, ValueError):
        return False


def in_words(value: Mapping[str, Any]) -> str:
    """The setting as it is typed."""
    return ",".join(name if amount is True else f"{name}={amount}" for name, amount in value.items())
