"""The pure functions under `fit`: a training run's state, a step, and a loop of steps.

A mini-batch's gradient is that of a quotient of two sums over its examples, whose lower one is a constant:

    params_bar = (sum_n d loss_n / d params) / sum_n weight_n        (1)

so the upper sum may be taken in chunks, one after the other, or by several devices, and divided once.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnnet.core.arguments import accumulator
from fnnet.core.reduction import losses_and_weights, weighted_mean
from fnnet.training.batch_statistics import is_of_batch
from fnnet.training.last_layer_loss import split_for
from fnnet.training.metrics import labels_of, ranked_below
from fnnet.training.one_device import OneDevice
from fnnet.training.placement import Placement
from fnnet.training.sample_weights import WeightedLabels, plain_labels
from fnnet.training.state import State, Tally

ONE_DEVICE = OneDevice()


def start(
    net: Any,
    optimizer: Any,
    key: jax.Array,
    shape: tuple[int, ...],
    params: Any = None,
    placement: Placement = ONE_DEVICE,
) -> State:
    """The state before the first step; `params` are copied, or made for examples of shape `shape`.

    Every array is made where the placement wants it.
    """

    def make(key: jax.Array, params: Any) -> State:
        init_key, run_key = _split(key)
        params = net.init(init_key, shape) if params is None else _copied(params)
        opt_state, epoch, step = _begun(optimizer, params)
        return State(params, opt_state, run_key, epoch, step)

    return placement.made(make, key, params)


@jax.jit
def _split(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    first, second = jax.random.split(key)
    return first, second


@jax.jit
def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.array, tree)


@functools.partial(jax.jit, static_argnums=0)
def _begun(optimizer: Any, params: Any) -> tuple[Any, jax.Array, jax.Array]:
    """The optimiser's state, and the numbers of epochs and of steps; each array has memory of its own."""
    zero = jnp.zeros((), jnp.int32)
    return optimizer.init(params), zero, zero


class Measured(NamedTuple):
    """What a mini-batch gives besides its loss.

    Attributes:
        statistics: What `apply_batch` measured.
        weight: The sum of the examples' weights.
        right: How many labels are the place of the largest output.
        counted: How many labels count; 0 where they are no classes, or the loss forms no outputs.
    """

    statistics: Any
    weight: jax.Array
    right: jax.Array
    counted: jax.Array


def batch_loss(
    net: Any, loss: Callable, params: Any, x: Any, y: Any, key: jax.Array | None = None
) -> tuple[jax.Array, Measured]:
    """The mean loss of a mini-batch, and what was measured."""
    keys = None if key is None else jax.random.split(key, len(x))
    split = split_for(loss, net, params)
    if split is not None and not isinstance(y, WeightedLabels):
        mean, weight = split.mean(_outputs(split.body, split.params, x, keys)[0], y)
        return mean, Measured({}, weight, *answers(None, y, None))
    losses, weights, measured = _measured("mean_loss", net, loss, params, x, y, keys)
    return weighted_mean(losses, weights), measured


def _measured(
    function: str, net: Any, loss: Callable, params: Any, x: Any, y: Any, keys: jax.Array | None
) -> tuple[jax.Array, jax.Array, Measured]:
    """Each example's loss and weight, and what was measured."""
    losses, weights, statistics, outputs = losses_of_batch(function, net, loss, params, x, y, keys)
    weight = weights.astype(accumulator(losses.dtype)).sum()
    return losses, weights, Measured(statistics, weight, *answers(outputs, labels_that_count(loss, y), weights))


def answers(outputs: Any, y: Any, weights: Any) -> tuple[jax.Array, jax.Array]:
    """How many labels are the place of the largest output, and how many count; 0 where they are no integers."""
    labels = labels_of(outputs, y) if jnp.issubdtype(y.dtype, jnp.integer) else None
    if labels is None:
        return jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32)
    return ranked_below(1, outputs, labels, weights != 0)


def labels_that_count(loss: Callable, y: Any) -> Any:
    """The labels in their own dtype; if the loss ignores some, in int32, with -1, which is no class, for these."""
    labels, ignored = plain_labels(y), getattr(loss, "ignore_index", None)
    if ignored is None or not jnp.issubdtype(labels.dtype, jnp.integer):
        return labels
    return jnp.where(labels == ignored, -1, labels.astype(jnp.int32))


