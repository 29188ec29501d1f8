"""What a norm keeps of its input for the backward pass: on CPUs the centred input, in place of the input.

XLA on a CPU writes to memory what it sums. So it writes x - mean in the forward pass for the variance, and would write
it again in the backward pass for the gradient of the scale. Here it is written once and kept, and x can be forgotten.
GPUs and TPUs compute x - mean again within each loop. So do CPUs with bf16 and f16, of which x - mean is in f32.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from fnnet.core.arguments import wide
from fnnet.formulations.branches import in_a_branch
from fnnet.formulations.platforms import on_cpu


def to_keep(x, mean, *, over: tuple[int, ...]):
    """x, or on a CPU x - mean; `mean` is without the axes `over`."""
    return x if _is_narrow(x) else _to_keep(x, mean, over=over)


def centred(kept, mean, *, over: tuple[int, ...]):
    """x - mean in the forward pass, in the dtype of sums, of what `to_keep` has returned."""
    (kept_wide,) = wide(kept)
    return _difference(kept_wide, mean, over=over) if _is_narrow(kept) else _centred(kept_wide, mean, over=over)


def centred_again(kept, mean, *, over: tuple[int, ...]):
    """The same in the backward pass. Where x is kept, a barrier keeps XLA from keeping x - mean in its place."""
    return _of_kept(kept, mean, over=over) if _is_narrow(kept) else _centred_again(kept, mean, over=over)


def _is_narrow(x) -> bool:
    return x.dtype.itemsize < 4


def _difference(x, mean, *, over: tuple[int, ...]):
    return x - jnp.expand_dims(mean, over)


def _difference_once(x, mean, *, over: tuple[int, ...]):
    difference = functools.partial(_difference, over=over)
    is_explicit = any(jax.typeof(x).sharding.spec)  # and both branches must then agree in sharding
    return difference(x, mean) if is_explicit else in_a_branch(difference, x, mean)


@on_cpu(_difference_once)
def _to_keep(x, mean, *, over: tuple[int, ...]):
    return x


@on_cpu(lambda kept, mean, *, over: kept)
def _centred(kept, mean, *, over: tuple[int, ...]):
    return _difference(kept, mean, over=over)


def _of_kept(kept, mean, *, over: tuple[int, ...]):
    return _difference(*wide(lax.optimization_barrier(kept)), mean, over=over)


_centred_again = on_cpu(lambda kept, mean, *, over: kept)(_of_kept)
