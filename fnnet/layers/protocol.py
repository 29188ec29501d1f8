"""What a layer is: a frozen, hashable description with `init` and `apply`, for ONE example.

A layer holds no parameters. `init(key, shape)` makes them, a dictionary with the layer's `entries`, and
`apply(params, x)` uses them. A plain function of the example is a layer without parameters. Another kind of layer is a
subclass of `Layer`, a frozen dataclass with `entries`, `parameters` (or `init`) and `apply` (or `call`).

Whatever else the library wants to know of a layer, it asks the layer. Each answer has a default that is right for every
layer: docs/architecture.md lists who asks what. A subclass that replaces its parent's `apply` gets the defaults back,
unless it answers itself.
"""

import copy
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from fnnet.core.arguments import as_key
from fnnet.core.partials import innermost, is_partial
from fnnet.layers.answers import Access, Call, Layout, Parameter
from fnnet.layers.arguments import check_entries, example_shape
from fnnet.layers.habits import Habits

Params = Mapping[str, Any]
MINI_BATCH = "jax.vmap(net.apply, (None, 0)) takes a mini-batch"  # said where x may be one


class Layer(Habits):
    """What every layer has; without parameters, unless it says otherwise."""

    layout: ClassVar[Layout | None] = None  # None: interop refuses a layer with parameters, by name

    # What describes `apply`, and is not inherited by a subclass with another one.
    _OF_APPLY: ClassVar = (
        *("call", "apply_batch", "of_batch", "gain", "precise", "by_row", "step", "last_product", "apart"),
        *("spatial_axes", "flops", "products", "access", "squared_gradient_norms", "factor"),
        *("insides", "insides_batch", "over_time", "rows_read", "engine"),
    )

    def __init_subclass__(cls, **keywords: Any) -> None:
        """A subclass that computes something else answers by the defaults, unless it says otherwise.

        A parent without an `apply` describes the ones that its subclasses define: they keep its answers.
        """
        super().__init_subclass__(**keywords)
        others = {"apply", "call"} & cls.__dict__.keys()
        replaces = any({"apply", "call"} & parent.__dict__.keys() for parent in cls.__mro__[1:] if parent is not Layer)
        for name in Layer._OF_APPLY if others and replaces else ():
            if name not in cls.__dict__:
                setattr(cls, name, Layer.__dict__[name])
        if others == {"call"}:
            cls.apply = _apply_by(cls.__dict__["call"])  # type: ignore[method-assign]

    @property
    def entries(self) -> tuple[str, ...]:
        """The keys of its parameters."""
        return ()

    @property
    def kind(self) -> str:
        """Its name without a position: "conv", "max_pool", "rms_norm"."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(self).__name__).lower()

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """Its parameters, entry by entry, for one example of that shape."""
        return {}

    def init(self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> dict[str, Any]:
        """Parameters for one example of that shape, each drawn from its own part of the key."""
        wanted = self.parameters(example_shape(type(self).__name__, shape))
        keys = jax.random.split(as_key(type(self).__name__, key), max(2, len(wanted)))
        return {
            name: one.initializer(k, one.shape, dtype) for (name, one), k in zip(wanted.items(), keys, strict=False)
        }

    def decayed(self, params: Params, x: Any) -> dict[str, Any]:
        """For each entry whether weight decay is usual for it, as `parameters` says; `params` and `x` may be shapes."""
        told = self.parameters(x.shape)
        return {
            name: told[name].decayed if name in told else jax.tree.map(lambda _: True, params[name]) for name in params
        }

    def call(self, params: Params, x: Any) -> Call | None:
        """The one public function that the layer is, with what it is called; its reference is then the function's."""
        return None

    def apply(self, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        """The layer's output for one example; with a key, what is random in training is."""
        raise NotImplementedError(f"{type(self).__name__} must define `apply` or `call`")

    def apply_batch(self, params: Params, xs: Any, *, keys: jax.Array | None = None) -> tuple[Any, dict[str, Any]]:
        """The outputs of a mini-batch, and the statistics that were taken of it.

        Args:
            params: The layer's parameters.
            xs: The examples along the first axis.
            keys: For training: a key for each example, as `jax.random.split(key, len(xs))` makes them. Without them
                each example is computed alone, as by `apply`.

        Returns:
            The outputs; and, in training, the entries that a statistic of this mini-batch has in `params`, nested like
            them: {"batch_norm_1": {"mean": ..., "variance": ...}}. {} for layers that take none.
        """
        if keys is None:
            return jax.vmap(lambda x: self.apply(params, x))(xs), {}
        return jax.vmap(lambda x, key: self.apply(params, x, key=key))(xs, keys), {}

    @property
    def of_batch(self) -> bool:
        """Whether in training an example's output depends on the others of its mini-batch."""
        return False

    def statistics(self, params: Params) -> dict[str, Any]:
        """For each entry whether it is a statistic: not trained, and not rounded by a compute_dtype."""
        return jax.tree.map(lambda _: False, dict(params))

    @property
    def gain(self) -> float | None:
        """The gain of the kernel before it, as in torch.nn.init.calculate_gain; None: the next layer's decides."""
        return 1.0

    def with_gain(self, gain: float) -> "Layer":
        """The layer with its kernel drawn for this gain, unless it has an initialiser of its own."""
        return self

    @property
    def precise(self) -> bool:
        """Whether a compute_dtype leaves its input in f32."""
        return False

    def flops(self, params: Params, x: Any) -> int:
        """Operations of one forward, as XLA counts them in the compiled layer; `params` and `x` need only shapes."""
        cost = jax.jit(self.apply).lower(params, x).compile().cost_analysis() or {}
        return max(int(cost.get("flops", 0)), 0)

    def products(self, params: Params, x: Any) -> int:
        """How many of the `flops` are of products with a kernel, which the backward does once for each operand."""
        return 0

    def access(self, x: Any) -> Access:
        """How its loops read memory."""
        return Access()

    def squared_gradient_norms(self, params: Params, x: Any, y_bar: Any) -> jax.Array | None:
        """For each example the squared norm of its gradient, if it has a shorter form than the gradient's.

        Args:
            params: The layer's parameters.
            x: Its inputs, with the examples along the first axis.
            y_bar: The cotangent of its output for each example.

        Returns:
            (examples,), summed in f32 for bf16 and f16; or None: the gradient is formed, example by example.
        """
        return None

    def factor(self, of: str, index: tuple[int, ...], out: tuple[int, ...], shape: tuple[int, ...]) -> tuple | None:
        """Where the layer is linear in x or in a parameter: which entry its derivative is.

        Args:
            of: "x", or an entry of the parameters.
            index: An entry of it, in an example of `shape`.
            out: An entry of the output.
            shape: Of x.

        Returns:
            The name and the index of the entry that d out / d of[index] equals: ("x", (3, 4)); () where it is 1; None
            where it is no entry.
        """
        return None

    def insides(self, params: Params, x: Any) -> dict[str, Any]:
        """What the layer computes on the way to its output for one example, by name: what a reader wants to see.

        An array "weights" of shape (heads, rows, rows) is drawn as attention: how much each row takes of each.
        """
        return {}

    def insides_batch(self, params: Params, xs: Any, *, keys: jax.Array | None = None) -> dict[str, Any]:
        """The same of a mini-batch, with keys in training: those of each example along a first axis.

        Where the layer is `of_batch` and there are keys, they are of the mini-batch as a whole, without that axis.
        """
        names: list[str] = []  # in the layer's order, which `vmap` forgets

        def arrays(x: Any) -> list:
            found = self.insides(params, x)
            names[:] = found
            return list(found.values())

        found = jax.vmap(arrays)(xs)
        return dict(zip(names, found, strict=True))

    @property
    def over_time(self) -> bool:
        """Whether it goes along the first axis of its example step by step."""
        return False

    def rows_read(self, name: str, x: Any) -> Any:
        """Which rows of a parameter are read for x, an example or a mini-batch: their numbers; None: all."""
        return None

    def engine(self, shape: tuple[int, ...]) -> Mapping[str, Any] | None:
        """What a program that is not JAX needs to compute the layer, without a key, for an example of `shape`.

        Returns:
            "kind" and sizes, as JSON has them: {"kind": "dense", "inputs": 4, "features": 3}. The page of `trace` has a
            program for each kind, in fnnet/tracing/page/engine.js. None: it has none for this layer.
        """
        return None

    def inner(self, params: Params) -> "list[tuple[str, Layer, Params]] | None":
        """The layers that it is made of, in the order of use; None: it is made of none, or is a container.

        Each with the end of its path ("[2]" for a repetition, whose parameters lie along a first axis) and parameters.
        """
        return None

    def last_product(self, params: Params) -> "tuple[Layer | None, Params, Any, Any] | None":
        """The layer as a body (None: the identity), its parameters, kernel and bias; None: it ends in no product."""
        return None

    def apart(self, params: Params) -> "tuple[Layer, Params]":
        """The same function as layers that `trace` can look into, each used once; linear in `params`."""
        return self, params

    @property
    def by_row(self) -> bool:
        """Whether each row of a sequence makes its own row of the output, whatever the other rows are."""
        return False

    def step(self, params: Params, row: Any, cache: Any, position: jax.Array, size: int) -> tuple[Any, Any]:
        """The output's row for the next row of a sequence, and the cache for the next step: what `generate` runs.

        Args:
            params: The layer's.
            row: The sequence's next row.
            cache: What the previous step returned. None at the first row: the step then makes a cache of zeros.
            position: The row's number.
            size: How many rows the cache must have room for.
        """
        if not self.by_row:
            raise ValueError(f"{type(self).__name__}: {self!r} cannot go row by row, as generate does")
        return self.apply(params, row[None])[0], None

    @property
    def spatial_axes(self) -> int | None:
        """How many spatial axes its example has, before the channels; None: any number."""
        return None

    @property
    def example_dtype(self) -> Any:
        """The dtype of an example, where that is an integer; None: the parameters' dtype."""
        return None

    def with_length(self, length: Any, rows: int) -> Any:
        """The same for a sequence of `rows` rows: the first `length` count, the others are padding; at any depth.

        A layer that treats each row by itself is the same. `length` may be traced; `Padded` counts it.
        """
        return self

    def without_policy(self) -> Any:
        """The same without a compute_dtype, at any depth: it computes in the dtype of its parameters."""
        return self

    def __repr__(self) -> str:
        """The layer as its user wrote it: what has its default value is left out."""
        shown = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING:
                shown.append(text(value))
            elif value != field.default:
                shown.append(f"{field.name}={text(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _apply_by(call: Callable) -> Callable:
    """`apply` of a layer that is one call."""

    def apply(self: Layer, params: Params, x: Any, *, key: jax.Array | None = None) -> Any:
        check_entries(self, params)
        function, args, keywords = call(self, params, x)
        return function(*args, **keywords)

    apply.__doc__ = call.__doc__
    return apply


def with_fields(layer: Any, **fields: Any) -> Any:
    """A copy of a frozen layer with other values in some fields; of a subclass too, whatever its constructor takes."""
    other = copy.copy(layer)
    for name, value in fields.items():
        object.__setattr__(other, name, value)
    return other


def check_layer(function: str, argument: str, layer: Any) -> None:
    """Whether `layer` is a layer or a function; the common mistake is a class, `Flatten` for `Flatten()`."""
    if isinstance(layer, type) and issubclass(layer, Layer):
        raise TypeError(f"{function}: {argument} (={layer.__name__}) is a class; write {layer.__name__}(...)")
    if isinstance(layer, list | tuple):
        raise TypeError(f"{function}: {argument} is a {type(layer).__name__}; write {function}(*layers)")
    if not isinstance(layer, Layer) and not callable(layer):
        such = "; write the function, such as fnnet.relu" if isinstance(layer, str) else ""
        raise TypeError(f"{function}: {argument} (={layer!r}) must be a layer or a function of the example{such}")


def abstract_example(layer: Layer, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """One example for a layer with parameters of that dtype."""
    return jax.ShapeDtypeStruct(shape, dtype if layer.example_dtype is None else layer.example_dtype)


def function_name(function: Any) -> str:
    """The name under which a function was defined, without its arguments."""
    function = innermost(function)
    return getattr(function, "__name__", type(function).__name__)


def text(value: Any) -> str:
    """A field's value as its user wrote it: functions by name."""
    if is_partial(value):
        arguments = [text(value.func), *map(text, value.args), *(f"{k}={text(v)}" for k, v in value.keywords.items())]
        return f"partial({', '.join(arguments)})"
    return function_name(value) if callable(value) and not isinstance(value, Layer) else repr(value)
