"""How a CPU computes the three partial derivatives of convolution: which formulation, by shape. Chosen here alone.

GPUs and TPUs compute the plain forms, which stand on the rule's page, fnnet/rules/convolution.py. On a CPU:

    depthwise, one output a channel         products and sums, tap by tap       depthwise.py
    2 to 32 groups                          as without groups, for each
    more, where devices may share the batch the same, in a loop; W_bar tap by tap
    one tap                                 one product                         patches.py
    y of few taps                           products and sums, tap by tap       sums.py
    W_bar of 3 x 3 taps, 2 to 32 channels   a product, its taps on both sides   split_taps.py
    W_bar of one example, and of few taps   a product of patches                patches.py
      where images are large or few
    x_bar of few channels, narrow images    a product with a band               bands.py
    x_bar of few channels                   a product to patches                patches.py
    x_bar with a stride                     a convolution for all its phases    phases.py
    3 x 3 taps side by side, many channels  Winograd's products                 winograd.py
    all others, and on explicit mesh axes   convolutions NHWC, HWIO -> NHWC     canonical.py

Where `fnnet.use_onednn` was called, oneDNN's convolutions take the place of most forms of y, of x_bar without a stride,
and of W_bar's split taps. docs/speed.md has what each costs. Images and cotangents are (N, *spatial, channels).
"""

import functools
import inspect
import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from fnnet.core import onednn
from fnnet.core.geometry import Window
from fnnet.core.primitives import is_explicit
from fnnet.formulations import bands, canonical, depthwise, patches, phases, pieces, split_taps, sums, winograd
from fnnet.formulations.branches import KEEPS_BARRIERS

MOST_SPLIT = 32  # groups: each is a convolution of its own to compile
FEW_TAPS = 32  # taps times channels: terms of a sum, rows of the matrix of patches
FEW_CHANNELS = 8  # but more than one: a convolution with so few output channels is slow
MOST_WINDOWS = 3  # side by side in a row: with more, the band is mostly zeros
MANY_OUTPUTS = 16  # a product with fewer columns is no faster
FEW_WEIGHTS = 32  # channels and outputs: with more, a convolution sums faster over the batch than a product
MANY_CHANNELS = 64  # from here on, zeros among the taps cost more than zeros in the cotangent
LEAST_CHANNELS, LEAST_WEIGHTS = 32, 2048  # Winograd's products: channels and outputs each, and their product
LEAST_BESIDE_ONEDNN = 64  # channels and outputs: with fewer, oneDNN's convolutions are faster
PARTS_BY_ONEDNN = 8  # of W_bar of one tap: both cores take part only in a batch of products
LEAST_TILES = 512  # rows of Winograd's products, in a piece of the batch
MOST_PLACES = 4096  # of all cotangents, in W_bar as one convolution, which sums over the batch as over channels;
OF_A_PIECE = 16  # more are summed in pieces of at most so many examples,
OF_A_PIECE_OF_FEW = 12  # where they have few channels, of so many


def one_batch_axis(function: Callable) -> Callable:
    """Decorator: all leading axes of its operands but the kernel become one axis, and the result gets them back."""
    names = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def of_any_batch(*operands, window: Window, groups: int):
        lead: tuple = ()
        merged = []
        for name, operand in zip(names, operands, strict=False):
            if name != "kernel":
                lead = operand.shape[: -window.rank - 1]
                operand = operand.reshape(math.prod(lead), *operand.shape[len(lead) :])
            merged.append(operand)
        result = function(*merged, window=window, groups=groups)
        return result.reshape(*lead, *result.shape[1:]) if "kernel" in names else result

    return of_any_batch


