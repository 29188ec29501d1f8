"""Convolution: input x (..., *image, in), kernel W (*window, in/groups, out), bias b (out,) -> y (..., *places, out).

    forward     y_nio     = sum_t sum_c x_n,si+dt-p,c W_tco + b_o                  (1)   i a place, t a tap
    backward    x_bar_nmc = sum_t sum_o y_bar_nio W_tco where s i + d t - p = m    (2)   m an entry of the image
                W_bar_tco = sum_n sum_i x_n,si+dt-p,c y_bar_nio                    (3)   x correlated with y_bar
                b_bar_o   = sum_n sum_i y_bar_nio                                  (4)

n is an example, c an input channel, o an output channel. On each axis s is the stride, d the dilation, p the padding
before; outside the image x is 0. (2) is the full convolution, with W flipped. With groups, an output channel sees the
input channels of its own group only. As in every library of this field, (1) is a correlation: it does not flip W.

Sources: 001, "Conv2D Layer": (8) is (1), (10) is (2), (13) is (3), for one channel, no bias, stride and dilation 1.
The bounds of its (10) and (12) and the padding of its (9) and (13) are wrong: docs/errata.md.
Derivation: docs/derivations/convolution.md
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.core.arguments import as_floats
from fnnet.core.geometry import Padding, integer, window
from fnnet.core.habits import hinted
from fnnet.core.multilinear import Form
from fnnet.core.registration import rule
from fnnet.formulations import convolution
from fnnet.formulations.convolution import one_batch_axis
from fnnet.formulations.platforms import on_cpu
from fnnet.formulations.reductions import column_sums


@hinted
def conv(
    x: Float[ArrayLike, "*batch_and_image inputs"],
    kernel: Float[ArrayLike, "*window inputs_per_group outputs"],
    bias: Float[ArrayLike, " outputs"] | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    out_sharding: P | NamedSharding | None = None,
) -> Float[Array, "*batch_and_places outputs"]:
    """Convolution over one to three spatial axes, as many as the kernel has.

    Args:
        x: One example (*image, inputs), or with any leading batch axes; the channels come last.
        kernel: (*window, inputs / groups, outputs).
        bias: (outputs,), or None.
        stride: Step between places, one for all axes or one an axis.
        padding: "SAME" (ceil(image / stride) places, the odd zero at the end), "SAME_LOWER" (in front), "VALID", an
            integer, or for each axis an integer or a pair (before, after).
        dilation: Step between taps.
        groups: Number of groups of channels that do not mix; groups = inputs is a depthwise convolution.
        out_sharding: Under explicit mesh axes, how the output is sharded, if x and kernel leave that open. A kernel
            that is sharded over the examples' mesh axes is gathered first. Its gradient is sharded as the kernel is.

    Returns:
        (..., *places, outputs), in the arguments' promoted dtype. bf16 and f16 are accumulated in f32. On a CPU,
        Winograd's products compute kernels of 3 x 3 taps and many channels. There an infinity or NaN in x reaches all
        outputs of a tile of 2 x 2. In gradients, too, it may reach entries whose windows do not see it, as NaN.

    Raises:
        ValueError: Shapes, groups or window do not go together, or there are no explicit mesh axes for `out_sharding`.
        TypeError: An array is not floating, or another argument not an integer, a padding or a sharding.

    Source: 001, "Conv2D Layer", (5) to (14), generalised.
    """
    x, kernel, bias = as_floats("conv", x=x, kernel=kernel, bias=bias, optional=("bias",))
    if not 3 <= kernel.ndim <= 5 or 0 in kernel.shape[:-2]:
        raise ValueError(
            f"conv: kernel of shape {kernel.shape} must have shape (*window, inputs / groups, outputs), with a "
            "window of 1 to 3 axes, of 1 tap or more each"
        )
    *size, inputs, outputs = kernel.shape
    place = window("conv", x.shape, size, stride=stride, dilation=dilation, padding=padding)
    groups = integer("conv", "groups", groups)
    if x.shape[-1] % groups or outputs % groups:
        raise ValueError(
            f"conv: groups (={groups}) must be 1 or more, and divide x's {x.shape[-1]} channels and kernel's {outputs} "
            "outputs"
        )
    if inputs * groups != x.shape[-1]:
        raise ValueError(
            f"conv: x of shape {x.shape} has {x.shape[-1]} channels; kernel of shape {kernel.shape} with groups "
            f"{groups} takes {inputs * groups}"
        )
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"conv: bias of shape {bias.shape} must be ({outputs},), the outputs of kernel {kernel.shape}")
    return _conv(x, kernel, bias, window=place, groups=groups, out_sharding=out_sharding)


def conv_fwd(x, kernel, bias, *, window, groups):
    y = form.y(x, kernel, window=window, groups=groups)  # (1) without b
    return y if bias is None else y + bias, (x, kernel)  # (1); (2) reads W, (3) reads x


def conv_bwd(residuals, y_bar, *, window, groups):
    x, kernel = residuals
    x_bar = form.x_bar(kernel, y_bar, window=window, groups=groups)  # (2)
    kernel_bar = form.kernel_bar(x, y_bar, window=window, groups=groups)  # (3)
    return x_bar, kernel_bar, column_sums(y_bar)  # (4)


# The three partial derivatives of T(x, W, y_bar) = sum_nio y_bar_nio y_nio, with y of (1) without b. GPUs and TPUs
# compute them as they stand here, a CPU as fnnet/formulations/convolution.py chooses. x is (N, *image, in) here.


@one_batch_axis
@on_cpu(convolution.output)
def output(x, kernel, *, window, groups):
    """(1): places s apart, taps d apart."""
    image = "DHW"[-window.rank :]
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=window.stride,
        padding=window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=(f"N{image}C", f"{image}IO", f"N{image}C"),
        feature_group_count=groups,
    )


@one_batch_axis
@on_cpu(convolution.x_gradient)
def x_gradient(kernel, y_bar, *, window, groups):
    """(2): y_bar, spread out so that its entries are s apart, with the kernel flipped and its channels exchanged."""
    image = "DHW"[-window.rank :]
    *size, inputs, outputs = kernel.shape
    by_group = jnp.moveaxis(kernel.reshape(*size, inputs, groups, outputs // groups), -2, -3)
    exchanged = by_group.reshape(*size, groups * inputs, outputs // groups)  # all inputs, the outputs of one group
    return lax.conv_general_dilated(
        y_bar,
        jnp.flip(exchanged, range(window.rank)),
        window_strides=[1] * window.rank,
        padding=[(d * (k - 1) - lo, w - 1 + lo - s * (r - 1)) for w, k, s, d, (lo, _), r in window.axes],
        lhs_dilation=window.stride,
        rhs_dilation=window.dilation,
        dimension_numbers=(f"N{image}C", f"{image}OI", f"N{image}C"),
        feature_group_count=groups,
    )


@one_batch_axis
@on_cpu(convolution.kernel_gradient)
def kernel_gradient(x, y_bar, *, window, groups):
    """(3): x with y_bar as a kernel whose taps are s apart, at places d apart; what is summed over is N."""
    image = "DHW"[-window.rank :]
    return lax.conv_general_dilated(
        x,
        y_bar,
        window_strides=window.dilation,
        padding=[(lo, d * (k - 1) + s * (r - 1) + 1 - w - lo) for w, k, s, d, (lo, _), r in window.axes],
        rhs_dilation=window.stride,
        dimension_numbers=(f"C{image}N", f"I{image}O", f"{image}NC"),
        batch_group_count=groups,
    )


form = Form("conv", y=output, x_bar=x_gradient, kernel_bar=kernel_gradient, parameters=("kernel",))
_conv = rule(conv_fwd, conv_bwd, batched=("x",))
