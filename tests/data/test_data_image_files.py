"""Image files of every kind, as an array of the size that a network takes."""

import numpy as np
import pytest
from PIL import Image

from fnnet import data
from fnnet.data.image_files import read_image


@pytest.mark.parametrize("kind", ["grey", "colour", "transparent", "16 bits", "palette", "jpeg"])
def test_images_of_every_kind_are_read_alike(kind, tmp_path):
    xs, _ = data.digits().test
    pixels = np.uint8(xs[0, ..., 0] * 255)
    grey = Image.fromarray(255 - pixels)
    file = tmp_path / ("a.jpg" if kind == "jpeg" else "a.png")
    if kind == "transparent":
        ink = Image.new("RGBA", grey.size, "black")
        ink.putalpha(Image.fromarray(pixels))
        ink.save(file)
    elif kind == "16 bits":
        Image.fromarray(np.uint16(255 - pixels) * 257).save(file)
    else:
        mode = {"colour": "RGB", "palette": "P"}.get(kind, "L")
        grey.convert(mode).save(file, **({"quality": 100} if kind == "jpeg" else {}))
    image = read_image(file, (8, 8, 1))
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[..., 0], pixels / 255, atol=0.02)


def test_an_image_is_scaled_by_means_and_filled_up_with_its_background(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 100, (16, 8), np.uint8)
    pixels[[0, -1]], pixels[:, [0, -1]] = 40, 40
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", (8, 8, 1))[..., 0] * 255
    means = pixels.reshape(8, 2, 4, 2).mean((1, 3))
    np.testing.assert_allclose(image[:, 2:6], means, atol=1.01)  # rounded once an axis
    np.testing.assert_allclose(image[:, [0, 1, 6, 7]], 40, atol=0.01)
