"""Transposed convolution: x (..., *image, in), kernel W (*window, in/groups, out), bias b -> y (..., *places, out).

    forward     y_nmo     = sum_t sum_c x_nic W_tco + b_o where s i + d t - p = m    (1)   each x_i adds a window to y
    backward    x_bar_nic = sum_t sum_o y_bar_n,si+dt-p,o W_tco                      (2)   a convolution of y_bar
                W_bar_tco = sum_n sum_i x_nic y_bar_n,si+dt-p,o                      (3)   y_bar correlated with x
                b_bar_o   = sum_n sum_m y_bar_nmo                                    (4)

n is an example, c an input channel, o an output channel. On each axis i is an entry of x, m one of y, t a tap, s the
stride, d the dilation, p the padding before. A convolution from y to x reads y at s i + d t - p for its place i; this
one writes there. So (1), (2) and (3) are the parts x_bar, y and W_bar of the convolution's form T, with x and y
exchanged, and with the channels of W exchanged.

Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning (2016), arXiv:1603.07285, chapter 4.
Derivation: docs/derivations/transposed_convolution.md
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.core.arguments import as_floats
from fnnet.core.geometry import integer, transposed_window
from fnnet.core.habits import hinted
from fnnet.core.registration import rule
from fnnet.formulations.reductions import column_sums
from fnnet.rules import convolution


@hinted
def conv_transpose(
    x: Float[ArrayLike, "*batch_and_image inputs"],
    kernel: Float[ArrayLike, "*window inputs_per_group outputs"],
    bias: Float[ArrayLike, " outputs"] | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int | Sequence[int]] = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    out_sharding: P | NamedSharding | None = None,
) -> Float[Array, "*batch_and_places outputs"]:
    """Transposed convolution over one to three spatial axes, as many as the kernel has.

    Args:
        x: One example (*image, inputs), or with any leading batch axes; the channels come last.
        kernel: (*window, inputs / groups, outputs), as for `fnnet.conv`. PyTorch's is (inputs, outputs / groups,
            *window): without groups, `jnp.moveaxis(weight, (0, 1), (-2, -1))` is this one. `interop` carries it with
            groups too. Keras's, and Flax's with `transpose_kernel=True`, is (*window, outputs, inputs). Flax's default
            is this one with its window flipped.
        bias: (outputs,), or None.
        stride: Step in the output between the windows of two neighbours in x, one for all axes or one an axis.
        padding: How many entries of the output are cut off at both ends: an integer, or for each axis an integer or a
            pair (before, after).
        output_padding: How many entries more the output has at its end; less than the stride or the dilation.
        dilation: Step between taps.
        groups: Number of groups of channels that do not mix.
        out_sharding: Under explicit mesh axes, how the output is sharded, if x and kernel leave that open. A kernel
            that is sharded over the examples' mesh axes is gathered first. Its gradient is sharded as the kernel is.

    Returns:
        (..., *places, outputs), in the arguments' promoted dtype. Each axis has
        (n - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1 places, as in `torch.nn.ConvTranspose2d`.
        bf16 and f16 are accumulated in f32. On a CPU an infinity or NaN in x may reach outputs beyond its window, as
        NaN.

    Raises:
        ValueError: Shapes, groups or window do not go together, or there are no explicit mesh axes for `out_sharding`.
        TypeError: An array is not floating, or another argument not an integer, a padding or a sharding.

    Source: Dumoulin and Visin (2016), chapter 4, generalised.
    """
    x, kernel, bias = as_floats("conv_transpose", x=x, kernel=kernel, bias=bias, optional=("bias",))
    if not 3 <= kernel.ndim <= 5 or 0 in kernel.shape:
        raise ValueError(
            f"conv_transpose: kernel of shape {kernel.shape} must have shape (*window, inputs / groups, outputs), with "
            "a window of 1 to 3 axes, of 1 tap or more each"
        )
    *size, inputs, outputs = kernel.shape
    place, more = transposed_window(
        "conv_transpose",
        x.shape,
        size,
        stride=stride,
        dilation=dilation,
        padding=padding,
        output_padding=output_padding,
    )
    groups = integer("conv_transpose", "groups", groups)
    if outputs % groups:
        raise ValueError(
            f"conv_transpose: groups (={groups}) must divide the {outputs} outputs of kernel of shape {kernel.shape}"
        )
    if x.shape[-1] != inputs * groups:
        raise ValueError(
            f"conv_transpose: x of shape {x.shape} has {x.shape[-1]} channels; kernel of shape {kernel.shape} with "
            f"groups {groups} takes {inputs * groups}"
        )
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(
            f"conv_transpose: bias of shape {bias.shape} must be ({outputs},), the outputs of kernel {kernel.shape}"
        )
    if any(more):
        x = jnp.pad(x, [(0, 0)] * (x.ndim - len(more) - 1) + [(0, m) for m in more] + [(0, 0)])
    return _conv_transpose(x, kernel, bias, window=place, groups=groups, out_sharding=out_sharding)


def conv_transpose_fwd(x, kernel, bias, *, window, groups):
    y = form.x_bar(exchanged(kernel, groups), x, window=window, groups=groups)  # (1) without b
    return y if bias is None else y + bias, (x, kernel)  # (1); (2) reads W, (3) reads x


def conv_transpose_bwd(residuals, y_bar, *, window, groups):
    x, kernel = residuals
    x_bar = form.y(y_bar, exchanged(kernel, groups), window=window, groups=groups)  # (2)
    kernel_bar = exchanged(form.kernel_bar(y_bar, x, window=window, groups=groups), groups)  # (3)
    return x_bar, kernel_bar, column_sums(y_bar)  # (4)


def exchanged(kernel, groups):
    """(*window, in/groups, out) as the kernel of the convolution from y to x, (*window, out/groups, in); or back."""
    *size, inputs, outputs = kernel.shape
    by_group = kernel.reshape(*size, inputs, groups, outputs // groups)
    return by_group.swapaxes(-1, -3).reshape(*size, outputs // groups, groups * inputs)


form = convolution.form
_conv_transpose = rule(conv_transpose_fwd, conv_transpose_bwd, batched=("x",))
