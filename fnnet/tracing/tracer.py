"""`trace`: what every layer of a network does in one forward and one backward."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fnnet.core.habits import hinted

if TYPE_CHECKING:
    from fnnet.tracing.traces import Trace


@hinted
def trace(
    net: Any,
    loss: Callable,
    params: Any,
    x: Any,
    y: Any,
    *,
    key: Any = None,
    optimizer: Any = None,
    opt_state: Any = None,
    replace: Mapping[str, Callable] | None = None,
) -> "Trace":
    """One forward and one backward of a network's loss, layer by layer.

    The gradient is that of `jax.grad` of the mean loss, taken without jit: each cotangent has its bits. A network with
    a compute_dtype is traced without it, in its parameters' dtype.

    Args:
        net: A `Sequential` or `Residual`.
        loss: loss(outputs, labels) -> one number per example, as for `fit`.
        params: The network's parameters.
        x: One example, or a mini-batch with a leading axis. It is one example if loss(net.apply(params, x), y) is one
            number.
        y: Its labels.
        key: As in a training step, for Dropout and BatchNorm. Without one, Dropout is the identity, and BatchNorm uses
            the stored statistics.
        optimizer: An optax optimiser: then each parameter has the update that it would get.
        opt_state: The optimiser's state; by default a new one.
        replace: {layer's name: another}, what stands in the place of a layer: a layer, or a function
            f(x, kernel=..., bias=...) of one example and the parameters that the layer has, such as a `fnnet.rule`.

    Returns:
        A Trace: `str` is a table, `first_problem()` says what is wrong, `save("trace.html")` makes a page.

    Raises:
        TypeError: net is no network, or a layer gives something else than one array.
        ValueError: replace names no layer.
        Exception: Whatever the network or the loss raises, except for labels that are no class: the trace reports
            these as a problem.

    Example:
        >>> import fnnet, jax, jax.numpy as jnp
        >>> net = fnnet.Sequential(fnnet.Dense(4), fnnet.relu, fnnet.Dense(3))
        >>> params = net.init(jax.random.key(0), (2,))
        >>> seen = fnnet.trace(net, fnnet.softmax_cross_entropy, params, jnp.array([1.0, -2.0]), jnp.array(1))
        >>> [step.name for step in seen.steps]
        ['dense_0', 'relu_1', 'dense_2', 'loss']
    """
    from fnnet.tracing.following import follow  # with the checker, which `import fnnet` leaves out

    return follow(net, loss, params, x, y, key, optimizer, opt_state, dict(replace or {}))
