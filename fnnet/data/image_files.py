"""An image file as the input of a network: opened with care, upright, in grey or in colour, and of the right size."""

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32

MOST_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG")
ORIENTATION = 0x0112  # in EXIF data: from 5 on rows are columns


def read_image(file: str | os.PathLike[str], shape: tuple[int, ...]) -> Float32[np.ndarray, "height width 1"]:
    """A PNG or JPEG file as an example for a network of grey images with a dark ground.

    It becomes grey, is scaled to fit into the network's image (a pixel is the mean of those that it covers), filled up
    with the background, and, where the background (the median of the border) is light, inverted. Transparent parts are
    white, and the orientation in a photograph's EXIF data counts.

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
    return read("read_image", file, lambda image: _fitted(_grey(image), shape))


def read_photograph(
    file: str | os.PathLike[str], shape: tuple[int, ...]
) -> Float32[np.ndarray, "height width channels"]:
    """A PNG or JPEG file in the given size, as `load_folder` reads its images: its middle, scaled, without inversion.

    Args:
        file: The image, of at most 50 million pixels.
        shape: Of one example: (height, width, 1) for grey, (height, width, 3) for red, green and blue.

    Returns:
        Numbers in [0, 1].

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no PNG or JPEG image, is broken or too large, or the shape is none of the two.
    """
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(f"read_photograph: shape {shape} must be (height, width, 1) or (height, width, 3)")
    return read("read_photograph", file, lambda image: _cropped(image, shape))


def read(function: str, file: str | os.PathLike[str], use: Callable[[Any], Any], *, upright: bool = True) -> Any:
    """use(image) of an image that was turned upright, or of one that is not decoded yet.

    A ValueError names the file that is broken, too large, or no image.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # for images that Pillow would only warn about
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    raise ValueError(f"{width} x {height} pixels are more than the {MOST_PIXELS} that are read")
                return use(ImageOps.exif_transpose(image) if upright else image)
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow has no common class for what broken files make it raise
        raise ValueError(f"{function}: {os.fspath(file)} cannot be read as a PNG or JPEG image: {error}") from None


def size_of(image: Any) -> tuple[int, int]:
    """Height and width of an image, which need not be decoded, when it is upright."""
    lies_on_its_side = image.getexif().get(ORIENTATION, 1) > 4
    return (image.width, image.height) if lies_on_its_side else (image.height, image.width)


def is_grey(image: Any) -> bool:
    """Whether an image, which need not be decoded, says that it has no colours."""
    return str(image.mode) in ("1", "L", "LA", "La") or str(image.mode).startswith("I")


def in_8_bits(image: Any) -> Any:
    """The image, if it has 16 bits a pixel in 8, which `convert` would clip."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def on_ground(image: Any, colour: str) -> Any:
    """The image with its transparent parts in one colour."""
    from PIL import Image

    colours = in_8_bits(image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, colour), colours)


def _grey(image: Any) -> Any:
    return on_ground(image, "white").convert("L")


def _fitted(grey: Any, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image, ImageOps

    pixels = np.asarray(grey)
    background = int(np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])))
    image = ImageOps.pad(grey, (shape[1], shape[0]), method=Image.Resampling.BOX, color=background)
    values = np.asarray(image, np.float32)[..., None] / np.float32(255)
    return 1 - values if background > 127 else values


def _cropped(image: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The largest middle part of the right proportions, scaled; Pillow's bilinear filter averages where it shrinks."""
    from PIL import Image, ImageOps

    colours = on_ground(image, "white").convert("L" if shape[-1] == 1 else "RGB")
    fitted = ImageOps.fit(colours, (shape[1], shape[0]), method=Image.Resampling.BILINEAR)
    return np.asarray(fitted, np.float32).reshape(shape) / np.float32(255)
