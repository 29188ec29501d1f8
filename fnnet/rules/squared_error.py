"""Squared error: prediction a and target y -> one loss l per example, over the last axis.

    forward     l       = 1/2 sum_i (a_i - y_i)^2       (1)
    backward    a_bar_i = l_bar (a_i - y_i)             (2)
                y_bar_i = - l_bar (a_i - y_i)           (3)

Sources: 002, the cost C; 000 and 001, definition 4 and "Output layer L". These call the prediction y and the target
y-hat, and also divide by the number of outputs: scale the loss for that.
Derivation: docs/derivations/losses.md
"""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float

from fnnet.core.arguments import wide
from fnnet.core.habits import hinted
from fnnet.core.reduction import unweighted
from fnnet.core.registration import rule
from fnnet.rules.labels import Targets, as_rows


@unweighted
@hinted
def squared_error(prediction: Float[ArrayLike, "... entries"], target: Targets) -> Float[Array, "..."]:
    """Half the sum over the last axis of the squared differences, one number per example.

    Args:
        prediction: (..., entries).
        target: (..., entries); it gets its gradient. Leading axes are broadcast, the last is not.

    Returns:
        (...), in the arguments' dtype; bf16 and f16 are summed in f32.

    Raises:
        ValueError: The shapes do not go together, or there is no last axis: one output is an axis of size 1.
        TypeError: An argument is not a real array.

    Source: 002, the cost C.
    """
    return _squared_error(*as_rows("squared_error", prediction=prediction, target=target))


def squared_error_fwd(prediction, target):
    a, y = wide(prediction, target)
    loss = 0.5 * jnp.square(a - y).sum(-1)  # (1)
    return loss.astype(prediction.dtype), (prediction, target)  # the caller's arrays: their difference would be a third


def squared_error_bwd(residuals, loss_bar):
    prediction, target = residuals
    a, y, l_bar = wide(prediction, target, loss_bar[..., None])
    prediction_bar = (l_bar * (a - y)).astype(prediction.dtype)  # (2)
    return prediction_bar, -prediction_bar  # (3)


_squared_error = rule(squared_error_fwd, squared_error_bwd, batched=("prediction", "target"))
