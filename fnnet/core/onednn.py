"""oneDNN's convolutions on a CPU: `use_onednn` makes XLA call the library that PyTorch calls.

jaxlib has oneDNN in it, but XLA calls it only where three of its flags say so, and reads its flags once a process. With
them convolutions in f32 are calls of oneDNN, but those that spread their image by a stride and those whose kernel is
reversed right before them; so are batches of products. Single products stay with YNNPACK.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

FLAGS = (
    "--xla_cpu_use_onednn=true",
    "--xla_cpu_experimental_onednn_custom_call=true",
    "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT",  # else YNNPACK gets convolutions first
)
CALL = "__onednn$convolution"  # in a compiled program

_is_used = False


def use_onednn() -> bool:
    """Make XLA compute convolutions on a CPU with oneDNN, in this process; call it before JAX computes anything.

    With jax 0.12 a convolution in f32 then takes as long as in PyTorch, which calls the same library: docs/speed.md.
    With 0.11 the gradients of images stay with XLA. fnnet's own convolutions take oneDNN's form where it is the faster
    one. It holds for all code in the process, and cannot be undone. The flags are experimental in XLA. What they cost:
    JAX's compilation cache cannot keep a program with such a convolution, and warns of it. On a GPU or TPU nothing
    changes.

    Returns:
        Whether XLA calls oneDNN now. False: this jaxlib cannot (0.10, processors other than x86), JAX has
        compiled something already, or the process computes on another device. `XLA_FLAGS` is then as before.

    Example:
        >>> import fnnet
        >>> called = fnnet.use_onednn()  # first of all, after fnnet.keep_memory()

    Source: XLA's flags, and its pull request openxla/xla#31511.
    """
    global _is_used
    if not _is_used:
        before = os.environ.get("XLA_FLAGS")
        os.environ["XLA_FLAGS"] = " ".join(filter(None, (before, *FLAGS)))
        _is_used = _calls()
        if not _is_used:
            os.environ.pop("XLA_FLAGS")
            os.environ |= {} if before is None else {"XLA_FLAGS": before}
    return _is_used


def takes(dtype: np.dtype) -> bool:
    """Whether oneDNN computes convolutions of this dtype. It takes bf16 and f16 on some processors only."""
    return _is_used and dtype == np.float32


def is_used() -> bool:
    """Whether XLA calls oneDNN."""
    return _is_used


def _calls() -> bool:
    """Whether XLA compiles a convolution to a call of oneDNN."""
    x, kernel = jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1))
    convolve = jax.jit(
        lambda x, kernel: lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    )
    return CALL in (convolve.lower(x, kernel).compile().as_text() or "")
