"""The pure functions under `fit`: a training run's state, a step, a loop of steps, and the sums of an evaluation.

A mini-batch's gradient is that of a quotient of two sums over its examples, whose lower one is a constant:

    params_bar = (sum_n d loss_n / d params) / sum_n weight_n        (1)

so the upper sum may be taken in chunks, one after the other, and divided once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnnet.arguments import accumulator
from fnnet.reduction import example_weights, mean_loss


class State(NamedTuple):
    """All that a training run carries from step to step: with the data it determines what follows."""

    params: Any
    opt_state: Any
    key: jax.Array
    epoch: jax.Array  # epochs completed
    step: jax.Array  # steps taken, over all epochs


class Tally(NamedTuple):
    """What an epoch has added up so far."""

    steps: jax.Array
    loss_sum: jax.Array
    last_loss: jax.Array


def start(net: Any, optimizer: Any, key: jax.Array, shape: tuple[int, ...], params: Any = None) -> State:
    """The state before the first step; `params` are copied, or made for examples of shape `shape`."""
    init_key, run_key = jax.random.split(key)
    params = net.init(init_key, shape) if params is None else jax.tree.map(jnp.array, params)
    zero = jnp.zeros((), jnp.int32)
    return State(params, jax.jit(optimizer.init)(params), run_key, zero, jnp.copy(zero))


def nothing_yet() -> Tally:
    """The tally at the beginning of an epoch; its buffers are its own, since they are donated."""
    return Tally(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))


def batch_loss(net: Any, loss: Callable, params: Any, x: Any, y: Any, key: jax.Array | None = None) -> jax.Array:
    """The mean loss of a mini-batch."""
    keys = None if key is None else jax.random.split(key, len(x))
    return mean_loss(loss, _outputs(net, params, x, keys), y)


def chunked_gradient(
    net: Any, loss: Callable, params: Any, x: Any, y: Any, key: jax.Array, chunks: int
) -> tuple[jax.Array, Any]:
    """`batch_loss` and its gradient (1), the upper sum taken over one equal chunk after the other, in f32 at least.

    A chunk takes every n-th example, so that a batch that is sharded over devices stays where it is.
    """
    examples = len(x)
    keys = jax.random.split(key, examples)  # as without chunks
    apart = jax.tree.map(lambda a: a.reshape(examples // chunks, chunks, *a.shape[1:]), (x, y, keys))

    def share(params: Any, x: Any, y: Any, keys: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        outputs = _outputs(net, params, x, keys)
        losses, weights = loss(outputs, y), example_weights(loss, outputs, y)
        dtype = accumulator(losses.dtype)
        total = losses.astype(dtype).sum()
        return total / examples, (total, weights.astype(dtype).sum())  # no larger than a mean's: f16 would overflow

    def add(params_bar: Any, chunk: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        piece = jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, chunk, 1, keepdims=False), apart)
        bar, sums = jax.grad(share, has_aux=True)(params, *piece)
        return jax.tree.map(lambda a, b: a + b.astype(a.dtype), params_bar, bar), sums

    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, accumulator(p.dtype)), params)
    params_bar, (totals, weights) = jax.lax.scan(add, zeros, jnp.arange(chunks))
    scale = examples / weights.sum()
    params_bar = jax.tree.map(lambda bar, p: (bar * scale.astype(bar.dtype)).astype(p.dtype), params_bar, params)
    return totals.sum() / weights.sum(), params_bar


def train_step(
    net: Any, loss: Callable, optimizer: Any, state: State, x: Any, y: Any, *, accumulate: int = 1
) -> tuple[State, jax.Array]:
    """One step on one mini-batch: the next state, or the same where the loss is not finite, and the loss."""
    import optax

    key = jax.random.fold_in(_keys(state)[1], state.step)
    if accumulate > 1:
        value, params_bar = chunked_gradient(net, loss, state.params, x, y, key, accumulate)
    else:
        value, params_bar = jax.value_and_grad(lambda params: batch_loss(net, loss, params, x, y, key))(state.params)
    updates, opt_state = optimizer.update(params_bar, state.opt_state, state.params)
    moved = (optax.apply_updates(state.params, updates), opt_state, state.step + 1)
    still = (state.params, state.opt_state, state.step)
    finite = jnp.isfinite(value)
    params, opt_state, step = jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, still)
    return State(params, opt_state, state.key, state.epoch, step), value


def run(
    net: Any,
    loss: Callable,
    optimizer: Any,
    state: State,
    tally: Tally,
    xs: Any,
    ys: Any,
    order: jax.Array,
    stop: jax.Array,
    *,
    accumulate: int = 1,
) -> tuple[State, Tally]:
    """Steps until `stop` of the epoch whose mini-batches are the rows of `order`, or to the first non-finite loss."""

    def goes_on(carry: tuple[State, Tally]) -> jax.Array:
        _, tally = carry
        return (tally.steps < stop) & jnp.isfinite(tally.last_loss)

    def step(carry: tuple[State, Tally]) -> tuple[State, Tally]:
        state, tally = carry
        rows = order[tally.steps % len(order)]
        state, value = train_step(net, loss, optimizer, state, xs[rows], ys[rows], accumulate=accumulate)
        value = value.astype(jnp.float32)
        return state, Tally(tally.steps + 1, tally.loss_sum + value, value)

    return jax.lax.while_loop(goes_on, step, (state, tally))


def epoch_order(state: State, examples: int, batch_size: int) -> jax.Array:
    """The next epoch's mini-batches as rows of indices, (steps, batch_size): a random order, leftovers dropped."""
    steps = examples // batch_size
    order = jax.random.permutation(jax.random.fold_in(_keys(state)[0], state.epoch), examples)
    return order[: steps * batch_size].reshape(steps, batch_size)


def score(net: Any, loss: Callable, params: Any, xs: Any, ys: Any, *, batch_size: int) -> dict[str, jax.Array]:
    """Sums over all examples, `batch_size` at once: of loss, weight, right answers, and examples that count."""

    def of_batch(index: jax.Array) -> dict[str, jax.Array]:
        rows = index * batch_size + jnp.arange(batch_size)
        inside = rows < len(xs)
        x, y = xs[jnp.minimum(rows, len(xs) - 1)], ys[jnp.minimum(rows, len(xs) - 1)]
        outputs = jax.vmap(net.apply, (None, 0))(params, x)
        weights = example_weights(loss, outputs, y)
        sums = {"loss": jnp.where(inside, loss(outputs, y), 0), "weight": jnp.where(inside, weights, 0)}
        if jnp.issubdtype(y.dtype, jnp.integer) and y.shape == outputs.shape[:-1]:
            counted = inside & (weights != 0)
            sums |= {"correct": counted & (outputs.argmax(-1) == y), "counted": counted}
        return {name: jnp.sum(value, dtype=jnp.float32) for name, value in sums.items()}

    totals = jax.lax.map(of_batch, jnp.arange(-(-len(xs) // batch_size)))
    return {name: values.sum() for name, values in totals.items()}


def _outputs(net: Any, params: Any, x: Any, keys: jax.Array | None) -> Any:
    """The network's outputs, each example with its key if there are any."""
    if keys is None:
        return jax.vmap(net.apply, (None, 0))(params, x)
    return jax.vmap(lambda x, key: net.apply(params, x, key=key))(x, keys)


def _keys(state: State) -> tuple[jax.Array, jax.Array]:
    order_key, step_key = jax.random.split(state.key)
    return order_key, step_key
