"""Digits on paper as MNIST's images were made: a drawing of one agrees with the example that it was drawn from."""

import numpy as np
import pytest
from paper import PAPERS, drawn, saved
from PIL import Image

from fnnet import data
from fnnet.data.digit_images import made_like_digits, read_digit

SHAPE = (28, 28, 1)
DIGITS = ("4", "5")


def like_mnist(ink):
    """The example of a page of ink, in the three steps of MNIST's makers."""
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    cut = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    scale = 20 / max(cut.size)
    small = np.asarray(cut.resize([round(scale * length) for length in cut.size], Image.Resampling.BOX)) / 255
    middle = [(small.sum(1 - axis) * np.arange(length)).sum() / small.sum() for axis, length in enumerate(small.shape)]
    image = np.zeros(SHAPE)
    top, left = (round(14 - at) for at in middle)
    image[top : top + small.shape[0], left : left + small.shape[1], 0] = small
    return image


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("digit", DIGITS)
def test_a_drawing_agrees_with_the_example(paper, digit, tmp_path):
    ink = drawn(digit)
    image, warnings = read_digit(saved(PAPERS[paper](ink), tmp_path / "a.png"), SHAPE)
    assert (image.shape, image.dtype, warnings) == (SHAPE, np.float32, [])
    assert difference(image, like_mnist(ink)) < (0.04 if paper == "blurred" else 0.01)


def difference(image, example):
    """The mean absolute difference, at the best place of those at most a pixel away: a centre is rounded up or down."""
    assert image.min() >= 0
    assert image.max() <= 1
    shifts = [(rows, columns) for rows in (-1, 0, 1) for columns in (-1, 0, 1)]
    return min(np.abs(np.roll(image, shift, (0, 1)) - example).mean() for shift in shifts)


@pytest.mark.parametrize("box", [(0.02, 0.02, 0.3, 0.35), (0.7, 0.6, 0.98, 0.95), (0.05, 0.3, 0.55, 0.9)])
def test_place_and_size_do_not_matter(box, tmp_path):
    ink = drawn("5", box=box, stroke=round(90 * (box[2] - box[0])))
    image, _ = read_digit(saved(Image.fromarray(255 - ink), tmp_path / "a.png"), SHAPE)
    assert difference(image, like_mnist(ink)) < 0.01


@pytest.mark.parametrize(("side", "pixels"), [(1000, 40), (2000, 40), (2000, 120), (3000, 300)])
def test_a_small_digit_on_a_large_page(side, pixels, tmp_path):
    part = pixels / side
    ink = drawn("7", side=side, stroke=pixels // 8, box=(0.6, 0.2, 0.6 + part, 0.2 + part))
    image, warnings = read_digit(saved(Image.fromarray(255 - ink), tmp_path / "a.png"), SHAPE)
    assert warnings == []
    assert difference(image, like_mnist(ink)) < 0.01


def test_an_example_enlarged_or_not_is_read_as_it_was(tmp_path):
    example = like_mnist(drawn("2"))
    pixels = Image.fromarray(np.uint8(255 * example[..., 0]))
    for side in (28, 280, 600):
        image, _ = read_digit(saved(pixels.resize((side, side), Image.Resampling.NEAREST), tmp_path / "a.png"), SHAPE)
        assert np.abs(image - example).mean() < 0.01


@pytest.mark.parametrize("stroke", [4, 150])
def test_strokes_come_near_those_of_mnist(stroke, tmp_path):
    image, _ = read_digit(saved(Image.fromarray(255 - drawn("7", stroke=stroke)), tmp_path / "a.png"), SHAPE)
    assert image.max() > 0.9
    assert 30 < image.sum() < 170  # MNIST's sevens: 45 to 130


def test_small_digits_are_read_as_they_are(tmp_path):
    xs, _ = data.digits().test
    for x in xs[:8]:
        pixels = Image.fromarray(np.uint8(255 * (1 - x[..., 0]))).resize((80, 80), Image.Resampling.NEAREST)
        image, _ = read_digit(saved(pixels, tmp_path / "a.png"), (8, 8, 1))
        assert difference(image, x) < 0.15


SMALL_SEVEN = drawn("7", side=2000, stroke=20, box=(0.4, 0.4, 0.46, 0.47))
NO_DIGITS = {
    "blank": (np.full((600, 600), 200), "nothing stands out from its background"),
    "noise": (np.random.default_rng(0).normal(128, 8, (600, 600)), "nothing stands out"),
    "a gradient": (np.tile(np.linspace(0, 255, 600), (600, 1)), "shows no digit"),
    "a round gradient": (255 * np.hypot(*(np.mgrid[:600, :600] / 300 - 1)).clip(0, 1), "changes smoothly"),
    "a round shadow": (255 - 200 * np.exp(-((np.mgrid[:600, :600] - 300) ** 2).sum(0) / 5000), "changes smoothly"),
    "two digits": (np.hstack([drawn("2")[:, 100:500], drawn("7")[:, 100:500]]), "2 characters side by side"),
    "two small digits": (
        np.maximum(drawn("2", side=2000, stroke=20, box=(0.4, 0.4, 0.46, 0.47)), np.roll(SMALL_SEVEN, 140, 1)),
        "2 characters side by side",
    ),
    "two lines": (np.vstack([drawn("2"), drawn("7")]), "2 characters one above the other"),
}


@pytest.mark.parametrize("name", NO_DIGITS)
def test_what_is_no_digit_is_refused(name, tmp_path):
    pixels, message = NO_DIGITS[name]
    file = saved(Image.fromarray(np.uint8(np.clip(pixels, 0, 255))), tmp_path / "a.png")
    with pytest.raises(ValueError, match=message) as caught:
        read_digit(file, SHAPE)
    assert str(caught.value).startswith(f"read_digit: {file} ")


def test_what_is_wide_is_doubted(tmp_path):
    ink = np.asarray(Image.fromarray(drawn("7")).resize((2000, 600)))
    _, (warning,) = read_digit(saved(Image.fromarray(255 - ink), tmp_path / "a.png"), SHAPE)
    assert warning == "what it shows is wider than high: is it one digit?"


def test_which_data_are_like_digits():
    found = data.digits()
    xs, _ = found.train
    assert made_like_digits(xs, found.classes)
    assert not made_like_digits(xs, [f"class {name}" for name in found.classes])
    assert not made_like_digits(1 - xs, found.classes)
    assert not made_like_digits(np.repeat(xs, 3, -1), found.classes)
