"""Convolution, max-pooling and flatten of source 001 ("Al Project", III): its formulas as loops, in NumPy.

As in dense_loops.py, `printed` names the mistakes of docs/errata.md whose printed form runs. Indices count from 1, as
in the source. 001 gives the derivative of each output by each entry; the sums over all outputs, which a gradient is,
stand here. Its convolution is of one input matrix with each filter, without bias, and ReLU belongs to it.
"""

from collections.abc import Collection

import numpy as np

CONVOLUTION = ("bounds-of-10", "padding-not-shifted")
POOLING = ("pool-padding", "pool-not-shifted")


def least_padding(w_image, w_filter, printed: Collection[str] = ()):
    """III.2, item 5: how many zeros to add so that windows of this size, side by side, cover the image."""
    return w_image % w_filter if "pool-padding" in printed else -w_image % w_filter


def padded(image, p):
    """(7) and (15): half of the zeros in front, and the odd one at the end."""
    return np.pad(image, (p // 2, p - p // 2))


def h(image, k, l, p, printed: Collection[str] = ()):
    """(9): the entry k, l of the padded image."""
    before, w = p // 2, len(image)
    if "padding-not-shifted" in printed:
        return image[k - 1, l - 1] if 1 + before <= k <= w and 1 + before <= l <= w else 0.0
    inside = 1 + before <= k <= w + before and 1 + before <= l <= w + before
    return image[k - before - 1, l - before - 1] if inside else 0.0


def z_by_image(kernel, a, b, i, j, p, w_out, printed: Collection[str] = ()):
    """(10): dz_ab / dI_ij."""
    w = len(kernel)
    if "bounds-of-10" in printed:
        k, l = i - a, j - b
        inside = 1 <= k <= w_out and 1 <= l <= w_out and k < w and l < w  # beyond w it names what is not there
    else:
        k, l = i - a + p // 2, j - b + p // 2
        inside = 0 <= k < w and 0 <= l < w
    return kernel[k, l] if inside else 0.0


def z_by_kernel(image, a, b, i, j, p, printed: Collection[str] = ()):
    """(13): dz_ab / dF_ij."""
    return h(image, a + i - 1, b + j - 1, p, printed)


def relu_slope(z):
    """(11); at z = 0, which it leaves out, the 0 of (12)."""
    return 1.0 if z > 0 else 0.0


def places(w):
    return [(a, b) for a in range(1, w + 1) for b in range(1, w + 1)]


def convolution(image, kernel, p, printed: Collection[str] = ()):
    """(8) and (9): z, before ReLU."""
    w, w_out = len(kernel), len(image) + p - len(kernel) + 1
    z = np.zeros((w_out, w_out))
    for a, b in places(w_out):
        for k, l in places(w):
            z[a - 1, b - 1] += h(image, a + k - 1, b + l - 1, p, printed) * kernel[k - 1, l - 1]
    return z


def convolution_backward(image, kernels, zs, outputs_bar, p, printed: Collection[str] = ()):
    """(12) and (14), each summed over the places, and over the filters for the image: image_bar, kernels_bar."""
    image_bar, kernels_bar = np.zeros_like(image), np.zeros_like(kernels)
    w_out = zs.shape[-1]
    for n, kernel in enumerate(kernels):
        for a, b in places(w_out):
            z_bar = outputs_bar[n, a - 1, b - 1] * relu_slope(zs[n, a - 1, b - 1])
            for i, j in places(len(image)):
                image_bar[i - 1, j - 1] += z_bar * z_by_image(kernel, a, b, i, j, p, w_out, printed)
            for i, j in places(len(kernel)):
                kernels_bar[n, i - 1, j - 1] += z_bar * z_by_kernel(image, a, b, i, j, p, printed)
    return image_bar, kernels_bar


def max_pool(image, w, p):
    """(16), windows side by side: the output, and for each place where its maximum stands in the padded image, (17)."""
    wide = padded(image, p)
    w_out = len(wide) // w
    output, where = np.zeros((w_out, w_out)), {}
    for a, b in places(w_out):
        window = [((a - 1) * w + k, (b - 1) * w + l) for k, l in places(w)]
        values = [wide[i - 1, j - 1] for i, j in window]
        where[a, b] = window[int(np.argmax(values))]  # of equal values the first
        output[a - 1, b - 1] = max(values)
    return output, where


def max_pool_backward(image, where, output_bar, p, printed: Collection[str] = ()):
    """(17), summed over the places; what the padding won is lost."""
    wide_bar = np.zeros_like(padded(image, p))
    for (a, b), (i, j) in where.items():
        wide_bar[i - 1, j - 1] += output_bar[a - 1, b - 1]
    before = 0 if "pool-not-shifted" in printed else p // 2
    return wide_bar[before : before + len(image), before : before + len(image)]


def flatten(matrices):
    """(18): row by row, one matrix after the other."""
    return np.concatenate([matrix.ravel() for matrix in matrices])


def unflatten(vector, shape):
    """(19)."""
    return vector.reshape(shape)