def output(images, kernel, *, window: Window, groups: int):
    """y."""
    if KEEPS_BARRIERS:  # with a constant kernel XLA may be wrong: branches.of_unknown_kernel
        kernel = lax.optimization_barrier(kernel)
    by_onednn = _by_onednn(images, groups)
    if groups == kernel.shape[-1] > 1 == kernel.shape[-2] and not is_explicit(images) and not by_onednn:
        return depthwise.output(images, kernel, window=window)

    def by_group(images, kernel, *, groups: int):
        if groups == 1 and not is_explicit(images):
            if math.prod(window.size) == 1 and not by_onednn:
                return patches.output_of_one_tap(images, kernel, window=window)
            few = math.prod(kernel.shape[:-1]) <= FEW_TAPS
            if few and math.prod(window.size) > 1 and (kernel.shape[-1] >= MANY_OUTPUTS or not by_onednn):
                return sums.output(images, kernel, window=window)
            if _by_winograd(images, kernel.shape[-2:], window, by_onednn):
                return winograd.output(images, kernel, window=window)
        return canonical.output(images, kernel, window=window, groups=groups)

    if by_onednn:
        return by_group(images, kernel, groups=groups)
    return _split(by_group, images, kernel, groups=groups)


def x_gradient(kernel, cotangents, *, window: Window, groups: int):
    """x_bar."""
    # canonical.py hides from XLA that the kernel is flipped: by a barrier, which jax 0.11 drops.
    by_onednn = _by_onednn(cotangents, groups) and set(window.stride) == {1} and KEEPS_BARRIERS
    if groups == kernel.shape[-1] > 1 == kernel.shape[-2] and not is_explicit(cotangents) and not by_onednn:
        return depthwise.x_gradient(kernel, cotangents, window=window)

    def by_group(kernel, cotangents, *, groups: int):
        if groups == 1 and not is_explicit(cotangents):
            if math.prod(window.size) == 1 and not by_onednn:
                return patches.x_gradient_of_one_tap(kernel, cotangents, window=window)
            if 1 < kernel.shape[-2] <= FEW_CHANNELS and kernel.shape[-1] >= MANY_OUTPUTS and not by_onednn:
                narrow = window.image[-1] <= MOST_WINDOWS * window.size[-1]
                return (bands if narrow else patches).x_gradient(kernel, cotangents, window=window)
            if _by_phases(kernel, window):
                return phases.x_gradient(kernel, cotangents, window=window)
            if _by_winograd(cotangents, kernel.shape[-2:], window, by_onednn):
                return winograd.x_gradient(kernel, cotangents, window=window)
        return canonical.x_gradient(kernel, cotangents, window=window, groups=groups)

    if by_onednn:
        return by_group(kernel, cotangents, groups=groups)
    return _split(by_group, kernel, cotangents, groups=groups)


