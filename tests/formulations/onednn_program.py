"""A process with oneDNN: convolutions of drawn shapes in f32, and their gradients, beside `jax.lax`'s in f64.

    python tests/formulations/onednn_program.py FIRST_SEED LAST_SEED

Prints how many of the programs called oneDNN.
"""

import functools
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import fnnet
from fnnet.core import onednn

DIMENSIONS = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def drawn(seed):
    """Shapes and keywords of a convolution."""
    rng = np.random.default_rng(seed)
    rank = int(rng.choice([1, 2, 2, 2, 3]))
    size = [1] * rank if rng.random() < 0.15 else [int(k) for k in rng.integers(1, 5, rank)]
    dilation = [int(d) for d in rng.integers(1, 3, rank)]
    extent = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    image = [e + int(rng.integers(0, 24 // rank)) for e in extent]
    stride = [int(s) for s in (rng.integers(1, 4, rank) if rng.random() < 0.4 else [1] * rank)]
    padding = [(int(rng.integers(0, e + 2)), int(rng.integers(0, e + 2))) for e in extent]
    groups = int(rng.choice([1, 1, 1, 2, 3, 8]))
    per_group, each = (1, 1) if rng.random() < 0.2 else (int(c) for c in rng.choice([1, 2, 3, 4, 8, 16], 2))
    if groups == 1 and rng.random() < 0.2:
        per_group, each = (int(c) for c in rng.choice([32, 64, 70], 2))
    batch = int(rng.integers(1, 40))
    x, kernel = (batch, *image, groups * per_group), (*size, per_group, groups * each)
    return x, kernel, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def by_lax(x, kernel, *, stride, padding, dilation, groups):
    """The same by JAX's own function."""
    names = DIMENSIONS[x.ndim - 2]
    return lax.conv_general_dilated(
        x, kernel, stride, padding, rhs_dilation=dilation, dimension_numbers=names, feature_group_count=groups
    )


def in_a_scan(function, *args):
    """The function's results from within a loop."""
    return jax.tree.map(lambda a: a[0], lax.scan(lambda c, _: (c, function(*args)), 0, None, length=2)[1])


def main():
    """Draw, compute, compare."""
    assert fnnet.use_onednn()
    assert fnnet.use_onednn(), "a second call says the same"
    calls = 0
    for seed in range(*map(int, sys.argv[1:])):
        x_shape, kernel_shape, settings = drawn(seed)
        rng = np.random.default_rng(seed)
        with jax.enable_x64(True):
            x, kernel = (rng.normal(size=shape) for shape in (x_shape, kernel_shape))
            y, pullback = jax.vjp(functools.partial(by_lax, **settings), x, kernel)
            y_bar = rng.normal(size=y.shape)
            right = [np.asarray(a) for a in (y, *pullback(jnp.asarray(y_bar)))]
        narrow = [a.astype(np.float32) for a in (x, kernel, y_bar)]

        def all_three(x, kernel, y_bar, settings=settings):
            y, pullback = jax.vjp(lambda x, kernel: fnnet.conv(x, kernel, **settings), x, kernel)
            return y, *pullback(y_bar)

        def called(x, kernel, y_bar, all_three=all_three, seed=seed):
            return in_a_scan(all_three, x, kernel, y_bar) if seed % 3 == 0 else all_three(x, kernel, y_bar)

        program = jax.jit(called).lower(*narrow).compile()
        calls += onednn.CALL in program.as_text()
        sums = math.prod(kernel_shape[:-1]), math.prod(kernel_shape[:-2]) * kernel_shape[-1], y_bar[..., 0].size
        for name, found, wanted, terms in zip(("y", "x_bar", "W_bar"), program(*narrow), right, sums, strict=True):
            error = np.abs(np.asarray(found, np.float64) - wanted).max(initial=0)
            assert error < 2e-6 * math.sqrt(terms) * 8, (seed, name, x_shape, kernel_shape, settings, error)
    print(calls)


if __name__ == "__main__":
    main()
