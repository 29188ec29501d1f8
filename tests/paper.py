"""Digits on paper: drawn by a pen or typed, as ink from 0 to 255; and kinds of paper, photographs of that ink."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

STROKES = {  # x to the right and y down, in a box of 1 x 1
    "0": [(0.5 + 0.28 * np.sin(turn), 0.5 - 0.42 * np.cos(turn)) for turn in np.linspace(0, 2 * np.pi, 25)],
    "1": [(0.38, 0.25), (0.55, 0.08), (0.53, 0.92)],
    "2": [(0.2, 0.25), (0.35, 0.08), (0.65, 0.08), (0.78, 0.25), (0.7, 0.45), (0.2, 0.92), (0.82, 0.9)],
    "3": [(0.25, 0.14), (0.55, 0.08), (0.72, 0.24), (0.45, 0.46), (0.75, 0.66), (0.58, 0.9), (0.24, 0.86)],
    "4": [(0.3, 0.08), (0.2, 0.55), (0.8, 0.55), (0.66, 0.55), (0.7, 0.1), (0.64, 0.95)],
    "5": [(0.75, 0.1), (0.3, 0.1), (0.26, 0.45), (0.6, 0.42), (0.75, 0.65), (0.6, 0.9), (0.25, 0.88)],
    "6": [(0.65, 0.08), (0.38, 0.35), (0.28, 0.68), (0.45, 0.92), (0.7, 0.76), (0.6, 0.55), (0.32, 0.62)],
    "7": [(0.2, 0.12), (0.8, 0.1), (0.45, 0.92)],
    "8": [(0.7, 0.2), (0.5, 0.08), (0.3, 0.24), (0.68, 0.68), (0.5, 0.92), (0.28, 0.72), (0.66, 0.3), (0.7, 0.2)],
    "9": [(0.7, 0.28), (0.5, 0.1), (0.3, 0.26), (0.42, 0.46), (0.66, 0.38), (0.7, 0.28), (0.66, 0.6), (0.6, 0.94)],
}


def drawn(digit, *, side=600, stroke=55, box=(0.2, 0.15, 0.8, 0.85)):
    """Ink on a page of `side` pixels, by a pen of that width, within a box of the page."""
    left, top, right, bottom = (side * part for part in box)
    points = [(left + x * (right - left), top + y * (bottom - top)) for x, y in STROKES[digit]]
    page = Image.new("L", (side, side))
    pen = ImageDraw.Draw(page)
    pen.line(points, fill=255, width=stroke, joint="curve")
    for x, y in points:
        pen.ellipse([x - stroke / 2, y - stroke / 2, x + stroke / 2, y + stroke / 2], fill=255)
    return np.asarray(page)


def typed(digit, font, *, side=600, size=400):
    """Ink on a page, in a font that Matplotlib carries."""
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    page = Image.new("L", (side, side))
    ImageDraw.Draw(page).text((side / 2, side / 2), digit, 255, ImageFont.truetype(file, size), anchor="mm")
    return np.asarray(page)


def grey_paper(ink):
    """Under uneven light, with the noise of a camera."""
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]] / ink.shape[0]
    paper = 200 - 70 * x - 30 * y * y
    noise = np.random.default_rng(0).normal(0, 4, ink.shape)
    return Image.fromarray(np.uint8(np.clip(paper * (1 - 0.6 * ink / 255) + noise, 0, 255)))


def transparent(ink, colour):
    image = Image.new("RGBA", ink.shape[::-1], colour)
    image.putalpha(Image.fromarray(ink))
    return image


def turned(ink):
    """A camera that was held sideways: the pixels lie on their side, and the file says so."""
    image = Image.fromarray(255 - ink).rotate(90, expand=True)
    exif = image.getexif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    return image


def marked(ink, marks):
    return Image.fromarray(np.where(marks, 0, 255 - ink).astype(np.uint8))


def specks(shape):
    marks = np.zeros(shape, bool)
    for row, column in np.random.default_rng(1).integers(10, shape[0] - 10, (12, 2)):
        marks[row : row + 5, column : column + 5] = True
    return marks


def frame(shape):
    marks = np.ones(shape, bool)
    marks[8:-8, 8:-8] = False
    return marks


PAPERS = {
    "black on white": lambda ink: Image.fromarray(255 - ink),
    "white on black": Image.fromarray,
    "grey on grey": lambda ink: Image.fromarray(np.uint8(150 - ink // 4)),
    "grey paper under uneven light": grey_paper,
    "blurred": lambda ink: Image.fromarray(255 - ink).filter(ImageFilter.GaussianBlur(6)),
    "red on white": lambda ink: Image.merge("RGB", [Image.new("L", ink.shape, 255), *2 * [Image.fromarray(255 - ink)]]),
    "black on nothing": lambda ink: transparent(ink, "black"),
    "white on nothing": lambda ink: transparent(ink, "white"),
    "of 16 bits": lambda ink: Image.fromarray(np.uint16(255 - ink) * 257),
    "turned by its camera": turned,
    "with specks": lambda ink: marked(ink, specks(ink.shape)),
    "in a frame": lambda ink: marked(ink, frame(ink.shape)),
}


def saved(image, file):
    """The image as a file, with its EXIF data."""
    image.save(file, exif=image.info["exif"]) if "exif" in image.info else image.save(file)
    return file
