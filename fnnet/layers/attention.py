"""`Attention`: multi-head self-attention over one sequence."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_array
from fnnet.core.geometry import integer
from fnnet.layers.answers import Access, Initializer, Layout, Parameter
from fnnet.layers.arguments import check_entries
from fnnet.layers.fields import check_initializers, set_fields, set_flags
from fnnet.layers.kernels import entry, glorot, zeros
from fnnet.layers.padding_aware import PaddingAware
from fnnet.layers.protocol import MINI_BATCH, Params
from fnnet.rules.attention import attention
from fnnet.rules.dense import dense
from fnnet.rules.rotary import rotary

PARTS = ("query", "key", "value", "out")

NAMES = {"kernel": "weight", "bias": "bias"}  # PyTorch's
# One module for all, and a module for each product, as many models have it.
PACKED = {f"{part}_{kind}": f"in_proj_{name}" for part in PARTS[:3] for kind, name in NAMES.items()}
PACKED |= {f"out_{kind}": f"out_proj.{name}" for kind, name in NAMES.items()}
TORCH = PACKED, {f"{part}_{kind}": f"{part}.{name}" for part in PARTS for kind, name in NAMES.items()}
FLAX = {f"{part}_{kind}": f"{part}/{kind}" for part in PARTS for kind in NAMES}


@dataclass(frozen=True, repr=False)
class Attention(PaddingAware):
    """Each row's queries meet the keys of all rows: (length, features) -> (length, features).

    Args:
        heads: Number of query heads, each of width features / heads.
        key_heads: Number of key and value heads, which divides `heads`; None means as many.
        causal: Whether a row sees no later one.
        rotary: Whether queries and keys are turned by their positions, 0 and on, as `fnnet.rotary` does by default.
        bias: Whether the four products have one.
        kernel_init: An initialiser of `jax.nn.initializers`. None means Glorot.
        bias_init: The same for the biases.

    Parameters: query_kernel (features, features), key_kernel and value_kernel (features, key_heads * width), out_kernel
    (features, features); and as many biases. Columns are head by head.

    PyTorch: torch.nn.MultiheadAttention, whose in_proj_weight is the transposes of the first three kernels, one below
    the other. Flax: MultiHeadDotProductAttention of linen and MultiHeadAttention of NNX, whose kernels are (features,
    heads, width), and (heads, width, features) for out. `fnnet.interop` carries them.
    """

    heads: int
    _: dataclasses.KW_ONLY
    key_heads: int | None = None
    causal: bool = False
    rotary: bool = False
    bias: bool = True
    kernel_init: Initializer | None = None
    bias_init: Initializer = zeros

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what cannot be."""
        set_fields(self, heads=integer("Attention", "heads", self.heads))
        if self.key_heads is not None:
            set_fields(self, key_heads=integer("Attention", "key_heads", self.key_heads))
        if self.heads % self._key_heads:
            raise ValueError(f"Attention: key_heads (={self.key_heads}) must divide heads (={self.heads})")
        set_flags(self, "causal", "rotary", "bias")
        check_initializers(self)
        own_heads = dict(zip(PARTS, (self.heads, self._key_heads, self._key_heads, self.heads), strict=True))
        split = {f"{part}_kernel": (int(part != "out"), heads) for part, heads in own_heads.items()}
        split |= {f"{part}_bias": (0, own_heads[part]) for part in PARTS[:3]}
        set_fields(self, layout=Layout((2, 3), TORCH, FLAX, features_last=True, split=split))

    @property
    def _key_heads(self) -> int:
        return self.heads if self.key_heads is None else self.key_heads

    @property
    def entries(self) -> tuple[str, ...]:
        """A kernel, and maybe a bias, of query, key, value and out."""
        return tuple(f"{part}_{kind}" for part in PARTS for kind in ("kernel", "bias")[: 1 + self.bias])

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """Kernels and biases for one sequence of that shape."""
        if len(shape) != 2:
            raise ValueError(f"Attention: x of shape {shape} must have shape (length, features)")
        features = shape[-1]
        if features % self.heads:
            raise ValueError(f"Attention: heads (={self.heads}) must divide the {features} features of x {shape}")
        if self.rotary and features // self.heads % 2:
            raise ValueError(f"Attention: rotary needs heads of an even width, not {features // self.heads}")
        found = {}
        for name, wanted in self._shapes(features).items():
            is_kernel = name.endswith("kernel")
            drawn = (self.kernel_init or glorot) if is_kernel else self.bias_init
            found[name] = Parameter(wanted, drawn, decayed=is_kernel)
        return found

    def _shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        wide = features // self.heads * self._key_heads
        outputs = {"query": features, "key": wide, "value": wide, "out": features}
        by_part = {name: outputs[name.partition("_")[0]] for name in self.entries}
        return {name: (features, n) if name.endswith("kernel") else (n,) for name, n in by_part.items()}

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """(length, features) -> (length, features)."""
        check_entries(self, params)
        x, features = as_array("Attention", "x", x), jnp.shape(params["out_kernel"])[-1]
        if x.ndim != 2 or x.shape[-1] != features:
            raise ValueError(
                f"Attention: x of shape {x.shape} must have shape (length, {features})"
                + f"; {MINI_BATCH}" * (x.ndim > 2)
            )
        self.check_rows(x)
        q, k, v = self._projected(params, x, jnp.arange(len(x), dtype=jnp.int32))
        o = attention(q, k, v, causal=self.causal, key_lengths=self.length)
        return self._product(params, o.reshape(x.shape), "out")

    def insides(self, params: Params, x: Any) -> dict[str, Any]:
        """query, key, value (length, ...) head by head, and weights (heads, length, length).

        The weights are the output for values that are the rows of the identity.
        """
        x = jnp.asarray(x)
        length = len(x)
        q, k, v = self._projected(params, x, jnp.arange(length, dtype=jnp.int32))
        rows = jnp.broadcast_to(jnp.eye(length, dtype=q.dtype)[:, None], (length, k.shape[-2], length))
        weights = attention(q, k, rows, causal=self.causal, key_lengths=self.length)
        parts = {name: part.reshape(length, -1) for name, part in zip(PARTS, (q, k, v), strict=False)}
        return {**parts, "weights": weights.transpose(1, 0, 2)}

    def step(self, params: Params, row: Any, cache: Any, position: jax.Array, size: int) -> tuple[Any, Any]:
        """(features,) -> (features,); the cache has the keys and the values of all rows so far."""
        if not self.causal:
            raise ValueError(f"Attention: {self!r} must be causal to go row by row, as generate does")
        check_entries(self, params)
        q, k, v = self._projected(params, row[None], position[None])
        if cache is None:
            cache = tuple(jnp.zeros((size, *new.shape[1:]), new.dtype) for new in (k, v))
        keys, values = (
            jax.lax.dynamic_update_slice_in_dim(old, new, position, 0) for old, new in zip(cache, (k, v), strict=True)
        )
        o = attention(q, keys, values, key_lengths=position + 1)
        return self._product(params, o.reshape(row.shape), "out"), (keys, values)

    def _projected(self, params: Params, x: Any, positions: jax.Array) -> tuple[Any, Any, Any]:
        """Queries, keys and values of these rows, (rows, heads, width)."""
        width = jnp.shape(params["out_kernel"])[-1] // self.heads
        q, k, v = (self._product(params, x, part).reshape(len(x), -1, width) for part in PARTS[:3])
        return (rotary(q, positions), rotary(k, positions), v) if self.rotary else (q, k, v)

    def _product(self, params: Params, rows: Any, part: str) -> Any:
        shapes = self._shapes(jnp.shape(params["out_kernel"])[-1])
        names = (f"{part}_{kind}" for kind in ("kernel", "bias")[: 1 + self.bias])
        return dense(rows, *(entry(self, params, name, shapes[name]) for name in names))

    def flops(self, params: Params, x: Any) -> int:
        """Its products and biases; for each pair of rows and head two products, and a softmax counted as five."""
        length, features = x.shape
        biases = sum(math.prod(params[name].shape) for name in self.entries if name.endswith("bias"))
        return self.products(params, x) + length * biases + length * length * (4 * features + 5 * self.heads)

    def products(self, params: Params, x: Any) -> int:
        """A multiplication and an addition for each weight and row."""
        return 2 * x.shape[0] * sum(math.prod(params[name].shape) for name in self.entries if name.endswith("kernel"))

    def access(self, x: Any) -> Access:
        """Products."""
        return Access("product")
