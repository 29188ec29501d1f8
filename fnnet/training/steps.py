"""The pure functions under `fit`: a training run's state, a step, a loop of steps, and the sums of an evaluation.

A mini-batch's gradient is that of a quotient of two sums over its examples, whose lower one is a constant:

    params_bar = (sum_n d loss_n / d params) / sum_n weight_n        (1)

so the upper sum may be taken in chunks, one after the other, or by several devices, and divided once.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.arguments import accumulator
from fnnet.core.reduction import losses_and_weights, weighted_mean
from fnnet.training.batch_statistics import is_of_batch
from fnnet.training.last_layer_loss import split_for
from fnnet.training.metrics import Metric, counted, labels_of, preferred
from fnnet.training.one_device import OneDevice
from fnnet.training.placement import Placement
from fnnet.training.sample_weights import plain_labels
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
        init_key, run_key = jax.random.split(key)
        params = net.init(init_key, shape) if params is None else jax.jit(_copied)(params)
        zero = jnp.zeros((), jnp.int32)
        return State(params, jax.jit(optimizer.init)(params), run_key, zero, jnp.copy(zero))

    return placement.made(make, key, params)


def _copied(tree: Any) -> Any:
    return jax.tree.map(jnp.array, tree)


def batch_loss(
    net: Any, loss: Callable, params: Any, x: Any, y: Any, key: jax.Array | None = None
) -> tuple[jax.Array, Any]:
    """The mean loss of a mini-batch, and what was measured: statistics by `apply_batch`, and `answers`."""
    keys = None if key is None else jax.random.split(key, len(x))
    split = split_for(loss, net, params)
    if split is not None:
        no_answers = answers(None, plain_labels(y), None)
        return split.mean(_outputs(split.body, split.params, x, keys)[0], y), ({}, no_answers)
    outputs, statistics = _outputs(net, params, x, keys)
    losses, weights = losses_and_weights("mean_loss", loss, outputs, y)
    return weighted_mean(losses, weights), (statistics, answers(outputs, labels_that_count(loss, y), weights))


def answers(outputs: Any, y: Any, weights: Any) -> tuple[jax.Array, jax.Array]:
    """How many labels are the place of the largest output, and how many count; 0 where they are no integers."""
    labels = labels_of(outputs, y) if jnp.issubdtype(y.dtype, jnp.integer) else None
    if labels is None:
        return jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32)
    within = counted(outputs, labels, weights != 0)
    right = within & ~preferred(outputs, labels).any(-1)
    return right.sum(dtype=jnp.float32), within.sum(dtype=jnp.float32)


def labels_that_count(loss: Callable, y: Any) -> Any:
    """The labels, with -1, which is no class, for those that a loss of many labels an example ignores."""
    labels, ignored = plain_labels(y), getattr(loss, "ignore_index", None)
    return labels if ignored is None else jnp.where(labels == ignored, -1, labels)


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
        params_bar, (total, weight, statistics, right) = _sums(net, loss, params, x, y, keys, chunks, examples)
        return params_bar, (total, weight, jax.tree.map(lambda a: a / placement.devices, statistics), right)

    params_bar, (total, weight, statistics, right) = placement.sums(of_device, params, x, y, keys, gradients=True)
    scale = examples / weight
    params_bar = jax.tree.map(lambda bar, p: (bar * scale.astype(bar.dtype)).astype(p.dtype), params_bar, params)
    return (total / weight, (statistics, right)), params_bar


def _sums(
    net: Any, loss: Callable, params: Any, x: Any, y: Any, keys: jax.Array, chunks: int, examples: int
) -> tuple[Any, tuple[jax.Array, jax.Array, Any, Any]]:
    """The upper sum of (1), divided by `examples`; the sums of losses and of weights, the statistics, the answers.

    A chunk takes every n-th example, so that a batch that is sharded over devices stays where it is.
    """

    def share(params: Any, x: Any, y: Any, keys: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Any, Any]]:
        losses, weights, statistics, outputs = _losses("fit", net, loss, params, x, y, keys)
        dtype = accumulator(losses.dtype)
        total = losses.astype(dtype).sum()
        found = answers(outputs, labels_that_count(loss, y), weights)
        sums = total, weights.astype(dtype).sum(), statistics, found
        return total / examples, sums  # no larger than a mean's: f16 would overflow

    if chunks == 1:
        params_bar, sums = jax.grad(share, has_aux=True)(params, x, y, keys)
        return jax.tree.map(lambda bar: bar.astype(accumulator(bar.dtype)), params_bar), sums
    apart = jax.tree.map(lambda a: a.reshape(len(a) // chunks, chunks, *a.shape[1:]), (x, y, keys))

    def add(params_bar: Any, chunk: jax.Array) -> tuple[Any, tuple[jax.Array, jax.Array, Any, Any]]:
        piece = jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, chunk, 1, keepdims=False), apart)
        bar, sums = jax.grad(share, has_aux=True)(params, *piece)
        return jax.tree.map(lambda a, b: a + b.astype(a.dtype), params_bar, bar), sums

    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, accumulator(p.dtype)), params)
    params_bar, (totals, weights, statistics, right) = jax.lax.scan(add, zeros, jnp.arange(chunks))
    mean, total = (
        jax.tree.map(over, of) for over, of in ((lambda a: a.mean(0), statistics), (lambda a: a.sum(0), right))
    )
    return params_bar, (totals.sum(), weights.sum(), mean, total)


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
    """One step on one mini-batch: the next state, or the same where the loss is not finite, and the loss."""
    return _measured_step(net, loss, optimizer, state, x, y, accumulate, placement)[:2]


def _measured_step(
    net: Any, loss: Callable, optimizer: Any, state: State, x: Any, y: Any, accumulate: int, placement: Placement
) -> tuple[State, jax.Array, tuple[jax.Array, jax.Array]]:
    """`train_step`, and the answers."""
    import optax

    key = jax.random.fold_in(_keys(state)[1], state.step)
    if accumulate * placement.devices > 1:
        ended = chunked_gradient(net, loss, state.params, x, y, key, accumulate, placement)
    else:
        of_batch = functools.partial(batch_loss, net, loss, x=x, y=y, key=key)
        ended = jax.value_and_grad(of_batch, has_aux=True)(state.params)
    (value, (statistics, right)), params_bar = ended
    updates, opt_state = optimizer.update(params_bar, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    if statistics:
        params = net.with_statistics(params, statistics, state.step)
    moved = (params, opt_state, state.step + 1)
    still = (state.params, state.opt_state, state.step)
    finite = jnp.isfinite(value)
    params, opt_state, step = jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, still)
    return State(params, opt_state, state.key, state.epoch, step), value, right


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
        state, value, (right, number) = _measured_step(
            net, loss, optimizer, state, xs[at], ys[at], accumulate, placement
        )
        value = value.astype(jnp.float32)
        sums = tally.loss_sum + value, value, tally.right + right, tally.counted + number
        return state, Tally(tally.steps + 1, *sums)

    return jax.lax.while_loop(goes_on, step, (state, tally))


def epoch_order(state: State, examples: int, batch_size: int) -> jax.Array:
    """The next epoch's mini-batches as rows of indices, (steps, batch_size): a random order, leftovers dropped."""
    steps = examples // batch_size
    order = jax.random.permutation(jax.random.fold_in(_keys(state)[0], state.epoch), examples)
    return order[: steps * batch_size].reshape(steps, batch_size)