def chunked_gradient(
    net: Any,
    loss: Callable,
    params: Any,
    x: Any,
    y: Any,
    key: jax.Array,
    chunks: int,
    placement: Placement = ONE_DEVICE,
) -> tuple[tuple[jax.Array, Any], Any]:
    """`batch_loss` and its gradient (1), the upper sum taken over one equal chunk after the other, in f32 at least.

    Each device of a placement takes its own examples, in chunks; the devices' sums are added up once. The statistics
    are the mean of the chunks'.
    """
    examples = len(x)
    keys = jax.random.split(key, examples)  # as without chunks and devices

    def of_device(params: Any, x: Any, y: Any, keys: jax.Array) -> tuple[Any, Any]:
        params_bar, (total, measured) = _sums(net, loss, params, x, y, keys, chunks, examples)
        statistics = jax.tree.map(lambda a: a / placement.devices, measured.statistics)
        return params_bar, (total, measured._replace(statistics=statistics))

    params_bar, (total, measured) = placement.sums(of_device, params, x, y, keys, gradients=True)
    scale = examples / measured.weight
    params_bar = jax.tree.map(lambda bar, p: (bar * scale.astype(bar.dtype)).astype(p.dtype), params_bar, params)
    return (total / measured.weight, measured), params_bar


def _sums(
    net: Any, loss: Callable, params: Any, x: Any, y: Any, keys: jax.Array, chunks: int, examples: int
) -> tuple[Any, tuple[jax.Array, Measured]]:
    """The upper sum of (1), divided by `examples`; the sum of the losses, and what was measured.

    A chunk takes every n-th example, so that a batch that is sharded over devices stays where it is.
    """

    def share(params: Any, x: Any, y: Any, keys: jax.Array) -> tuple[jax.Array, tuple[jax.Array, Measured]]:
        losses, _, measured = _measured("fit", net, loss, params, x, y, keys)
        total = losses.astype(accumulator(losses.dtype)).sum()
        return total / examples, (total, measured)  # no larger than a mean's: f16 would overflow

    if chunks == 1:
        params_bar, sums = jax.grad(share, has_aux=True)(params, x, y, keys)
        return jax.tree.map(lambda bar: bar.astype(accumulator(bar.dtype)), params_bar), sums
    apart = jax.tree.map(lambda a: a.reshape(len(a) // chunks, chunks, *a.shape[1:]), (x, y, keys))

    def add(params_bar: Any, chunk: jax.Array) -> tuple[Any, tuple[jax.Array, Measured]]:
        piece = jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, chunk, 1, keepdims=False), apart)
        bar, sums = jax.grad(share, has_aux=True)(params, *piece)
        return jax.tree.map(lambda a, b: a + b.astype(a.dtype), params_bar, bar), sums

    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, accumulator(p.dtype)), params)
    params_bar, of_chunks = jax.lax.scan(add, zeros, jnp.arange(chunks))
    total, measured = jax.tree.map(lambda a: a.sum(0), of_chunks)
    statistics = jax.tree.map(lambda a: a.mean(0), of_chunks[1].statistics)
    return params_bar, (total, measured._replace(statistics=statistics))


def train_step(
    net: Any,
    loss: Callable,
    optimizer: Any,
    state: State,
    x: Any,
    y: Any,
    *,
    accumulate: int = 1,
    placement: Placement = ONE_DEVICE,
) -> tuple[State, jax.Array]:
    """One step on one mini-batch: the next state, or the same where the loss is not finite, and the loss.

    Where all examples have weight 0, the loss is NaN, and the step counts without an effect.
    """
    return _measured_step(net, loss, optimizer, state, x, y, accumulate, placement)[:2]


