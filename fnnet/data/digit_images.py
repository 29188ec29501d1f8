"""A drawn, photographed or scanned digit as MNIST's images were made: the ink alone, in a box, centred by its mass.

    ink         how far a pixel differs from the paper, which may be grey, unevenly lit, or dark under light ink
    box         the ink's bounding box, scaled so that its longer side has 20 of 28 pixels, its proportions kept
    place       the centre of mass at pixel (14, 14) of 28 x 28, counted from 0, as it lies in MNIST on average

Strokes much thinner or thicker than MNIST's are brought near them: a hairline would vanish when it is scaled. The 8 x 8
digits of scikit-learn fill their image, and so does a digit that is read for such small images.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from fnnet.data.image_files import in_8_bits, on_ground, read

DIGITS = tuple(map(str, range(10)))
BOX = 20 / 28  # of the image's side, for MNIST's box
SMALL = 16  # images of a shorter side are filled by their digit
SIDE = 512  # larger images are reduced to it, or the part with the ink is, since a digit has no finer parts
STROKE = (0.11, 0.23)  # the width of a stroke, as a part of the box
NEAR = 12  # of 255: how far the paper's pixels may lie from its brightness
COARSE = 24  # parts of the ink's box on each side, between which a stroke's ink differs
RIM = 4  # pixels around the ink that may be fainter
RING = 0.1  # of the image on each side, where the paper is looked for


def made_like_digits(xs: Any, classes: Sequence[str]) -> bool:
    """Whether images are digits on a dark ground with free margins left and right, as MNIST's and scikit-learn's."""
    if tuple(classes) != DIGITS or np.ndim(xs) != 4 or xs.shape[-1] != 1:
        return False
    some = np.asarray(xs[:1000])
    margins = some[:, :, [0, -1]].max((1, 2, 3))
    return bool((margins > 0.25).mean() < 0.1)


def read_digit(
    file: str | os.PathLike[str], shape: tuple[int, ...]
) -> tuple[Float32[np.ndarray, "height width 1"], list[str]]:
    """A PNG or JPEG file with one digit, as an example for a network that was trained on MNIST or on the digits.

    Args:
        file: The image, of at most 50 million pixels: dark ink on light paper or light on dark. Transparent parts are
            paper.
        shape: Of one example: (height, width, 1).

    Returns:
        Numbers in [0, 1], and warnings: what may be wrong with the image, one sentence each.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no PNG or JPEG image, is broken or too large; no digit is in it, or several are.
    """
    grey = read("read_digit", file, _grey)
    try:
        return _framed(grey, (shape[0], shape[1]))
    except _NoDigitError as error:
        raise ValueError(f"read_digit: {os.fspath(file)} {error}") from None


class _NoDigitError(ValueError):
    """What an image shows in place of one digit."""


def _grey(image: Any) -> Any:
    """The image in grey; light ink is laid on black where the ground is transparent."""
    from PIL import Image

    image = in_8_bits(image)
    if "A" not in image.mode.upper() and "transparency" not in image.info:
        return image.convert("L")
    small = image.convert("RGBA")
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    white, black = (np.ptp(np.asarray(on_ground(small, colour).convert("L"))) for colour in ("white", "black"))
    # They differ where the image is transparent; the ground on which more is to be seen is the right one.
    return on_ground(image, "black" if black > white else "white").convert("L")


def _framed(grey: Any, size: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    ink = _one_character(_ink(_pixels(grey)))
    rows, columns = _box(ink)
    factor, side = max(grey.size) / max(ink.shape), max(rows.stop - rows.start, columns.stop - columns.start)
    if factor > 1 and side < SIDE / 2:  # small on a large page: again, with all its pixels
        edges = columns.start - side / 2, rows.start - side / 2, columns.stop + side / 2, rows.stop + side / 2
        left, top, right, bottom = (round(factor * edge) for edge in edges)
        grey = grey.crop((max(left, 0), max(top, 0), min(right, grey.width), min(bottom, grey.height)))
        ink = _one_character(_ink(_pixels(grey)))
    ink = _usual_stroke(ink)
    is_small = min(size) < SMALL
    room = size if is_small else tuple(round(BOX * side) for side in size)
    rows, columns = _box(ink)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    scale = min(room[0] / height, room[1] / width)
    digit = _resized(ink[rows, columns], max(1, round(height * scale)), max(1, round(width * scale)))
    middle = [side / 2 for side in digit.shape] if is_small else _centre_of_mass(digit)
    image = np.zeros((*size, 1), np.float32)
    top, left = (
        int(np.clip(round(whole / 2 - at), 0, whole - part))
        for whole, at, part in zip(size, middle, digit.shape, strict=True)
    )
    image[top : top + digit.shape[0], left : left + digit.shape[1], 0] = digit
    wide = width > 1.6 * height
    return image, ["what it shows is wider than high: is it one digit?"] if wide else []


def _pixels(grey: Any) -> np.ndarray:
    """The pixels of an image, at most SIDE and at least half of that on a side."""
    from PIL import Image

    grey = grey.copy()
    grey.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    factor = -(-SIDE // (2 * max(grey.size)))
    return np.asarray(grey).repeat(factor, 0).repeat(factor, 1)


def _ink(grey: np.ndarray) -> np.ndarray:
    """How much ink each pixel has, 0 to 1."""
    from scipy import ndimage

    whole = grey.astype(np.int32)
    ring = _ring(whole.shape)
    difference = whole - _paper(whole, ring)
    most = float(np.abs(ndimage.uniform_filter(difference, 3)).max())
    strong = np.where(np.abs(difference) > most / 2, difference, 0)
    ink = np.maximum(-difference if strong.sum() < 0 else difference, 0)
    noise = 1.4826 * float(np.median(np.abs(whole - ndimage.uniform_filter(whole.astype(float), 3))[ring]))
    marked = ink[ink > ndimage.uniform_filter(ink, 3).max() / 2]
    level = float(np.median(marked)) if marked.size else 0.0
    if level < max(16.0, 6 * noise):
        raise _NoDigitError("shows no digit: nothing stands out from its background")
    floor = min(3 * noise, level / 2)
    marks: np.ndarray = np.clip((ink - floor) / (level - floor), 0, 1)
    return marks


def _ring(shape: tuple[int, ...]) -> np.ndarray:
    """Which pixels lie near the border."""
    ring = np.ones(shape, bool)
    rows, columns = (max(1, round(RING * side)) for side in shape)
    ring[rows : shape[0] - rows, columns : shape[1] - columns] = False
    return ring


def _paper(pixels: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """The paper's brightness: one for all pixels, unless uneven light explains many more of the ring's."""
    even, uneven = np.full(pixels.shape, np.median(pixels[ring])), _lit_unevenly(pixels, ring)
    by_one, by_many = ((np.abs(pixels - paper)[ring] < NEAR).mean() for paper in (even, uneven))
    return uneven if by_many > by_one + 0.1 else even


def _lit_unevenly(pixels: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """The paper's brightness as a quadratic, fitted to the ring by least absolute differences."""
    y, x = (np.linspace(-1, 1, side) for side in pixels.shape)
    y, x = np.meshgrid(y, x, indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], -1)
    step = max(1, ring.sum() // 4000)
    known, values = terms[ring][::step], pixels[ring][::step].astype(float)
    weights = np.ones(len(values))
    for _ in range(30):  # iteratively reweighted least squares: ink that reaches the ring is outvoted
        root = np.sqrt(weights)[:, None]
        found = np.linalg.lstsq(root * known, root[:, 0] * values, rcond=None)[0]
        weights = 1 / np.maximum(np.abs(values - known @ found), 1.0)
    fitted: np.ndarray = terms @ found
    return fitted


def _one_character(ink: np.ndarray) -> np.ndarray:
    """The ink without specks, and without lines from edge to edge; raises where characters stand apart."""
    from scipy import ndimage

    labels, number = ndimage.label(ink > 0.25, np.ones((3, 3)))
    places = ndimage.find_objects(labels)
    amounts = ndimage.sum_labels(ink, labels, range(1, number + 1))
    spans = [max((s.stop - s.start) / whole for s, whole in zip(place, ink.shape, strict=True)) for place in places]
    inner = [span < 0.97 for span in spans]
    if not all(inner) and sum(amounts[inner]) > 0.1 * sum(amounts):
        kept = list(inner)  # a printed frame, or a ruled line
    else:
        kept = [True] * number
    largest = int(np.argmax(amounts * kept))
    if _is_smooth(ink[places[largest]]):
        raise _NoDigitError("shows no digit: its brightness changes smoothly, without strokes")
    if (ink > 0.5).mean() > 0.6:
        raise _NoDigitError("shows no digit: what differs from its border fills the image")
    kept = [keep and amount > 0.03 * amounts[largest] for keep, amount in zip(kept, amounts, strict=True)]
    marked = np.isin(labels, [label for label, keep in enumerate(kept, 1) if keep])
    ink = np.where(ndimage.binary_dilation(marked, iterations=RIM), ink, 0)
    for axis, how in ((1, "side by side"), (0, "one above the other")):
        parts = _parts(ink, axis)
        if len(parts) > 1:
            raise _NoDigitError(f"shows {len(parts)} characters {how}; give each an image of its own")
    if not (ink > 0.5).any():
        raise _NoDigitError("shows no digit: nothing in it is darker or lighter than its shadows")
    return ink


def _is_smooth(ink: np.ndarray) -> bool:
    """Whether the ink comes and goes gradually, as light does and no stroke."""
    coarse = _resized(ink, COARSE, COARSE)
    return max(float(np.abs(np.diff(coarse, axis=axis)).max()) for axis in (0, 1)) < 0.2


def _parts(ink: np.ndarray, axis: int) -> list[slice]:
    """Pieces of the ink that an empty strip separates, each about as high and as heavy as a character."""
    marked = ink > 0.05
    is_there = marked.any(1 - axis)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_there, [False]]).astype(int)))
    rows, _ = _box(ink)
    whole_height = rows.stop - rows.start
    parts = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        piece = np.take(marked, range(begin, end), axis)
        height = np.ptp(np.flatnonzero(piece.any(1))) + 1
        if piece.sum() > 0.15 * marked.sum() and height > (0.5 if axis == 1 else 0.35) * whole_height:
            parts.append(slice(begin, end))
    return parts


