"""What a CPU keeps of a network for the backward pass, by the memory of programs of different depth."""

import jax
import jax.numpy as jnp
import pytest

import fnnet
from fnnet.formulations import pieces

pytestmark = pytest.mark.cpu


def test_a_convolution_with_batch_norm_and_relu_keeps_two_arrays_and_a_mask(monkeypatch):
    """x - mean and y, a byte an entry of the mask: 2.25 times y. Neither x nor the factors of the kernel's gradient."""
    monkeypatch.setattr(pieces, "sharers", lambda: 1)
    x, kernel = jnp.ones((32, 16, 16, 16)), jnp.ones((3, 3, 16, 16))

    def loss(kernels, x):
        for kernel in kernels:
            y, *_ = fnnet.batch_norm(fnnet.conv(x, kernel), axes=(0, 1, 2))
            x = fnnet.relu(y)
        return x.sum()

    def temporary(depth):
        program = jax.jit(jax.grad(loss)).lower([kernel] * depth, x).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporary(8) - temporary(4) <= 4 * 2.3 * x.nbytes
