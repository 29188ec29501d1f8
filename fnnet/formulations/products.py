"""The product of two tall matrices, summed over their rows: what the gradient of a kernel is on a CPU."""

import jax.numpy as jnp
from jax import lax

from fnnet.core.arguments import accumulator
from fnnet.formulations import pieces

LEAST_ROWS, LEAST_COLUMNS = 8192, 65  # from here on, a batch of two products takes 5 to 35 % less time than one


def over_rows(a, b):
    """a^T b, in the dtype of a; (rows, n) and (rows, m) to (n, m)."""
    rows, most = a.shape[0], max(a.shape[1], b.shape[1])
    is_tall = isinstance(rows, int) and rows >= LEAST_ROWS and rows % 2 == 0 and most >= LEAST_COLUMNS
    if is_tall and pieces.sharers() == 1:  # halves of the rows are not halves of the batch
        a, b = (factor.reshape(2, -1, factor.shape[1]) for factor in (a, b))
        return _product(a, b, ((0,), (0,))).sum(0).astype(a.dtype)
    return _product(a, b, ((), ())).astype(a.dtype)


def _product(a, b, of_batch):
    over = ((a.ndim - 2,), (b.ndim - 2,))
    return lax.dot_general(a, b, (over, of_batch), preferred_element_type=accumulator(jnp.result_type(a, b)))