def _measured_step(
    net: Any, loss: Callable, optimizer: Any, state: State, x: Any, y: Any, accumulate: int, placement: Placement
) -> tuple[State, jax.Array, Measured]:
    """`train_step`, and what was measured."""
    import optax

    key = jax.random.fold_in(_keys(state)[1], state.step)
    if accumulate * placement.devices > 1:
        ended = chunked_gradient(net, loss, state.params, x, y, key, accumulate, placement)
    else:
        of_batch = functools.partial(batch_loss, net, loss, x=x, y=y, key=key)
        ended = jax.value_and_grad(of_batch, has_aux=True)(state.params)
    (value, measured), params_bar = ended
    updates, opt_state = optimizer.update(params_bar, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    if measured.statistics:
        params = net.with_statistics(params, measured.statistics, state.step)
    counts = jnp.isfinite(value) & (measured.weight != 0)
    moved, still = (params, opt_state), (state.params, state.opt_state)
    params, opt_state = jax.tree.map(lambda new, old: jnp.where(counts, new, old), moved, still)
    step = state.step + (counts | (measured.weight == 0)).astype(state.step.dtype)
    return State(params, opt_state, state.key, state.epoch, step), value, measured


def run(
    net: Any,
    loss: Callable,
    optimizer: Any,
    state: State,
    tally: Tally,
    xs: Any,
    ys: Any,
    rows: jax.Array,
    stop: jax.Array,
    *,
    accumulate: int = 1,
    placement: Placement = ONE_DEVICE,
) -> tuple[State, Tally]:
    """Steps until `stop` of the epoch, or to the first loss that is not finite.

    Step s takes xs[rows[s % len(rows)]]: `rows` has the indices of a mini-batch, or the number of one in a block.
    """

    def goes_on(carry: tuple[State, Tally]) -> jax.Array:
        _, tally = carry
        return (tally.steps < stop) & jnp.isfinite(tally.last_loss)

    def step(carry: tuple[State, Tally]) -> tuple[State, Tally]:
        state, tally = carry
        at = rows[tally.steps % len(rows)]
        state, value, measured = _measured_step(net, loss, optimizer, state, xs[at], ys[at], accumulate, placement)
        empty = measured.weight == 0
        loss_sum = tally.loss_sum + jnp.where(empty, 0, value.astype(jnp.float32))
        last_loss = jnp.where(empty, tally.last_loss, value.astype(jnp.float32))
        right, counted = tally.right + measured.right, tally.counted + measured.counted
        return state, Tally(
            tally.steps + 1, loss_sum, last_loss, right, counted, tally.empty + empty.astype(jnp.float32)
        )

    return jax.lax.while_loop(goes_on, step, (state, tally))


def epoch_order(state: State, examples: int, batch_size: int) -> jax.Array:
    """The next epoch's mini-batches as rows of indices, (steps, batch_size): a random order, leftovers dropped."""
    steps = examples // batch_size
    order = jax.random.permutation(jax.random.fold_in(_keys(state)[0], state.epoch), examples)
    return order[: steps * batch_size].reshape(steps, batch_size)


def losses_of_batch(
    function: str,
    net: Any,
    loss: Callable,
    params: Any,
    x: Any,
    y: Any,
    keys: jax.Array | None,
    whole: bool = False,
) -> tuple[jax.Array, jax.Array, Any, Any]:
    """Each example's loss and weight, what `apply_batch` measured, and the outputs.

    The outputs are None where the loss forms none, unless the `whole` is wanted.
    """
    split = None if whole else split_for(loss, net, params)
    if split is not None:
        features, _ = _outputs(split.body, split.params, x, keys)
        return *split.losses(features, y), {}, None
    outputs, statistics = _outputs(net, params, x, keys)
    return *losses_and_weights(function, loss, outputs, y), statistics, outputs


def _outputs(net: Any, params: Any, x: Any, keys: jax.Array | None) -> tuple[Any, Any]:
    """The network's outputs, each example with its key if there are any, and what `apply_batch` measured."""
    if keys is None:
        return jax.vmap(net.apply, (None, 0))(params, x), {}
    if is_of_batch(net):
        return net.apply_batch(params, x, keys=keys)
    return jax.vmap(lambda x, key: net.apply(params, x, key=key))(x, keys), {}


def _keys(state: State) -> tuple[jax.Array, jax.Array]:
    order_key, step_key = jax.random.split(state.key)
    return order_key, step_key
