"""docs/equations.md, 001, images: the equations that are right, against differences and fnnet's rules."""

import image_loops as loops
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from central_differences import gradient, right

import fnnet
from fnnet.core import geometry

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(7)
IMAGE, KERNELS = RNG.normal(size=(3, 3)), RNG.normal(size=(3, 2, 2))
OUTPUTS_BAR = RNG.normal(size=(3, 3, 3))
P = 1


def layer(image, kernels):
    return np.stack([np.maximum(loops.convolution(image, kernel, P), 0) for kernel in kernels])


def by_fnnet(image, kernels):
    """The layer of three filters, channels first as in the source."""
    y = fnnet.relu(fnnet.conv(image[..., None], jnp.moveaxis(kernels, 0, -1)[:, :, None]))
    return jnp.moveaxis(y, -1, 0)


def test_same_padding():
    for image in range(1, 12):
        for w in range(1, 7):
            p = w - 1
            assert image + p - w + 1 == image
            assert geometry.same_padding(image, w, 1, 1) == (p // 2, p - p // 2)


def test_padded_image():
    wide = loops.padded(IMAGE, P)
    assert (wide[:3, :3] == IMAGE).all()
    assert (wide[3] == 0).all()
    assert (wide[:, 3] == 0).all()
    assert all(wide[k - 1, l - 1] == loops.h(IMAGE, k, l, P) for k, l in loops.places(4))


def test_convolution():
    f = KERNELS[0]
    example = IMAGE[1, 0] * f[0, 0] + IMAGE[1, 1] * f[0, 1] + IMAGE[2, 0] * f[1, 0] + IMAGE[2, 1] * f[1, 1]
    assert right(layer(IMAGE, KERNELS)[0, 1, 0], max(example, 0))
    assert right(by_fnnet(IMAGE, KERNELS), layer(IMAGE, KERNELS))


def test_relu_slope():
    z = RNG.normal(size=5)
    slopes = [loops.relu_slope(one) for one in z]
    assert right(slopes, gradient(lambda z: np.maximum(z, 0).sum(), z))
    assert right(jax.grad(lambda z: fnnet.relu(z).sum())(jnp.asarray(z)), slopes)


@pytest.mark.parametrize("by", [0, 1])
def test_convolution_backward(by):
    zs = np.stack([loops.convolution(IMAGE, kernel, P) for kernel in KERNELS])
    ours = loops.convolution_backward(IMAGE, KERNELS, zs, OUTPUTS_BAR, P)[by]
    operands = [IMAGE, KERNELS]

    def total(x):
        changed = [x if number == by else operand for number, operand in enumerate(operands)]
        return np.sum(layer(*changed) * OUTPUTS_BAR)

    assert right(ours, gradient(total, operands[by]))
    pulled = jax.vjp(by_fnnet, jnp.asarray(IMAGE), jnp.asarray(KERNELS))[1](jnp.asarray(OUTPUTS_BAR))[by]
    assert right(pulled, ours)


@pytest.mark.parametrize("w", [3, 4])
def test_convolution_backward_of_wider_filters(w):
    p, image, kernels = w - 1, RNG.normal(size=(4, 4)), RNG.normal(size=(1, w, w))
    zs, bar = loops.convolution(image, kernels[0], p)[None], RNG.normal(size=(1, 4, 4))
    image_bar, kernels_bar = loops.convolution_backward(image, kernels, zs, bar, p)
    pulled = jax.vjp(by_fnnet, jnp.asarray(image), jnp.asarray(kernels))[1](jnp.asarray(bar))
    assert right(image_bar, pulled[0])
    assert right(kernels_bar, pulled[1])


def test_max_pool():
    image = np.abs(IMAGE)
    output, _ = loops.max_pool(image, 2, P)
    assert output[0, 0] == image[:2, :2].max()
    assert output.shape == (2, 2)
    ours = fnnet.max_pool(image[..., None], 2, padding=((0, 1), (0, 1)))[..., 0]
    assert right(ours, output)


def test_max_pool_backward():
    image, bar = np.abs(IMAGE), RNG.normal(size=(2, 2))
    _, where = loops.max_pool(image, 2, P)
    ours = loops.max_pool_backward(image, where, bar, P)
    assert right(ours, gradient(lambda image: np.sum(loops.max_pool(image, 2, P)[0] * bar), image))
    pool = lambda x: fnnet.max_pool(x[..., None], 2, padding=((0, 1), (0, 1)))[..., 0]  # noqa: E731
    assert right(jax.vjp(pool, jnp.asarray(image))[1](jnp.asarray(bar))[0], ours)


def test_flatten():
    matrices = RNG.normal(size=(2, 3, 3))
    vector = loops.flatten(matrices)
    assert [vector[0], vector[1], vector[3], vector[9]] == [
        matrices[at] for at in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))
    ]
    assert (loops.unflatten(vector, matrices.shape) == matrices).all()
    bar = RNG.normal(size=18)
    assert right(
        jax.vjp(lambda x: fnnet.Flatten().apply({}, x), jnp.asarray(matrices))[1](jnp.asarray(bar))[0],
        loops.unflatten(bar, (2, 3, 3)),
    )
