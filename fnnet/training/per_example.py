"""Each example's gradient by its norm: `gradient_norms`, and `clipped_gradients` for differentially private training.

    g_n     = d loss_n / d params                       for each example, over all parameters
    norm_n  = |g_n|                                     (1)
    clipped = sum_n min(1, c / norm_n) g_n              (2)

No g_n is formed. One backward pass over the whole mini-batch gives the cotangent y_bar of each layer's output, row by
row the example's own. The layer's input and y_bar give the layer's share of (1), by a short form if it has one. A
layer's parameter gradient is linear in y_bar and sums over examples: (2) is that gradient with each row of y_bar times
its example's factor.

Sources: Abadi et al., Deep Learning with Differential Privacy (2016), arXiv:1607.00133, algorithm 1, for (2); Bu, Wang,
Zha and Karypis (2022), arXiv:2210.00038, for a single backward pass.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnnet.core.arguments import accumulator
from fnnet.core.habits import hinted
from fnnet.core.paths import nested_dictionary
from fnnet.core.reduction import losses_of, wrong_shape
from fnnet.layers.containers import is_threaded
from fnnet.layers.protocol import Layer, Params
from fnnet.layers.walk import walk
from fnnet.training.batches import checked_pair


@hinted
def gradient_norms(net: Any, loss: Callable, params: Any, xs: Any, ys: Any, *, key: Any = None) -> jax.Array:
    """The l2 norm of each example's gradient over all parameters, (1).

    Args:
        net: A `Sequential` or `Residual`. A layer of another kind that has parameters goes by its own backward, example
            by example: its per-example gradients alone are in memory.
        loss: loss(outputs, ys) -> one number per example, which depends on that example alone. Of the pair
            (losses, weights) the losses are differentiated; weights, by which only a mean divides, are not used.
        params: The network's parameters.
        xs: The examples, along the first axis.
        ys: Their labels.
        key: For dropout: each example gets its own of `jax.random.split(key, len(xs))`, as in `fit`.

    Returns:
        (examples,), in f32 for bf16 and f16. An example whose loss is 0 whatever the parameters (`ignore_index`) has
        norm 0.

    Raises:
        ValueError: xs and ys do not match or are empty, or the loss does not give one number per example.
        TypeError: `net` is not a `Sequential` or `Residual`.

    Call it under `jax.jit`: what is not needed is then not computed, and a layer's arrays are freed after its share.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fnnet.layers.dense import Dense
        >>> from fnnet.rules.squared_error import squared_error
        >>> net = Sequential(Dense(1))
        >>> params = net.init(jax.random.key(0), (2,))
        >>> params["dense_0"]["kernel"] = jnp.zeros((2, 1))
        >>> xs, ys = jnp.array([[2.0, 2.0], [0.0, 0.0]]), jnp.array([[1.0], [5.0]])
        >>> print(gradient_norms(net, squared_error, params, xs, ys))  # |y| sqrt(|x|^2 + 1)
        [3. 5.]

    Sources: Goodfellow (2015), arXiv:1510.01799; Li et al. (2021), arXiv:2110.05679; Bu, Mao and Xu (2022),
    arXiv:2205.10683.
    """
    passed = _layers_passed("gradient_norms", net, loss, params, xs, ys, key)
    return _norms(passed) if passed else jnp.zeros(len(xs))


@hinted
def clipped_gradients(
    net: Any, loss: Callable, params: Any, xs: Any, ys: Any, *, max_norm: Any, key: Any = None
) -> Any:
    """The sum over the examples of each one's gradient, scaled down to norm `max_norm` where it is longer, (2).

    Args:
        net: As for `gradient_norms`, like the arguments that follow.
        loss: One number per example.
        params: The network's parameters.
        xs: The examples.
        ys: Their labels.
        max_norm: c, a positive number.
        key: For dropout.

    Returns:
        A tree like `params`: a sum, not a mean. A gradient of norm 0 stays 0; at norm c it is not scaled. An example
        whose gradient is infinite or NaN makes the sum NaN.

    Raises:
        ValueError: As for `gradient_norms`; or `max_norm` is not positive.
        TypeError: As for `gradient_norms`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from fnnet.layers.dense import Dense
        >>> from fnnet.rules.squared_error import squared_error
        >>> net, ys = Sequential(Dense(1)), jnp.array([[6.0], [0.5]])
        >>> params = {"dense_0": {"kernel": jnp.zeros((1, 1)), "bias": jnp.zeros(1)}}
        >>> bars = clipped_gradients(net, squared_error, params, jnp.zeros((2, 1)), ys, max_norm=1.0)
        >>> print(bars["dense_0"]["bias"])  # -1 of the first example, -0.5 of the second
        [-1.5]

    Sources: Abadi et al. (2016), arXiv:1607.00133; Bu, Wang et al. (2022), arXiv:2210.00038.
    """
    if not isinstance(max_norm, jax.core.Tracer) and not max_norm > 0:
        raise ValueError(f"clipped_gradients: max_norm (={max_norm!r}) must be a positive number")
    passed = _layers_passed("clipped_gradients", net, loss, params, xs, ys, key)
    if not passed:
        return params
    norms = _norms(passed)
    longest = jnp.asarray(max_norm, norms.dtype)
    factors = longest / jnp.maximum(norms, longest)
    bars = nested_dictionary((path, _weighted_gradient(one, factors)) for path, one in passed.items())
    bars_in_order = jax.tree.unflatten(jax.tree.structure(params), jax.tree.leaves(bars))
    return jax.tree.map(lambda bar, p: bar.astype(jnp.result_type(p)), bars_in_order, params)  # of a compute_dtype


class _Passed(NamedTuple):
    """A layer with parameters in one backward pass: what came in, and the cotangent of what went out."""

    layer: Layer
    params: Params
    x: Any
    keys: Any
    y_bar: Any


def _layers_passed(
    function: str, net: Any, loss: Callable, params: Any, xs: Any, ys: Any, key: Any
) -> dict[str, _Passed]:
    """Every layer with parameters under its path, such as "residual_2/conv_0"."""
    if not is_threaded(net):
        raise TypeError(f"{function}: net (={type(net).__name__}) must be a Sequential or a Residual")
    if key is not None and net.of_batch:
        raise ValueError(f"{function}: with a key, BatchNorm makes each loss depend on all examples: leave out the key")
    pair = checked_pair(function, xs, ys)
    xs, ys = (a if isinstance(a, jax.Array) else a[:] for a in pair)  # all windows of a text at once
    keys = None if key is None else jax.random.split(key, len(xs))
    layers: dict[str, tuple[Layer, Params]] = {}

    def forward(nudges: dict[str, Any] | None, x: Any, key: Any) -> tuple[Any, dict, dict]:
        """The output, each layer's input and key, and each layer's output; to which its nudge, 0, is added."""
        inputs, outputs = {}, {}

        def visit(path: str, layer: Layer, own: Params, x: Any, key: Any) -> Any:
            y = layer.apply(own, x, key=key)
            if not jax.tree.leaves(own):
                return y
            layers[path], inputs[path], outputs[path] = (layer, own), (x, key), y
            return y if nudges is None else jax.tree.map(jnp.add, y, nudges[path])

        return walk(net, params, x, key, visit), inputs, outputs

    def total(nudges: dict[str, Any]) -> tuple[jax.Array, dict]:
        outputs, inputs, _ = jax.vmap(forward)(nudges, xs, keys)
        losses = losses_of(function, loss(outputs, ys))
        if losses.shape != (len(xs),):
            raise wrong_shape(function, len(xs), losses.shape)
        return losses.sum(), inputs

    shapes = jax.eval_shape(lambda: jax.vmap(lambda x, key: forward(None, x, key)[2])(xs, keys))
    nudges = jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), shapes)
    y_bars, inputs = jax.grad(total, has_aux=True)(nudges)  # an example's loss depends on its own nudges alone
    passed = {}
    for path, (layer, own) in layers.items():
        x, of_layer = inputs[path]
        passed[path] = _Passed(layer, own, x, of_layer, y_bars[path])
    return passed


def _norms(passed: dict[str, _Passed]) -> jax.Array:
    """(1); a sum of products of Grams may round to less than 0."""
    return jnp.sqrt(sum(jnp.maximum(_squared_norms(one), 0) for one in passed.values()))


def _squared_norms(one: _Passed) -> jax.Array:
    """For each example, over all of the layer's parameters: by the layer's short form, or else by its backward."""
    short = one.layer.squared_gradient_norms(one.params, one.x, one.y_bar)
    if short is not None:
        return short

    def of_one(x: Any, key: Any, y_bar: Any) -> jax.Array:
        _, backward = jax.vjp(lambda params: one.layer.apply(params, x, key=key), one.params)
        leaves = jax.tree.leaves(backward(y_bar))
        return sum(jnp.square(leaf.astype(accumulator(leaf.dtype))).sum() for leaf in leaves)  # type: ignore[return-value]

    return jax.vmap(of_one)(one.x, one.keys, one.y_bar)


def _weighted_gradient(one: _Passed, factors: jax.Array) -> Any:
    """The layer's share of (2): its own backward, once, for all examples."""

    def of_batch(own: Params) -> Any:
        return jax.vmap(lambda x, key: one.layer.apply(own, x, key=key))(one.x, one.keys)

    def scaled(y_bar: jax.Array) -> jax.Array:
        return y_bar * factors.reshape(-1, *(1,) * (y_bar.ndim - 1)).astype(y_bar.dtype)

    return jax.vjp(of_batch, one.params)[1](jax.tree.map(scaled, one.y_bar))[0]
