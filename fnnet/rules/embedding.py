"""Embedding: table W (vocabulary, features), indices k (...,) -> their rows y (..., features).

    forward     y_ni     = W_(k_n)i                                 (1)   n over the indices
    backward    W_bar_vi = sum of y_bar_ni over the n where k_n = v   (2)

(1) is the product of the one-hot rows of k with W, but no such row is formed. It is linear in W, so (2) reads k alone.
Autodiff has the same scatter-add and is as fast: this page gains nothing in f32. For bf16 and f16, (2) sums in
f32, where autodiff rounds after each addition.

Source: Bengio et al., A Neural Probabilistic Language Model (2003), section 2, the mapping C; as in torch.nn.Embedding.
Derivation: docs/derivations/embedding.md
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Float, Integer

from fnnet.core.arguments import accumulator, as_floats
from fnnet.core.habits import hinted
from fnnet.core.indices import as_held, as_numbers
from fnnet.core.primitives import with_shardings
from fnnet.core.registration import rule


@hinted
def embedding(
    table: Float[ArrayLike, "vocabulary features"],
    indices: Integer[ArrayLike, "*batch"],
    *,
    out_sharding: P | NamedSharding | None = None,
) -> Float[Array, "*batch features"]:
    """Rows of a table, one for each index; torch.nn.functional.embedding, flax.linen.Embed.

    Args:
        table: (vocabulary, features), with one row for each word.
        indices: (...), integers of any dtype from 0 to vocabulary - 1.
        out_sharding: Under explicit mesh axes, how the output is sharded, if the table is sharded.

    Returns:
        (..., features), in the table's dtype. An index that is repeated gets the sum of its cotangents, which bf16 and
        f16 carry in f32.

    Raises:
        ValueError: Shapes do not go together; an index is out of range. Negative ones are: none counts from the end.
            Under jit and vmap, where indices are not known, such an index has a row of NaN and adds nothing to the
            table's gradient.
        TypeError: The table is not a floating array, the indices not integers.

    Source: Bengio et al. (2003), section 2.
    """
    (table,) = as_floats("embedding", table=table)
    if table.ndim != 2 or not table.shape[0]:
        raise ValueError(f"embedding: table of shape {table.shape} must have shape (vocabulary, features), not empty")
    given = as_held("embedding", "indices", indices)
    if not jnp.issubdtype(given.dtype, jnp.integer):
        raise TypeError(f"embedding: indices of dtype {given.dtype} must be integers")
    numbers = as_numbers("embedding", "indices", given, table.shape[0], kind="a row of the table")
    return _embedding(table, numbers, out_sharding=out_sharding)


def embedding_fwd(table, indices):
    of_table, of_indices = (jax.typeof(array).sharding.spec for array in (table, indices))
    if any(of_table):  # under explicit mesh axes; of a whole table, the rows are where their indices are
        y = rows_of(table, indices)  # (1)
    else:
        (y,) = with_shardings(lambda *a: [rows_of(*a)], (table, indices), [P(*of_indices, None)])  # (1)
    return y, (table, indices)  # (2) reads k; of W, which is a parameter and there anyway, only shape and dtype


def rows_of(table, indices):
    """W_k, and NaN for an index out of range."""
    inside = (indices >= 0) & (indices < len(table))
    return jnp.where(inside[..., None], table[jnp.where(inside, indices, 0)], jnp.nan)


def embedding_bwd(residuals, y_bar):
    table, indices = residuals
    sums = jnp.zeros(table.shape, accumulator(table.dtype))
    place = jnp.where(indices < 0, len(table), indices)  # .at would count negative ones from the end
    table_bar = sums.at[place].add(y_bar.astype(sums.dtype), mode="drop")  # (2)
    return table_bar.astype(table.dtype), None


_embedding = rule(embedding_fwd, embedding_bwd, batched=("indices",))
