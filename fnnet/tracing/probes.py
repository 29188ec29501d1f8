"""One run of the mean loss and its gradient, with a tap before and after every layer.

    tap(v, probe) = v,   v_bar = probe_bar = the incoming cotangent

A tap computes nothing. Forward it returns its value; backward it passes the cotangent on and also returns it as the
gradient of a probe, whose value is never read. So one backward pass gives the parameters' gradient by `jax.grad` and,
as gradients of the probes, the cotangents that it uses. It runs without jit, operation by operation. Each operation is
compiled alone, with taps and without, so the bits are the same. Under jit XLA may fuse, and round differently.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core.paths import entry
from fnnet.core.primitives import is_inexact
from fnnet.core.reduction import losses_and_weights, losses_of, weighted_mean
from fnnet.layers.containers import Container, is_threaded
from fnnet.layers.protocol import Layer, Params

LOSS = "loss"


class LayerCall(NamedTuple):
    """A layer as the network called it, and the arrays of its forward."""

    name: str
    layer: Layer
    params: Params
    key: Any
    x: Any
    y: Any


class Passes(NamedTuple):
    """What one forward and backward gave.

    Args:
        calls: The layers in the order in which they ended, a nested network after its layers.
        x_bars: For each call the cotangent of its input, None for integers.
        y_bars: For each call the cotangent of its output.
        outputs: The network's output.
        outputs_bar: Its cotangent.
        losses: The loss of each example.
        losses_bar: Their cotangents.
        loss: The mean.
        params_bar: The gradient.
    """

    calls: list[LayerCall]
    x_bars: list[Any]
    y_bars: list[Any]
    outputs: Any
    outputs_bar: Any
    losses: Any
    losses_bar: Any
    loss: Any
    params_bar: Any


@jax.custom_vjp
def tap(value: Any, probe: Any) -> Any:
    """`value`; the gradient of `probe` is the cotangent of `value`."""
    return value


tap.defvjp(lambda value, probe: (value, None), lambda _, bar: (bar, bar))


class Objective(NamedTuple):
    """What is differentiated: the mean loss of a network on a batch, or the loss on one example.

    Args:
        net: The network.
        loss: One number per example, perhaps with weights.
        replaced: What stands in the place of a layer, by the layer's path.
        batched: Whether x and y have a leading axis.
        hidden_labels: Whether the labels' values are hidden from the loss. Then labels that are no class make it NaN,
            as in training; else the loss raises.
    """

    net: Container
    loss: Callable
    replaced: Mapping[str, Callable]
    batched: bool
    hidden_labels: bool = False

    def losses(self, outputs: Any, y: Any) -> Any:
        """The loss of each example, or of the one, without weights."""
        return losses_of("trace", self.loss(outputs, y))

    def keys(self, key: Any, x: Any) -> Any:
        """A key for each example, as in training."""
        return jax.random.split(key, len(x)) if self.batched and key is not None else key

    def apply(self, params: Params, x: Any, key: Any = None, around: Callable | None = None) -> Any:
        """The output for the example or the batch; around(path, layer, run, params, x, key) runs each layer: run(x)."""

        def threading(path: str) -> Callable:
            def run(name: str, layer: Layer, own: Params, x: Any, key: Any) -> Any:
                def inner(x: Any) -> Any:
                    if path + name in self.replaced:
                        return called(self.replaced[path + name], own, x, key, self.batched)
                    if is_threaded(layer):
                        return layer.thread(threading(f"{path}{name}/"), own, x, key)
                    return called(layer, own, x, key, self.batched)

                shown = layer if path + name not in self.replaced else self.replaced[path + name]
                return inner(x) if around is None else around(path + name, shown, inner, own, x, key)

            return run

        return self.net.thread(threading(""), params, jnp.asarray(x), key)


def called(layer: Any, own: Params, x: Any, key: Any, batched: bool) -> Any:
    """A layer, or a function f(x, kernel=..., bias=...) that stands in its place, of an example or of a batch."""
    if not isinstance(layer, Layer):
        return (jax.vmap(lambda x: layer(x, **own)) if batched else lambda x: layer(x, **own))(x)
    return layer.apply_batch(own, x, keys=key)[0] if batched else layer.apply(own, x, key=key)


def untapped(objective: Objective, params: Params, x: Any, y: Any, keys: Any) -> tuple[Any, Any]:
    """The mean loss and its gradient by `jax.value_and_grad`, without a tap."""
    return jax.value_and_grad(lambda params: mean_of(objective, params, x, y, keys))(params)


def mean_of(objective: Objective, params: Params, x: Any, y: Any, keys: Any) -> Any:
    """The mean loss."""
    outputs = objective.apply(params, x, keys)
    return _ending(objective, outputs, y, (None, None))[0]


def passes(objective: Objective, params: Params, x: Any, y: Any, keys: Any) -> Passes:
    """The mean loss and its gradient, with every array on the way."""
    ended: list[tuple[int, str, Any]] = []  # each layer as it ended: its number in the order in which they began

    def recorded(params: Params, x: Any, keys: Any, probes: list | None) -> tuple[Any, list]:
        ended.clear()
        begun: list[str] = []
        arrays: list[tuple] = []

        def around(path: str, layer: Any, run: Callable, own: Params, x: Any, key: Any) -> Any:
            number = len(begun)
            begun.append(path)
            of_x, of_y = (None, None) if probes is None else probes[number]
            x = _tapped(x, of_x)
            y = _tapped(_one_array(path, run(x)), of_y)
            ended.append((number, path, layer))
            arrays.append((x, y, key))
            return y

        return objective.apply(params, x, keys, around), arrays

    outline = jax.eval_shape(lambda params, x, keys: recorded(params, x, keys, None), params, x, keys)
    probes: list = [None] * len(ended)
    for (number, *_), (of_x, of_y, _) in zip(ended, outline[1], strict=True):
        probes[number] = _probe(of_x), _probe(of_y)
    losses = jax.eval_shape(objective.losses, outline[0], jnp.asarray(y))
    ends = _probe(outline[0]), _probe(losses)

    def value(params: Params, probes: list, ends: tuple) -> tuple[Any, tuple]:
        outputs, arrays = recorded(params, x, keys, probes)
        mean, losses = _ending(objective, outputs, y, ends)
        return mean, (outputs, arrays, losses)

    results, bars = jax.value_and_grad(value, (0, 1, 2), has_aux=True)(params, probes, ends)
    (mean, (outputs, arrays, losses)), (params_bar, probe_bars, end_bars) = results, bars
    calls = [
        LayerCall(path, layer, entry(params, path), key, x, y)
        for (_, path, layer), (x, y, key) in zip(ended, arrays, strict=True)
    ]
    in_order = [probe_bars[number] for number, *_ in ended]
    return Passes(
        calls=calls,
        x_bars=[bar for bar, _ in in_order],
        y_bars=[bar for _, bar in in_order],
        outputs=outputs,
        outputs_bar=end_bars[0],
        losses=losses,
        losses_bar=end_bars[1],
        loss=mean,
        params_bar=params_bar,
    )


def _ending(objective: Objective, outputs: Any, y: Any, ends: tuple) -> tuple[Any, Any]:
    """The mean loss and each example's, tapped before and after the loss."""

    def ending(outputs: Any, y: Any, ends: tuple) -> tuple[Any, Any]:
        outputs = _tapped(outputs, ends[0])
        if not objective.batched:
            loss = _tapped(objective.losses(outputs, y), ends[1])
            return loss, loss
        losses, weights = losses_and_weights("trace", objective.loss, outputs, y)
        losses = _tapped(losses, ends[1])
        return weighted_mean(losses, weights), losses

    return (jax.jit(ending) if objective.hidden_labels else ending)(outputs, y, ends)


def same_bits(a: Any, b: Any) -> bool:
    """Whether two trees of arrays have the same bits."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(one).tobytes() == np.asarray(other).tobytes() for one, other in pairs)


def _tapped(value: Any, probe: Any) -> Any:
    return value if probe is None else tap(value, probe)


def _probe(like: Any) -> Any:
    return jnp.zeros(like.shape, like.dtype) if is_inexact(like) else None


def _one_array(path: str, value: Any) -> Any:
    """The value of a layer, which must be one array."""
    if len(jax.tree.leaves(value)) != 1 or not hasattr(value, "shape"):
        raise TypeError(f"trace: {path} gave a {type(value).__name__}; a layer must give one array")
    return value
