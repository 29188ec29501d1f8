"""`Sequential`: layers in a row.

Parameters are nested dictionaries with an entry for each layer that has any, named by kind and position: "conv_0",
"dense_7".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_key
from fnnet.costs.summary import Summary, summarise
from fnnet.costs.training_step import StepCost, step_cost
from fnnet.layers.containers import Container, folded, layers_with_length, named_in_errors, plain_layers
from fnnet.layers.functions import as_layer
from fnnet.layers.precision import as_compute_dtype, rounded, wide
from fnnet.layers.protocol import (
    Layer,
    Params,
    abstract_example,
    check_entries,
    check_layer,
    example_shape,
    with_fields,
)


@dataclass(frozen=True, repr=False, init=False)
class Sequential(Container):
    """One layer after the other.

    Args:
        *layers: Layers, or plain functions of the example.
        compute_dtype: Mixed precision: jnp.bfloat16 computes in bf16 what `init` keeps in f32. Each layer gets its
            parameters and its input in this dtype, a softmax of fnnet or jax.nn (but not a function that calls one)
            its input in f32; products are summed in f32, and the output is f32. So are the parameters' gradients, the
            optimiser and checkpoints. A `Sequential` among the layers with a compute_dtype of its own keeps it. None:
            the dtypes of parameters and example.

    Kernels are drawn for the gain of the next layer, past norms, pooling, Flatten and Dropout. Before a rectifier (relu
    and leaky_relu of fnnet or jax.nn, a functools.partial of them, a rule whose `gain` says so) they are drawn as in He
    et al. (2015), truncated normal with variance 2 / fan in. Before anything else, and at the end of the layers, they
    are drawn as in Glorot. A layer's `kernel_init` comes first. Biases are 0.

    Networks with equal layers are equal; functions, and so initialisers, are equal if they are the same object.

    Example:
        >>> import jax
        >>> net = Sequential(Conv(32, 3), jax.nn.relu, MaxPool(2), Flatten(), Dense(10))
        >>> params = net.init(jax.random.key(0), (28, 28, 1))
        >>> jax.tree.map(lambda leaf: leaf.shape, params)["dense_4"]
        {'bias': (10,), 'kernel': (6272, 10)}
    """

    layers: tuple[Layer | Callable, ...]
    compute_dtype: Any = None

    def __init__(self, *layers: Layer | Callable, compute_dtype: Any = None):
        """Raises TypeError for what is no layer, or no floating dtype."""
        for position, layer in enumerate(layers):
            check_layer("Sequential", f"layer {position}", layer)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "compute_dtype", as_compute_dtype("Sequential", compute_dtype))

    @property
    def members(self) -> dict[str, Layer]:
        """The layers by kind and position."""
        layers = map(as_layer, self.layers)
        return {f"{layer.kind}_{position}": layer for position, layer in enumerate(layers)}

    def init(self, key: jax.Array | int, shape: Sequence[int], dtype: Any = jnp.float32) -> dict[str, Any]:
        """Parameters for one example of that shape, drawn in one jit: drawn one by one, each would be compiled.

        Args:
            key: Each layer gets its own fold of it; an integer is the seed of one.
            shape: The shape of one example.
            dtype: Of the parameters, and of the example, which is int32 where `Embedding` comes first.

        Returns:
            A nested dictionary with the leaves "kernel" and "bias".

        Raises:
            Exception: What a layer says to its input's shape, with the layer's position in front.
        """
        key, shape, dtype = as_key("Sequential", key), example_shape("Sequential", shape), jnp.dtype(dtype)
        # A jit inside another takes no compiler options; there even a new array is traced, if not the caller's key.
        if any(isinstance(array, jax.core.Tracer) for array in (key, jnp.zeros(()))):
            return _drawn(self, key, shape, dtype)
        return _drawn_in_one_jit(self, key, shape, dtype)

    def thread(self, run: Callable, params: Params, x: Any, key: jax.Array | None) -> Any:
        """`apply`, with run(name, layer, params, x, key) in the place of each layer's own `apply`."""
        check_entries(self, params)
        for position, (name, layer) in enumerate(self.members.items()):
            with named_in_errors(f"layer {position}", layer):
                own, x = self._in_compute_dtype(layer, params.get(name, {}), x)
                x = run(name, layer, own, x, folded(key, position))
        return x if self.compute_dtype is None else wide(x)

    @property
    def example_dtype(self) -> Any:
        """That of the first layer."""
        return as_layer(self.layers[0]).example_dtype if self.layers else None

    def with_length(self, length: Any, rows: int) -> "Sequential":
        """The same for a sequence of `rows` rows, of which the first `length` count."""
        return with_fields(self, layers=layers_with_length(self.layers, length, rows))

    def with_members(self, members: Mapping[str, Layer]) -> "Sequential":
        """The same with other layers."""
        return with_fields(self, layers=tuple(members.values()))

    def last_product(self, params: Params) -> tuple[Layer | None, Params, Any, Any] | None:
        """That of its last layer."""
        if not self.layers:
            return None
        *before, (name, last) = self.members.items()
        found = last.last_product(params.get(name, {}))
        if found is None:
            return None
        body, own, kernel, bias = found
        others = {name: params[name] for name, _ in before if name in params}
        if body is None:
            return with_fields(self, layers=self.layers[:-1]), others, kernel, bias
        whole = with_fields(self, layers=(*self.layers[:-1], body))
        return whole, others | ({list(whole.members)[-1]: own} if own else {}), kernel, bias

    def without_policy(self) -> "Sequential":
        """The same without a compute_dtype, at any depth."""
        return with_fields(self, layers=plain_layers(self.layers), compute_dtype=None)

    def _in_compute_dtype(self, layer: Layer, own: Params, x: Any) -> tuple[Params, Any]:
        """A layer's parameters and input as the policy wants them."""
        if self.compute_dtype is None:
            return own, x
        if layer.precise:
            return own, wide(x)
        if isinstance(layer, Sequential) and layer.compute_dtype is not None:
            return own, x
        own = jax.tree.map(lambda a, kept: a if kept else rounded(a, self.compute_dtype), own, layer.statistics(own))
        return own, rounded(x, self.compute_dtype)

    def flops(self, params: Params, x: Any) -> int:
        """Of its own, besides its layers': none."""
        return 0

    @overload
    def summary(self, shape: Sequence[int], dtype: Any = ...) -> Summary: ...

    @overload
    def summary(
        self, shape: Sequence[int], dtype: Any = ..., *, batch: int, devices: int | Mapping[str, int] = ...
    ) -> StepCost: ...

    def summary(
        self,
        shape: Sequence[int],
        dtype: Any = jnp.float32,
        *,
        batch: int | None = None,
        devices: int | Mapping[str, int] = 1,
    ) -> Summary | StepCost:
        """What each layer makes, holds and computes; or, with `batch`, what a training step costs. `str` makes a table.

        Args:
            shape: The shape of one example.
            dtype: Of the parameters, and of the example.
            batch: Examples of a mini-batch. None: output shape, parameters, operations of a forward and kept bytes of
                each layer, for one example. A number: FLOPs, bytes to and from memory and bytes sent, of each layer in
                a training step with Adam, on one device; also what it has to hold.
            devices: How many share the mini-batch: a number, or {"data": ..., "parameters": ...}, where those along
                "parameters" share parameters and optimiser state, too.

        Raises:
            ValueError: The batch is not a positive multiple of the number of devices, or there is no such axis.
        """
        shape = example_shape("Sequential", shape)
        if batch is None and devices == 1:
            return summarise(self, shape, dtype)
        if batch is None:
            raise ValueError(f"summary: devices (={devices!r}) needs batch, the examples of a mini-batch")
        return step_cost(self, shape, dtype, batch, devices)

    def __repr__(self) -> str:
        """The network as its user wrote it."""
        shown = [repr(as_layer(layer)) for layer in self.layers]
        if self.compute_dtype is not None:
            shown.append(f"compute_dtype={self.compute_dtype.name}")
        return f"Sequential({', '.join(shown)})"


