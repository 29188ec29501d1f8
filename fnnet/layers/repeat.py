"""`Repeat`: the same block several times, each with parameters of its own, in one loop.

A deep network compiles as fast as a shallow one: XLA sees the block once.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_array
from fnnet.core.geometry import integer
from fnnet.layers.arguments import check_entries, example_shape
from fnnet.layers.containers import folded
from fnnet.layers.fields import set_fields, set_flags
from fnnet.layers.functions import as_layer
from fnnet.layers.protocol import Layer, Params, check_layer, with_fields
from fnnet.layers.sequential import Row
from fnnet.layers.with_body import WithBody


@dataclass(frozen=True, repr=False)
class Repeat(WithBody):
    """block(block(... block(x))), `times` times.

    Args:
        block: A layer that keeps shape and dtype of its input, such as a `Residual`.
        times: How often.
        checkpoint: Whether the backward recomputes a block's inside from its input, by `jax.checkpoint`: then the input
            of each block is kept and nothing else.

    Parameters: those of the block, with the repetitions along a new first axis. Each repetition is drawn from its own
    fold of the key, and has its own fold of the key of `apply`. As in Flax's `nn.scan` and Haiku's `layer_stack`.
    `summary` shows it as one layer, `fnnet.trace` each repetition.
    """

    block: Layer | Callable
    times: int
    _: dataclasses.KW_ONLY
    checkpoint: bool = False

    def __post_init__(self) -> None:
        """Raises TypeError or ValueError for what is no layer or no number of 1 or more."""
        check_layer("Repeat", "block", self.block)
        set_fields(self, times=integer("Repeat", "times", self.times))
        set_flags(self, "checkpoint")

    @property
    def body(self) -> Layer:
        """The block."""
        return as_layer(self.block)

    def with_body(self, body: Layer) -> "Repeat":
        """The same with another block."""
        return with_fields(self, block=body)

    def init(self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> dict[str, Any]:
        """Parameters for one example of that shape."""
        shape = example_shape("Repeat", shape)
        layer = self.body
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(self.times))
        return jax.vmap(lambda key: layer.init(key, shape, dtype))(keys)

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """The output for one example, of the shape and dtype of x."""
        return self._scanned(lambda layer, own, x, key: (layer.apply(own, x, key=key), {}), params, x, key)[0]

    def apply_batch(self, params: Params, xs: Any, *, keys: jax.Array | None = None) -> tuple[Any, dict[str, Any]]:
        """As the block says; statistics of each repetition."""
        if keys is None or not self.of_batch:
            return super().apply_batch(params, xs, keys=keys)
        return self._scanned(lambda layer, own, xs, keys: layer.apply_batch(own, xs, keys=keys), params, xs, keys)

    def _scanned(self, run: Callable, params: Params, x: Any, key: jax.Array | None) -> tuple[Any, dict[str, Any]]:
        """run(block, params, x, key) -> (y, statistics), repetition by repetition."""
        self._check(params)
        x, layer = as_array("Repeat", "x", x), self.body

        def once(x: Any, one: tuple) -> tuple[Any, dict[str, Any]]:
            own, number = one
            y, statistics = run(layer, own, x, folded(key, number))
            if (y.shape, y.dtype) != (x.shape, x.dtype):
                raise ValueError(
                    f"Repeat: the block's output of shape {y.shape}, {y.dtype} must be like x, {x.shape}, {x.dtype}"
                )
            return y, statistics

        body = jax.checkpoint(once, prevent_cse=False) if self.checkpoint else once  # a scan needs no barrier
        return jax.lax.scan(body, x, (params, jnp.arange(self.times)))

    def _check(self, params: Params) -> None:
        """Whether `params` has the block's entries, each with the repetitions along its first axis."""
        check_entries(self, params)
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
            if jnp.shape(leaf)[:1] != (self.times,):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise ValueError(
                    f"Repeat: {name} of shape {jnp.shape(leaf)} must have {self.times} repetitions along its first axis"
                )

    def step(self, params: Params, row: Any, cache: Any, position: jax.Array, size: int) -> tuple[Any, Any]:
        """The block's steps, and their caches along a first axis."""
        self._check(params)
        layer = self.body

        def once(row: Any, one: tuple) -> tuple[Any, Any]:
            own, cache = one
            return layer.step(own, row, cache, position, size)

        return jax.lax.scan(once, row, (params, cache), length=self.times)

    @property
    def gain(self) -> float | None:
        """The block's."""
        return self.body.gain

    def with_gain(self, gain: float) -> "Repeat":
        """The same with the block's kernel drawn for this gain."""
        return self.with_body(self.body.with_gain(gain))

    def flops(self, params: Params, x: Any) -> int:
        """Those of all repetitions."""
        return self.times * super().flops(params, x)

    def products(self, params: Params, x: Any) -> int:
        """Those of all repetitions."""
        return self.times * super().products(params, x)

    def inner(self, params: Params) -> list[tuple[str, Layer, Params]]:
        """The repetitions."""
        of_one = (jax.tree.map(lambda p, n=n: p[n], params) for n in range(self.times))
        return [(f"[{n}]", self.body, own) for n, own in enumerate(of_one)]

    def apart(self, params: Params) -> tuple[Layer, Params]:
        """Each repetition, with its own parameters."""
        self._check(params)
        block = self.body
        each = [block.apart(jax.tree.map(lambda p, i=i: p[i], params)) for i in range(self.times)]
        row = Row.of(self, *(layer for layer, _ in each))
        return row, {name: own for name, (_, own) in zip(row.members, each, strict=True) if own}
