"""`Residual`: x + body(x)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.layers.arguments import check_entries, example_shape
from fnnet.layers.containers import Container, folded, layers_with_length, named_in_errors, plain_layers
from fnnet.layers.functions import as_layer
from fnnet.layers.protocol import Layer, Params, check_layer, with_fields
from fnnet.layers.sequential import Sequential


@dataclass(frozen=True, repr=False, init=False)
class Residual(Container):
    """x + body(x), the body being layers one after the other; or shortcut(x) + body(x).

    Args:
        *layers: The body, as in `Sequential`.
        shortcut: A layer where the body changes the shape, such as Conv(features, 1, stride=2).

    Source: He et al. (2016), (1) and (2).
    """

    layers: tuple[Layer | Callable, ...]
    shortcut: Layer | Callable | None = None

    def __init__(self, *layers: Layer | Callable, shortcut: Layer | Callable | None = None):
        """Raises TypeError for what is no layer, ValueError if there is none."""
        if not layers:
            raise ValueError("Residual: layers (=()) must be one layer or more")
        for position, layer in enumerate(layers):
            check_layer("Residual", f"layer {position}", layer)
        if shortcut is not None:
            check_layer("Residual", "shortcut", shortcut)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "shortcut", shortcut)

    @property
    def members(self) -> dict[str, Layer]:
        """The body's layers by kind and position, and "shortcut"."""
        shortcut = {} if self.shortcut is None else {"shortcut": as_layer(self.shortcut)}
        return Sequential(*self.layers).members | shortcut

    def init(self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> dict[str, Any]:
        """Parameters for one example of that shape."""
        shape = example_shape("Residual", shape)
        params = Sequential(*self.layers).init(key, shape, dtype)
        if self.shortcut is not None:
            shortcut = as_layer(self.shortcut)
            with named_in_errors("shortcut", shortcut):
                own = shortcut.init(jax.random.fold_in(key, len(self.layers)), shape, dtype)
            if own:
                params["shortcut"] = own
        return params

    def thread(self, run: Callable, params: Params, x: Any, key: jax.Array | None) -> Any:
        """`apply`, with run(name, layer, params, x, key) in the place of each layer's own `apply`."""
        check_entries(self, params)
        of_body = {name: own for name, own in params.items() if name != "shortcut"}
        body, straight = Sequential(*self.layers).thread(run, of_body, x, key), x
        if self.shortcut is not None:
            layer = as_layer(self.shortcut)
            with named_in_errors("shortcut", layer):
                straight = run("shortcut", layer, params.get("shortcut", {}), x, folded(key, len(self.layers)))
        if straight.shape != body.shape:
            whose = "x" if self.shortcut is None else "the shortcut"
            raise ValueError(
                f"Residual: the body's output of shape {body.shape} must have {whose}'s shape {straight.shape}; "
                "a shortcut such as Conv(features, 1, stride=...) makes them agree"
            )
        return straight + body

    @property
    def example_dtype(self) -> Any:
        """That of the body's first layer."""
        return as_layer(self.layers[0]).example_dtype

    def with_members(self, members: Mapping[str, Layer]) -> "Residual":
        """The same with other layers."""
        body = tuple(layer for name, layer in members.items() if name != "shortcut")
        return with_fields(self, layers=body, shortcut=members.get("shortcut"))

    def with_length(self, length: Any, rows: int) -> "Residual":
        """The same for a sequence of `rows` rows, of which the first `length` count."""
        shortcut = self.shortcut.with_length(length, rows) if isinstance(self.shortcut, Layer) else self.shortcut
        return with_fields(self, layers=layers_with_length(self.layers, length, rows), shortcut=shortcut)

    def without_policy(self) -> "Residual":
        """The same without a compute_dtype, at any depth."""
        shortcut = self.shortcut.without_policy() if isinstance(self.shortcut, Layer) else self.shortcut
        return with_fields(self, layers=plain_layers(self.layers), shortcut=shortcut)

    def flops(self, params: Params, x: Any) -> int:
        """Of its own, besides its layers': the sum, one addition for each output."""
        return jax.eval_shape(self.apply, params, x).size

    def __repr__(self) -> str:
        """The block as its user wrote it."""
        shown = [repr(as_layer(layer)) for layer in self.layers]
        if self.shortcut is not None:
            shown.append(f"shortcut={as_layer(self.shortcut)!r}")
        return f"Residual({', '.join(shown)})"
