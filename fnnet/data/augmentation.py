"""Random changes of training images that keep their class: pure functions of a key and one image."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Float


@dataclass(frozen=True)
class Augment:
    """Shifts, flips and crops an image by a key: `fnnet.fit(..., augment=Augment(shift=2, flip=True))`.

    Args:
        shift: By how many pixels at most the image is moved along each axis; zeros come in from outside. This is
            PyTorch's RandomCrop with that padding.
        flip: Whether half of the images are mirrored, left to right. Do not mirror digits or letters.
        crop: The smallest part of height and width that is cut out and enlarged to the whole image, such as 0.8. 1
            cuts nothing.

    Called with a key of `jax.random` and one image (height, width, channels), it gives an image of that shape and
    dtype. The same key gives the same image.

    Raises:
        ValueError: `shift` is no integer of 0 or more, or `crop` is not above 0 and at most 1; later, x is no image.
        TypeError: `flip` is not True or False.

    Example:
        >>> x = jnp.arange(4.0).reshape(1, 4, 1)
        >>> [int(v) for v in Augment(flip=True)(jax.random.key(2), x).ravel()]
        [3, 2, 1, 0]
    """

    shift: int = 0
    flip: bool = False
    crop: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        if isinstance(self.shift, bool) or not isinstance(self.shift, int) or self.shift < 0:
            raise ValueError(f"Augment: shift (={self.shift!r}) must be an integer of 0 or more, in pixels")
        if not isinstance(self.flip, bool):
            raise TypeError(f"Augment: flip (={self.flip!r}) must be True or False")
        if isinstance(self.crop, bool) or not isinstance(self.crop, float | int) or not 0 < self.crop <= 1:
            raise ValueError(f"Augment: crop (={self.crop!r}) must be a number above 0 and at most 1")

    def __call__(self, key: jax.Array, x: Float[jax.Array, "height width channels"]) -> jax.Array:
        """The changed image."""
        if x.ndim != 3 or not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"Augment: x of shape {x.shape} and dtype {x.dtype} must be a floating image (height, width, channels)"
            )
        of_crop, of_shift, of_flip = jax.random.split(key, 3)
        if self.crop < 1:
            x = _cropped(of_crop, x, self.crop)
        if self.shift:
            x = _shifted(of_shift, x, self.shift)
        return jnp.where(jax.random.bernoulli(of_flip), x[:, ::-1], x) if self.flip else x


def _shifted(key: jax.Array, x: jax.Array, most: int) -> jax.Array:
    """x moved by up to `most` pixels along each axis."""
    padded = jnp.pad(x, ((most, most), (most, most), (0, 0)))
    row, column = jax.random.randint(key, (2,), 0, 2 * most + 1)
    return jax.lax.dynamic_slice(padded, (row, column, jnp.zeros_like(row)), x.shape)


def _cropped(key: jax.Array, x: jax.Array, least: float) -> jax.Array:
    """A part of x, of at least that share of each side, enlarged to x's size by linear interpolation."""
    of_size, of_place = jax.random.split(key)
    sides = jnp.array(x.shape[:2], jnp.float32)
    share = jax.random.uniform(of_size, (), minval=least)
    first = jax.random.uniform(of_place, (2,)) * (1 - share) * sides
    scale = jnp.full((2,), 1 / share)
    grown = jax.image.scale_and_translate(x, x.shape, (0, 1), scale, -first * scale, method="linear", antialias=False)
    return grown.astype(x.dtype)