def score(
    net: Any,
    loss: Callable,
    placement: Placement,
    metrics: Sequence[Metric],
    params: Any,
    *examples: Any,
    batch_size: int,
) -> dict[str, Any]:
    """Sums over all examples, each device taking `batch_size` of its own at once: of loss, weight, right answers,
    examples that count, and of the metrics.

    `examples` are xs and ys, and perhaps of each example whether it is one, or is there to make the number round.
    """

    scores = functools.partial(_scores, net, loss, metrics, batch_size=batch_size)
    return placement.sums(scores, params, *examples)


def _scores(
    net: Any,
    loss: Callable,
    metrics: Sequence[Metric],
    params: Any,
    xs: Any,
    ys: Any,
    inside: Any = True,
    *,
    batch_size: int,
) -> dict[str, Any]:
    inside = jnp.broadcast_to(inside, len(xs))

    def of_batch(index: jax.Array) -> dict[str, Any]:
        rows = index * batch_size + jnp.arange(batch_size)
        at = jnp.minimum(rows, len(xs) - 1)
        counts, x, y = (rows < len(xs)) & inside[at], xs[at], ys[at]
        losses, weights, _, outputs = _losses("evaluate", net, loss, params, x, y, None, whole=bool(metrics))
        sums = {"loss": jnp.where(counts, losses, 0), "weight": jnp.where(counts, weights, 0)}
        sums = {name: jnp.sum(value, dtype=jnp.float32) for name, value in sums.items()}
        counts &= weights != 0
        labels = labels_that_count(loss, y)
        sums["correct"], sums["counted"] = answers(outputs, labels, counts)
        return sums | {"metrics": [metric.sums(outputs, labels, counts) for metric in metrics]}

    totals = jax.lax.map(of_batch, jnp.arange(-(-len(xs) // batch_size)))
    return jax.tree.map(lambda values: values.sum(0), totals)


def _losses(
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
