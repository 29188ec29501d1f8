"""An image file as the input of a network: grey, of the right size, bright strokes on a dark ground."""

import os
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float32

MOST_PIXELS = 50_000_000


def read_image(file: str | os.PathLike[str], shape: tuple[int, ...]) -> Float32[np.ndarray, "height width 1"]:
    """A PNG or JPEG file as an example for a network that was trained on MNIST or on the digits.

    It becomes grey, is scaled to fit into the network's image (a pixel is the mean of those that it covers), filled up
    with the background, and, where the background (the median of the border) is light, inverted. Transparent parts are
    white.

    Args:
        file: The image, of at most 50 million pixels.
        shape: Of one example: (height, width, 1).

    Returns:
        Numbers in [0, 1].

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no PNG or JPEG image, is broken or too large, or the network takes no grey images.
    """
    if len(shape) != 3 or shape[-1] != 1:
        raise ValueError(f"read_image: shape {shape} must be that of a grey image, (height, width, 1)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # for images that Pillow would only warn about
            return _fitted(_grey(file), shape)
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow has no common class for what broken files make it raise
        raise ValueError(f"read_image: {os.fspath(file)} cannot be read as a PNG or JPEG image: {error}") from None


def _grey(file: str | os.PathLike[str]) -> Any:
    from PIL import Image

    with Image.open(file, formats=("PNG", "JPEG")) as image:
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise ValueError(f"{width} x {height} pixels are more than the {MOST_PIXELS} that are read")
        if image.mode.startswith("I"):  # 16 bits, which `convert` would clip to 8
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("L")


def _fitted(grey: Any, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image, ImageOps

    pixels = np.asarray(grey)
    background = int(np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])))
    image = ImageOps.pad(grey, (shape[1], shape[0]), method=Image.Resampling.BOX, color=background)
    values = np.asarray(image, np.float32)[..., None] / np.float32(255)
    return 1 - values if background > 127 else values
