"""PyTorch's OpInfo error inputs of fnnet's operators: what torch refuses, fnnet refuses by name, or gives a meaning."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import torch

import fnnet
from external.outcomes import NotSupportedError
from external.torch_operators import OPERATORS

ERRORS = "PyTorch: error inputs"

# Torch's message, and what fnnet gives instead of an error.
DEFINED = {
    "Given normalized_shape=": "fnnet is given the axes, not their sizes",
    "pad should be at most half of effective kernel size": "padding is defined up to the window's span, as for XLA",
    "is not supported for strided convolutions": "'SAME' is defined for every stride, as in XLA and ONNX",
    "Expected 4-dimensional input for 4-dimensional weight": "any number of leading axes may stand before the image",
    "Expected 2D or 3D (batch mode) tensor with optional 0 dim": "without channels the result is empty",
    "Expected input's non-batch dimensions to have positive length": "without channels the result is empty",
}


def refuses(info: Any) -> bool:
    """Whether there are error inputs; none of those of the adaptive poolings is of the global one."""
    return info.error_inputs_func is not None and "adaptive" not in info.name


def check(info: Any, case: Any) -> str | None:
    """What is wrong where fnnet does not refuse the case by name."""
    sample = case.sample_input
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        given, args, kwargs = jax.tree.map(array, (sample.input, sample.args, sample.kwargs))
        jaxtyping.config.update("jaxtyping_disable", True)  # the error has to be fnnet's own
        try:
            OPERATORS[info.name](given, *args, **kwargs)
        except (TypeError, ValueError) as error:
            named = re.match(r"(\w+): ", str(error))
            if named and hasattr(fnnet, named[1]):
                return None
            return f"{type(error).__name__}: {error}: not in the name of a function of fnnet"
        finally:
            jaxtyping.config.update("jaxtyping_disable", False)
    message = case.error_regex.replace("\\", "")
    for theirs, ours in DEFINED.items():
        if theirs in message:
            raise NotSupportedError(ours)
    return f"no error, where torch says {message!r}"


def array(leaf: Any) -> Any:
    """Torch's tensors as JAX's arrays."""
    return jnp.asarray(leaf.detach().numpy()) if isinstance(leaf, torch.Tensor) else leaf