class Row(Sequential):
    """Layers in a row in the place of a layer that is no `Sequential`."""

    kind: str = ""  # type: ignore[assignment]  # of that layer

    @classmethod
    def of(cls, layer: Layer, *layers: Layer | Callable) -> "Row":
        """In the place of this layer."""
        return with_fields(cls(*layers), kind=layer.kind)


def _drawn(net: Sequential, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> dict[str, Any]:
    params = {}
    x = abstract_example(net, shape, dtype)
    for position, (name, layer) in enumerate(net.members.items()):
        with named_in_errors(f"layer {position}", layer):
            layer = layer.with_gain(_gain(net.layers[position + 1 :]))
            own = layer.init(jax.random.fold_in(key, position), x.shape, dtype)
            x = jax.eval_shape(layer.apply, own, x)
        if own:
            params[name] = own
    return params


# Optimising code that runs once costs more than it saves: 1.9 s of compilation instead of 0.5 for a small network.
_drawn_in_one_jit = jax.jit(_drawn, static_argnums=(0, 2, 3), compiler_options={"xla_backend_optimization_level": 0})


def _gain(following: Sequence[Layer | Callable]) -> float:
    """That of the first layer that has one."""
    gains = (as_layer(layer).gain for layer in following)
    return next((gain for gain in gains if gain is not None), 1.0)
