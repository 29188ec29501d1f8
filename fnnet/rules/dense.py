"""Dense layer: input x (..., in), kernel W (in, out), bias b (out,) -> output y (..., out).

    forward     y_no     = sum_i x_ni W_io + b_o            (1)   n over the examples
    backward    x_bar_ni = sum_o y_bar_no W_io              (2)
                W_bar_io = sum_n x_ni y_bar_no              (3)
                b_bar_o  = sum_n y_bar_no                   (4)

Sources: 000 and 001, section "Layer l < L" (their w_{i,j} is W_ji here); 003 (22), (26), (28), one example at a time.
001 divides (3) and (4) by the batch size, because its cost is a mean. Here y_bar contains that 1/n.
Derivation: docs/derivations/dense.md
"""

import functools
import math

import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.core.arguments import accumulator, as_floats
from fnnet.core.habits import hinted
from fnnet.core.multilinear import Form
from fnnet.core.registration import rule
from fnnet.formulations.branches import of_unknown_kernel
from fnnet.formulations.platforms import on_cpu
from fnnet.formulations.reductions import column_sums


@hinted
def dense(
    x: Float[ArrayLike, "*batch inputs"],
    kernel: Float[ArrayLike, "inputs outputs"],
    bias: Float[ArrayLike, " outputs"] | None = None,
    *,
    out_sharding: P | NamedSharding | None = None,
) -> Float[Array, "*batch outputs"]:
    """Affine map y = x W + b.

    Args:
        x: One example (inputs,), or with any leading batch axes (..., inputs).
        kernel: (inputs, outputs).
        bias: (outputs,), or None.
        out_sharding: Under explicit mesh axes, how the output is sharded, if x and kernel leave that open. A kernel
            that is sharded over the examples' mesh axes is gathered first. Its gradient is sharded as the kernel is.

    Returns:
        (..., outputs), in the arguments' promoted dtype. bf16 and f16 are accumulated in f32.

    Raises:
        ValueError: The shapes do not go together, or there are no explicit mesh axes for `out_sharding`.
        TypeError: An argument is not a floating array, `out_sharding` not a sharding.

    Source: 001, "Back-propagation", section 3 (layer l < L).
    """
    x, kernel, bias = as_floats("dense", x=x, kernel=kernel, bias=bias, optional=("bias",))
    if kernel.ndim != 2:
        raise ValueError(f"dense: kernel of shape {kernel.shape} must have shape (inputs, outputs)")
    if x.ndim < 1 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(
            f"dense: x of shape {x.shape} must end in {kernel.shape[0]}, the inputs of kernel {kernel.shape}"
        )
    if bias is not None and bias.shape != kernel.shape[1:]:
        raise ValueError(
            f"dense: bias of shape {bias.shape} must be {kernel.shape[1:]}, the outputs of kernel {kernel.shape}"
        )
    return _dense(x, kernel, bias, out_sharding=out_sharding)


def dense_fwd(x, kernel, bias):
    y = output(x, kernel)  # (1) without b
    return y if bias is None else y + bias, (x, kernel)  # (1); (2) reads W, (3) reads x, none reads b


def dense_bwd(residuals, y_bar):
    x, kernel = residuals
    x_bar = form.x_bar(kernel, y_bar)  # (2)
    kernel_bar = form.kernel_bar(x, y_bar)  # (3)
    return x_bar, kernel_bar, column_sums(y_bar)  # (4)


# The three partial derivatives of T(x, W, y_bar) = sum_no y_bar_no sum_i x_ni W_io.


def product(a, b):
    y = jnp.matmul(a, b, preferred_element_type=accumulator(a.dtype))
    return y.astype(a.dtype)


@on_cpu(functools.partial(of_unknown_kernel, product))
def output(x, kernel):
    """(1) without b."""
    return product(x, kernel)


def x_gradient(kernel, y_bar):
    """(2)."""
    return product(y_bar, kernel.T)


def kernel_gradient(x, y_bar):
    """(3): all leading axes are examples."""
    examples = math.prod(x.shape[:-1])
    return product(x.reshape(examples, x.shape[-1]).T, y_bar.reshape(examples, y_bar.shape[-1]))


form = Form("dense", y=output, x_bar=x_gradient, kernel_bar=kernel_gradient, parameters=("kernel",))
_dense = rule(dense_fwd, dense_bwd, batched=("x",))
