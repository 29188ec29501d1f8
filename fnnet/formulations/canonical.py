"""Convolution and its two gradients as convolutions NHWC, HWIO -> NHWC, for XLA on a CPU.

XLA has a fast kernel for that order of dimensions only. The gradients on the rule's page name other orders: outside a
loop XLA transposes them, but inside one (`lax.scan`) it runs a naive loop, 25 times slower. Here the transposes are
written out.

Before jax 0.12 that kernel uses one core. Dilating image and window by 2 and doubling the stride gives the same result
and selects another kernel, which uses all cores.

Images and cotangents have one batch axis, (N, *spatial, channels).
"""

import jax
import jax.numpy as jnp
from jax import lax

from fnnet.core import onednn
from fnnet.core.arguments import accumulator
from fnnet.core.geometry import Window

ON_ONE_CORE = jax.__version_info__ < (0, 12)  # seen with 0.10.2, not with 0.12.0
FEW_CHANNELS = 8  # the first dimension of the kernel's gradient as a convolution
LEAST_DILATED = 24  # outputs: with fewer, the other kernel is slower


def output(images, kernel, *, window: Window, groups: int):
    """The convolution itself."""
    return _convolution(images, kernel, window.stride, window.padding, rhs_dilation=window.dilation, groups=groups)


def x_gradient(kernel, cotangents, *, window: Window, groups: int):
    """The cotangent, spread out by the stride, convolved with the kernel flipped and its channels exchanged."""
    flipped = jnp.flip(exchanged(kernel, groups), range(window.rank))
    if onednn.takes(kernel.dtype):
        flipped = lax.optimization_barrier(flipped)  # oneDNN takes no kernel that XLA sees to be flipped
    seeing, padding = [], []
    for n, k, s, d, (lo, _), o in window.axes:
        before = d * (k - 1) - lo
        after = n - (o - 1) * s - 1 + d * (k - 1) - before
        # A padding is negative where places see padding alone. These places are cut off below: for negative padding XLA
        # has no fast kernel, before jax 0.12 a wrong one (docs/xla_faults.md); with groups and a stride it may abort.
        first, last = (max(-(edge // s), 0) for edge in (before, after))
        seeing.append(slice(first, o - last))
        before, after = before + first * s, after + last * s
        if (k, s, d, before, after) == (2, 2, 1, 0, 0):
            # Where the cotangent is smaller than the kernel, XLA exchanges the operands of a convolution, and aborts at
            # such an axis. So one more place is computed and cut off below.
            after = 1
        padding.append((before, after, s - 1))
    cotangents = cotangents[(slice(None), *seeing)]
    spread = any(between for *_, between in padding)
    if spread:  # here, because XLA has no fast kernel for a convolution that spreads its image
        cotangents = lax.pad(cotangents, jnp.zeros((), cotangents.dtype), [(0, 0, 0), *padding, (0, 0, 0)])
        padding = [(0, 0, 0)] * window.rank
    x_bar = _convolution(
        cotangents,
        flipped,
        (1,) * window.rank,
        [(lo, hi) for lo, hi, _ in padding],
        rhs_dilation=window.dilation,
        groups=groups,
        spread=spread,
    )
    return x_bar[(slice(None), *map(slice, window.image))]


def kernel_gradient(images, cotangents, *, window: Window, groups: int):
    """x with its channels as examples, convolved with the cotangent as a kernel whose taps stand the stride apart."""
    channels = images.shape[-1] // groups
    padding = []
    for axis, (n, k, s, d, (lo, _), o) in enumerate(window.axes):
        hi = d * (k - 1) + s * (o - 1) + 1 - n - lo
        if hi < 0:  # the stride leaves out the end, which is cut off here: negative padding has no fast kernel
            edges = [(0, 0, 0)] * images.ndim
            edges[axis + 1] = (lo, hi, 0)
            images, lo = lax.pad(images, jnp.zeros((), images.dtype), edges), 0
        padding.append((lo, max(hi, 0)))
    spatial = images.shape[1:-1]
    grouped = images.reshape(-1, *spatial, groups, channels)
    as_images = jnp.moveaxis(jnp.moveaxis(grouped, -1, 0), 1, -1)  # (channels, *spatial, groups, N)
    as_images = as_images.reshape(channels, *spatial, -1)
    as_kernel = jnp.moveaxis(cotangents, 0, -2)  # (*out, N, outputs)
    of_taps = tuple(range(1, 1 + window.rank))
    by_xla = onednn.takes(images.dtype) and groups == 1 and channels <= FEW_CHANNELS
    if by_xla:  # oneDNN is slower, and takes no kernel that XLA sees to be flipped: so both are flipped, and the taps
        as_images, as_kernel = lax.rev(as_images, of_taps), lax.rev(as_kernel, range(window.rank))
        padding = [(hi, lo) for lo, hi in padding]
    taps = _convolution(as_images, as_kernel, window.dilation, padding, rhs_dilation=window.stride, groups=groups)
    if by_xla:
        taps = lax.rev(taps, of_taps)
    return jnp.moveaxis(taps, 0, -2)  # (*taps, channels, outputs)


def _convolution(x, kernel, strides, padding, *, rhs_dilation, groups, spread: bool = False):
    """A `spread` image has zeros between its entries already."""
    spatial = "DHW"[3 - len(strides) :]
    wide = x.dtype.itemsize >= 4 and kernel.shape[-1] >= LEAST_DILATED
    twice = 2 if ON_ONE_CORE and wide and groups == 1 and not spread else 1
    y = lax.conv_general_dilated(
        x,
        kernel,
        [twice * s for s in strides],
        [(twice * lo, twice * hi) for lo, hi in padding],
        (twice,) * len(strides),
        [twice * d for d in rhs_dilation],
        (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
        preferred_element_type=accumulator(x.dtype),
    )
    return y.astype(x.dtype)


def exchanged(kernel, groups: int):
    """(*window, in/groups, out) as (*window, out/groups, in)."""
    *size, inputs, outputs = kernel.shape
    by_group = kernel.reshape(*size, inputs, groups, outputs // groups)
    return jnp.moveaxis(by_group, -1, -3).swapaxes(-1, -2).reshape(*size, outputs // groups, inputs * groups)
