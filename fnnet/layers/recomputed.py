"""`Recomputed`: a layer whose backward computes its forward again instead of keeping what it needs of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from fnnet.core.arguments import as_array
from fnnet.layers.functions import as_layer
from fnnet.layers.padded import Padded
from fnnet.layers.padding_aware import PaddingAware
from fnnet.layers.protocol import Layer, Params, check_layer, with_fields
from fnnet.layers.recomputation import recomputed
from fnnet.layers.repeat import Repeat
from fnnet.layers.residual import Residual
from fnnet.layers.sequential import Sequential
from fnnet.layers.tied import Tied
from fnnet.layers.with_body import WithBody


@dataclass(frozen=True, repr=False)
class Recomputed(PaddingAware, WithBody):
    """A layer that keeps its input and its parameters alone for the backward, which computes the rest again.

    Args:
        block: A layer, such as a `Residual` or a `Sequential` of several layers. Around a single layer it saves little:
            most layers keep no more than their input.

    It trades time for memory: the backward runs the layer's forward once more. Output and gradients are the same up to
    rounding; dropout draws the same mask again, and `BatchNorm` takes its statistics once. Names of parameters are
    those without it, so it can be put around a layer of a network that is already trained. There is no forward mode, as
    for any `jax.custom_vjp` function.

    `summary` shows it as one layer that keeps its input, `fnnet.trace` the layers inside, without recomputation.
    `Repeat` has an argument for it: Repeat(block, times, checkpoint=True).

    PyTorch: `torch.utils.checkpoint`; Flax: `nn.remat`; Keras: `keras.remat`.
    """

    block: Layer | Callable

    def __post_init__(self) -> None:
        """Raises TypeError for what is no layer."""
        check_layer("Recomputed", "block", self.block)

    @property
    def body(self) -> Layer:
        """The layer."""
        return self._of_length(self.length)

    def with_body(self, body: Layer) -> "Recomputed":
        """The same with another layer."""
        return with_fields(self, block=body)

    @property
    def kind(self) -> str:
        """The layer's, so that the parameters keep their names."""
        return self.body.kind

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """The layer's output for one example."""
        return self._again(lambda layer, params, x, key: layer.apply(params, x, key=key), params, x, key)

    def apply_batch(self, params: Params, xs: Any, *, keys: jax.Array | None = None) -> tuple[Any, dict[str, Any]]:
        """As the layer says."""
        if keys is None or not self.of_batch:
            return super().apply_batch(params, xs, keys=keys)
        return self._again(lambda layer, params, xs, keys: layer.apply_batch(params, xs, keys=keys), params, xs, keys)

    def _again(self, run: Callable, params: Params, x: Any, key: jax.Array | None) -> Any:
        """run(layer, params, x, key), recomputed; the length is an argument too, since it may be traced."""

        def of_layer(params: Params, x: Any, key: jax.Array | None, length: Any) -> Any:
            return run(self._of_length(length), params, x, key)

        return recomputed(of_layer)(params, as_array("Recomputed", "x", x), key, self.length)

    def _of_length(self, length: Any) -> Layer:
        layer = as_layer(self.block)
        return layer if self.rows is None else layer.with_length(length, self.rows)

    def step(self, params: Params, row: Any, cache: Any, position: jax.Array, size: int) -> tuple[Any, Any]:
        """The layer's."""
        return self.body.step(params, row, cache, position, size)

    @property
    def by_row(self) -> bool:
        """As the layer says."""
        return self.body.by_row

    @property
    def gain(self) -> float | None:
        """The layer's."""
        return self.body.gain

    def with_gain(self, gain: float) -> "Recomputed":
        """The same with the layer's kernel drawn for this gain."""
        return self.with_body(self.body.with_gain(gain))

    @property
    def precise(self) -> bool:
        """As the layer says."""
        return self.body.precise

    @property
    def spatial_axes(self) -> int | None:
        """The layer's."""
        return self.body.spatial_axes

    def last_product(self, params: Params) -> tuple[Layer | None, Params, Any, Any] | None:
        """The layer's; what is before the product stays recomputed."""
        found = self.body.last_product(params)
        if found is None:
            return None
        body, own, kernel, bias = found
        return None if body is None else self.with_body(body), own, kernel, bias

    def squared_gradient_norms(self, params: Params, x: Any, y_bar: Any) -> jax.Array | None:
        """The layer's."""
        return self.body.squared_gradient_norms(params, x, y_bar)

    def apart(self, params: Params) -> tuple[Layer, Params]:
        """The layer's."""
        return self.body.apart(params)


def with_recomputed_blocks(net: Any) -> Any:
    """The network with each of its outermost blocks recomputed: `Residual` and `Repeat`; itself where it has none."""
    if isinstance(net, Repeat):
        return with_fields(net, checkpoint=True)
    if isinstance(net, Residual):
        return Recomputed(net)
    if isinstance(net, Sequential):
        members = net.members
        changed = {name: with_recomputed_blocks(layer) for name, layer in members.items()}
        same = all(layer is members[name] for name, layer in changed.items())
        return net if same else net.with_members(changed)
    if isinstance(net, Tied | Padded):
        body = net.body
        changed_body = with_recomputed_blocks(body)
        return net if changed_body is body else net.with_body(changed_body)
    return net