def _usual_stroke(ink: np.ndarray) -> np.ndarray:
    """The ink with strokes neither much thinner nor much thicker than MNIST's."""
    from scipy import ndimage

    marked = ink > 0.5
    rows, columns = _box(ink)
    side = max(rows.stop - rows.start, columns.stop - columns.start)
    inside = ndimage.distance_transform_edt(marked)
    stroke = 4 * (float(inside[marked].mean()) - 0.5)  # a stripe of width w has a mean distance of w / 4 + 1 / 2
    least, most = (part * side for part in STROKE)
    if stroke < least:
        radius = (least - stroke) / 2
        padded = np.pad(ink, int(radius) + 2)
        outside = ndimage.distance_transform_edt(np.pad(~marked, int(radius) + 2, constant_values=True))
        return np.maximum(padded, np.clip(radius + 1 - outside, 0, 1))
    if stroke > most:
        return np.clip(inside - (stroke - most) / 2, 0, 1)
    return ink


def _box(ink: np.ndarray) -> tuple[slice, slice]:
    """The bounding box of the ink."""
    rows, columns = (np.flatnonzero((ink > 0.05).any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _resized(ink: np.ndarray, height: int, width: int) -> np.ndarray:
    """In another size, each pixel the mean of those that it covers."""
    from PIL import Image

    image = Image.fromarray(ink.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    return np.asarray(image, np.float32)


def _centre_of_mass(ink: np.ndarray) -> list[float]:
    return [float((ink.sum(1 - axis) * np.arange(side)).sum() / ink.sum()) for axis, side in enumerate(ink.shape)]
