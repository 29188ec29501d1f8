"""`check_loss`: labels and losses that cannot be trained on, refused before anything is compiled."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fnnet.core.indices import OutsideError
from fnnet.core.reduction import losses_and_weights, wrong_shape


def check_loss(function: str, net: Any, loss: Callable, params: Any, xs: Any, ys: Any) -> None:
    """Trace the loss with labels whose values it can read, and refuse: integers at the least and the largest.

    Of 2 and of 3 examples: a sum over the batch may have the right shape for one size, such as (classes,). An error is
    that of all examples, with their shape and the place of a wrong label.
    """
    rows, some = _telling(ys)
    x = jax.ShapeDtypeStruct((1, *xs.shape[1:]), jax.dtypes.canonicalize_dtype(xs.dtype))
    like = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype), params)
    one = jax.eval_shape(jax.vmap(net.apply, (None, 0)), like, x)

    def check(examples: int, labels: Any = None) -> None:
        outputs = jax.tree.map(lambda o: jax.ShapeDtypeStruct((examples, *o.shape[1:]), o.dtype), one)
        if labels is None:
            labels = jax.ShapeDtypeStruct((examples, *ys.shape[1:]), jax.dtypes.canonicalize_dtype(ys.dtype))
            losses, _ = jax.eval_shape(lambda o, y: losses_and_weights(function, loss, o, y), outputs, labels)
        else:
            losses, _ = jax.eval_shape(lambda o: losses_and_weights(function, loss, o, labels), outputs)
        if losses.shape != (examples,):
            raise wrong_shape(function, examples, losses.shape)

    try:
        for examples in (2, 3):
            check(examples, jax.device_put(np.resize(some, (examples, *some.shape[1:]))))
    except OutsideError as error:
        row, *rest = error.place
        raise error.at((int(rows[row % len(rows)]), *rest)) from None
    except Exception as error:
        try:
            check(len(ys))
        except Exception as of_all:
            raise of_all from None
        raise error from None


def _telling(ys: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two rows and their labels: of integers the least and the largest, else the first two, if there are as many."""
    array = isinstance(ys, np.ndarray | jax.Array) and not (isinstance(ys, np.memmap) and ys.ndim > 1)
    if array and np.issubdtype(ys.dtype, np.integer) and ys.size:
        held = np.asarray(ys)
        rows = np.array([at // (held.size // len(held)) for at in (held.argmin(), held.argmax())])
        return rows, held[rows]
    rows = np.arange(min(2, len(ys)))
    return rows, np.asarray(ys[:2] if isinstance(ys, jax.Array) else ys[rows])
