"""What every public function does with its arrays before its rule sees them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet

KERNEL = jnp.ones((3, 3, 1, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.bool_, np.complex64])
def test_integers_beside_floats_are_named_rather_than_promoted(dtype, unchecked_shapes):
    with pytest.raises(TypeError, match=rf"^conv: x of dtype {np.dtype(dtype)} must have a floating dtype"):
        fnnet.conv(np.ones((5, 5, 1), dtype), KERNEL)
    with pytest.raises(TypeError, match=rf"^dense: bias of dtype {np.dtype(dtype)} must have a floating dtype"):
        fnnet.dense(jnp.ones(2), jnp.ones((2, 3)), np.ones(3, dtype))


def test_floats_of_two_dtypes_are_promoted(x64):
    assert fnnet.conv(np.ones((5, 5, 1), np.float32), KERNEL.astype(jnp.float32)).dtype == jnp.float32
    with jax.numpy_dtype_promotion("standard"):
        assert fnnet.conv(np.ones((5, 5, 1), np.float64), KERNEL.astype(jnp.float32)).dtype == jnp.float64
