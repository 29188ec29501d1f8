"""docs/errata.md, convolution and max-pooling of 001: each printed form against differences, and its correction."""

import image_loops as loops
import numpy as np
import pytest
from central_differences import gradient, jacobian, right, wrong

from fnnet.core import geometry

RNG = np.random.default_rng(2)


def true_convolution(image, kernel, p):
    """By slices of the image with zeros around it, (7)."""
    wide = np.pad(image, (p // 2, p - p // 2))
    w, w_out = len(kernel), len(wide) - len(kernel) + 1
    return sum(wide[k : k + w_out, l : l + w_out] * kernel[k, l] for k in range(w) for l in range(w))


def test_window_one_too_many():
    image, kernel = RNG.normal(size=(3, 3)), RNG.normal(size=(2, 2))
    by_image = jacobian(lambda image: true_convolution(image, kernel, 1), image)
    a, w = 1, 2
    assert right(by_image[a - 1, a - 1, :w, :w], kernel)  # i, j from a to a + w_F - 1
    assert np.abs(by_image[a - 1, a - 1, w]).max() < 1e-10  # at i = a + w_F z does not depend on I
    with pytest.raises(IndexError):
        kernel[a + w - a, 0]  # where (10) names F_{w_F + 1, .}


@pytest.mark.parametrize("w", [2, 3])
def test_bounds_of_10(w):
    p, size = w - 1, 4
    image, kernel = RNG.normal(size=(size, size)), RNG.normal(size=(w, w))
    true = jacobian(lambda image: true_convolution(image, kernel, p), image)

    def by_formula(printed):
        entries = [
            loops.z_by_image(kernel, a, b, i, j, p, size, printed)
            for a, b in loops.places(size)
            for i, j in loops.places(size)
        ]
        return np.reshape(entries, (size,) * 4)

    assert wrong(by_formula(["bounds-of-10"]), true)  # (12) has the same bounds
    assert right(by_formula([]), true)


def test_padding_not_shifted():
    image = RNG.normal(size=(4, 4))
    for w, test in ((2, right), (3, wrong), (4, wrong)):  # 2 is the source's example
        p, kernel = w - 1, RNG.normal(size=(w, w))
        z = true_convolution(image, kernel, p)
        assert test(loops.convolution(image, kernel, p, ["padding-not-shifted"]), z)  # (9)
        assert right(loops.convolution(image, kernel, p), z)
        by_kernel = jacobian(lambda kernel, p=p: true_convolution(image, kernel, p), kernel)

        def by_formula(printed, p=p, w=w):
            entries = [
                loops.z_by_kernel(image, a, b, i, j, p, printed) for a, b in loops.places(4) for i, j in loops.places(w)
            ]
            return np.reshape(entries, (4, 4, w, w))

        assert test(by_formula(["padding-not-shifted"]), by_kernel)  # (13), and with it (14)
        assert right(by_formula([]), by_kernel)


def test_pool_padding():
    assert loops.least_padding(3, 2, ["pool-padding"]) == loops.least_padding(3, 2) == 1  # the source's example
    for image in range(1, 40):
        for w in range(1, 8):
            least = min(p for p in range(w) if (image + p) % w == 0)
            assert loops.least_padding(image, w) == least
            assert geometry.same_padding(image, w, w, 1) == (least // 2, least - least // 2)
    assert [loops.least_padding(4, 3, ["pool-padding"]), loops.least_padding(4, 3)] == [1, 2]

    image = np.abs(RNG.normal(size=(4, 4)))
    outputs_bar = RNG.normal(size=(2, 2))

    def pooled(image):
        wide = np.pad(image, 1)
        return np.sum(wide.reshape(2, 3, 2, 3).max((1, 3)) * outputs_bar)

    true = gradient(pooled, image)
    _, where = loops.max_pool(image, 3, 2)
    assert right(loops.max_pool_backward(image, where, outputs_bar, 2), true)
    _, where = loops.max_pool(image, 3, 1)  # as printed: 5 rows and columns, on which windows of 3 do not fit twice
    assert wrong(loops.max_pool_backward(image, where, outputs_bar, 1), true)


def test_pool_not_shifted():
    for size, w, test in ((3, 2, right), (4, 3, wrong), (5, 4, wrong)):  # the first is the source's example
        p = loops.least_padding(size, w)
        image, outputs_bar = RNG.uniform(1, 2, size=(size, size)), RNG.normal(size=(2, 2))
        true = gradient(lambda image, w=w, p=p, bar=outputs_bar: np.sum(loops.max_pool(image, w, p)[0] * bar), image)
        _, where = loops.max_pool(image, w, p)
        assert test(loops.max_pool_backward(image, where, outputs_bar, p, ["pool-not-shifted"]), true)
        assert right(loops.max_pool_backward(image, where, outputs_bar, p), true)
