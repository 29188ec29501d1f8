"""`Augment`: what each change does to an image, by the key alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnnet.data import Augment

IMAGE = np.random.default_rng(0).uniform(1, 2, (6, 5, 2)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(0), 200)


def changed(augment, image=IMAGE):
    return np.asarray(jax.jit(jax.vmap(augment, (0, None)))(KEYS, image))


def test_a_shift_moves_the_image_and_brings_zeros_in():
    padded = np.pad(IMAGE, ((1, 1), (1, 1), (0, 0)))
    wanted = {padded[i : i + 6, j : j + 5].tobytes() for i in range(3) for j in range(3)}
    assert {image.tobytes() for image in changed(Augment(shift=1))} == wanted


def test_every_second_image_is_mirrored():
    images = changed(Augment(flip=True))
    mirrored = np.array([np.array_equal(image, IMAGE[:, ::-1]) for image in images])
    assert all(np.array_equal(image, IMAGE) for image in images[~mirrored])
    assert 70 < mirrored.sum() < 130


def test_a_crop_enlarges_a_part():
    """Of a ramp it is a ramp, not as steep, that ends within the image."""
    ramp = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None], (12, 8, 1))
    images = changed(Augment(crop=0.5), ramp)
    assert images.shape == (200, 12, 8, 1)
    assert np.ptp(images, axis=2).max() < 1e-5
    slopes = np.diff(images[:, 1:-1, 0, 0], axis=1)  # the outer pixels' centres may lie outside the image
    assert np.ptp(slopes, axis=1).max() < 1e-4
    assert 0.5 <= slopes.min() < 0.55
    assert 0.95 < slopes.max() <= 1.0001
    assert images.min() >= 0
    assert images.max() <= 11


def test_without_a_change_it_is_the_identity():
    np.testing.assert_array_equal(changed(Augment())[0], IMAGE)


def test_dtype_and_bits_stay():
    image, both = jnp.asarray(IMAGE, jnp.bfloat16), Augment(shift=2, flip=True, crop=0.8)
    assert jax.eval_shape(both, KEYS[0], image).dtype == jnp.bfloat16
    np.testing.assert_array_equal(changed(both), changed(both))
    assert hash(both) == hash(Augment(2, True, 0.8))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Augment(shift=-1), ValueError, r"Augment: shift \(=-1\) must be an integer of 0 or more, in pixels"),
        (lambda: Augment(shift=0.1), ValueError, r"Augment: shift \(=0.1\) must be an integer"),  # type: ignore[arg-type]
        (lambda: Augment(flip=1), TypeError, r"Augment: flip \(=1\) must be True or False"),  # type: ignore[arg-type]
        (lambda: Augment(crop=0), ValueError, r"Augment: crop \(=0\) must be a number above 0 and at most 1"),
        (lambda: Augment(crop=28), ValueError, r"Augment: crop \(=28\) must be a number above 0 and at most 1"),
        (lambda: Augment()(KEYS[0], IMAGE[0]), ValueError, r"x of shape \(5, 2\) and dtype float32 must be a floating"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()