def kernel_gradient(images, cotangents, *, window: Window, groups: int):
    """W_bar."""
    if isinstance(images.shape[0], int) and images.shape[0] == 0:
        return jnp.zeros((*window.size, images.shape[-1] // groups, cotangents.shape[-1]), cotangents.dtype)
    if images.shape[-1] == cotangents.shape[-1] == groups > 1 and not is_explicit(images):
        return depthwise.kernel_gradient(images, cotangents, window=window)
    if _in_turn(images, groups):
        return patches.grouped_kernel_gradient(images, cotangents, window=window, groups=groups)

    by_onednn = _by_onednn(images, groups)

    def by_group(images, cotangents, *, groups: int):
        weights = images.shape[-1], cotangents.shape[-1]
        if groups == 1 and not is_explicit(images):
            if math.prod(window.size) == 1:
                parts = PARTS_BY_ONEDNN if by_onednn and pieces.sharers() == 1 else 1
                return patches.kernel_gradient_of_one_tap(images, cotangents, window=window, parts=parts)
            if _by_split_taps(images, weights, window) and not by_onednn:
                return split_taps.kernel_gradient(images, cotangents, window=window)
            few = math.prod(window.size) * weights[0] <= FEW_TAPS and weights[1] >= MANY_OUTPUTS
            small = _pieces(images, cotangents) > 1 and math.prod(window.out) <= MOST_PLACES
            if (few and not small) or images.shape[0] == 1:
                return patches.kernel_gradient(images, cotangents, window=window)
            if _by_winograd(images, weights, window, by_onednn):
                return winograd.kernel_gradient(images, cotangents, window=window)
        whole = functools.partial(canonical.kernel_gradient, window=window, groups=groups)
        return pieces.summed(whole, images, cotangents, _pieces(images, cotangents))

    return _split(by_group, images, cotangents, groups=groups)


def _by_phases(kernel, window: Window) -> bool:
    """Whether x_bar is one convolution for all phases of the stride."""
    fits = set(window.dilation) == {1} and all(k >= s for k, s in zip(window.size, window.stride, strict=True))
    strided, channels = set(window.stride) != {1}, kernel.shape[-2]
    return fits and strided and (channels < MANY_CHANNELS or phases.without_waste(window))


def _pieces(images, cotangents) -> int:
    """The number of pieces of the batch for W_bar as a convolution; one for bf16 and f16."""
    examples, *out, _ = cotangents.shape
    wide = cotangents.dtype.itemsize >= 4 and not is_explicit(cotangents)
    many = isinstance(examples, int) and examples * math.prod(out) > MOST_PLACES
    most = OF_A_PIECE_OF_FEW if images.shape[-1] <= canonical.FEW_CHANNELS else OF_A_PIECE
    return pieces.number(examples, most) if wide and many else 1


def _by_onednn(array, groups: int) -> bool:
    """Whether oneDNN computes y, or x_bar without a stride. For groups XLA would gather a batch that devices share."""
    return onednn.takes(array.dtype) and (groups == 1 or pieces.sharers() == 1)


def _by_winograd(images, weights: tuple[int, int], window: Window, by_onednn: bool) -> bool:
    """Whether Winograd's products are used; `weights` are the kernel's numbers of channels and outputs."""
    examples, wide = images.shape[0], images.dtype.itemsize >= 4
    fits = window.size == (3, 3) and set(window.stride + window.dilation) == {1}
    least = LEAST_BESIDE_ONEDNN if by_onednn else LEAST_CHANNELS
    many = min(weights) >= least and math.prod(weights) >= LEAST_WEIGHTS
    known = isinstance(examples, int) and examples > 0  # not when exported for any batch
    return wide and fits and many and known and winograd.tiles_of_a_piece(examples, window.out) >= LEAST_TILES


def _by_split_taps(images, weights: tuple[int, int], window: Window) -> bool:
    """Whether both factors of W_bar see some of the taps."""
    examples, wide = images.shape[0], images.dtype.itemsize >= 4
    fits = window.size == (3, 3) and set(window.stride + window.dilation) == {1}
    several = isinstance(examples, int) and examples > 1
    return wide and several and fits and min(weights) > 1 and MANY_OUTPUTS <= max(weights) <= FEW_WEIGHTS


def _split(function, *arrays, groups: int):
    """Up to MOST_SPLIT groups each as a convolution of its own: XLA on a CPU has no fast kernel for groups.

    If there are more, and devices may share the batch, one group after the other: for a convolution with groups XLA
    would gather the batch.
    """
    if 1 < groups <= MOST_SPLIT:
        parts = zip(*(jnp.split(array, groups, -1) for array in arrays), strict=True)
        return jnp.concatenate([function(*part, groups=1) for part in parts], -1)
    if not _in_turn(arrays[0], groups):
        return function(*arrays, groups=groups)
    stacked = [jnp.moveaxis(array.reshape(*array.shape[:-1], groups, -1), -2, 0) for array in arrays]
    parts = lax.map(lambda part: function(*part, groups=1), stacked)
    return jnp.moveaxis(parts, 0, -2).reshape(*parts.shape[1:-1], -1)


def _in_turn(array, groups: int) -> bool:
    """Whether the groups are computed one after the other."""
    return groups > MOST_SPLIT and pieces.sharers() > 1 and not is_explicit(array)
