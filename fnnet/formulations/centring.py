"""What a norm keeps of its input for the backward pass: on CPUs the centred input, in place of the input.

XLA on a CPU writes to memory what it sums. So it writes x - mean in the forward pass for the variance, and would write
it again in the backward pass for the gradient of the scale. Here it is written once and kept, and x can be forgotten.
GPUs and TPUs compute x - mean again within each loop. So do CPUs with bf16 and f16, of which x - mean is in f32.
"""

import jax.numpy as jnp
from jax import lax

from fnnet.core.arguments import wide
from fnnet.core.primitives import is_explicit
from fnnet.formulations.branches import in_a_branch
from fnnet.formulations.platforms import on_cpu


def centred(x, mean, *, over: tuple[int, ...]):
    """What to keep, and x - mean in the dtype of sums; `mean` is without the axes `over`."""
    return (_both if _is_narrow(x) else _both_or_one)(x, mean, over=over)


def centred_again(kept, mean, *, over: tuple[int, ...]):
    """x - mean in the backward pass, of what `centred` says to keep."""
    return (_again if _is_narrow(kept) else _again_or_kept)(kept, mean, over=over)


def _is_narrow(x) -> bool:
    return x.dtype.itemsize < 4


def _difference(x, mean, over: tuple[int, ...]):
    return wide(x)[0] - jnp.expand_dims(mean, over)


def _both(x, mean, *, over: tuple[int, ...]):
    return x, _difference(x, mean, over)


def _one(x, mean, *, over: tuple[int, ...]):
    if is_explicit(x):  # both sides of a branch would have to be sharded alike
        difference = _difference(x, mean, over)
    else:
        difference = in_a_branch(lambda x, mean: _difference(x, mean, over), x, mean)
    return difference, difference


def _again(kept, mean, *, over: tuple[int, ...]):
    """Behind a barrier, or XLA keeps x - mean since the forward pass."""
    return _difference(lax.optimization_barrier(kept), mean, over)


_both_or_one = on_cpu(_one)(_both)
_again_or_kept = on_cpu(lambda kept, mean, *, over: kept)(_again)
