"""An ONNX graph while it is built: its nodes, its parameters under fnnet's names, and what turns a layer into nodes.

A value in the graph is a mini-batch: the axis "batch" first, then the axes of one example. ONNX's convolutions and
pools want channels second, its recurrences the time first. So a value has an order of axes, and a node that treats all
entries alike keeps its input's order: the graph transposes only where a node wants another order than the one it gets.
"""

import hashlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np

from fnnet.core.partials import is_partial
from fnnet.layers.answers import Call
from fnnet.layers.containers import is_threaded
from fnnet.layers.protocol import Layer, Params, function_name

TYPES = {  # of NumPy's dtypes, ONNX's names
    **{"float32": "FLOAT", "float64": "DOUBLE", "float16": "FLOAT16", "bfloat16": "BFLOAT16"},
    **{"int32": "INT32", "int64": "INT64", "bool": "BOOL"},
}
INPUT, OUTPUT, BATCH = "input", "output", "batch"
NODES: dict[Any, Callable] = {}  # the handlers, by class of layer or by function
Handler = TypeVar("Handler", bound=Callable)
Order = tuple[int, ...]


def onnx_node(*kinds: Any) -> Callable[[Handler], Handler]:
    """A decorator for a handler, which writes the ONNX nodes of a class of layers or of a function.

    Args:
        *kinds: Classes of layers, for handler(graph, layer, params, x); or functions, for handler(graph, x), which
            also takes the function's other arguments, if any. `graph` is an `OnnxGraph`. `x` is an `OnnxValue`, and the
            handler returns one.

    Returns:
        The decorator. It replaces an earlier handler. A subclass with an `apply` of its own needs its own handler.

    Example:
        >>> import fnnet, jax.numpy as jnp
        >>> def hard_swish(x):
        ...     return x * jnp.clip(x / 6 + 0.5, 0, 1)
        >>> @fnnet.interop.onnx_node(hard_swish)
        ... def hard_swish_node(graph, x):
        ...     return graph.elementwise("HardSwish", x)
    """

    def register(handler: Handler) -> Handler:
        NODES.update(dict.fromkeys(kinds, handler))
        return handler

    return register


@dataclass(frozen=True, eq=False)
class OnnxValue:
    """A mini-batch in the graph.

    Attributes:
        graph: The graph that it is in.
        name: Its name there.
        shape: The shape of one example.
        dtype: Its dtype.
        order: Its axes there, as numbers of those of (batch, *shape): (0, 3, 1, 2) is (batch, channels, height, width).
    """

    graph: "OnnxGraph"
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    order: Order

    def __add__(self, other: "OnnxValue") -> "OnnxValue":
        """The sum, entry by entry."""
        return self.graph.elementwise("Add", self, other)

    def __sub__(self, other: "OnnxValue") -> "OnnxValue":
        """The difference, entry by entry."""
        return self.graph.elementwise("Sub", self, other)

    def __mul__(self, other: "OnnxValue") -> "OnnxValue":
        """The product, entry by entry."""
        return self.graph.elementwise("Mul", self, other)

    def __truediv__(self, other: "OnnxValue") -> "OnnxValue":
        """The quotient, entry by entry."""
        return self.graph.elementwise("Div", self, other)


def channels_first(x: OnnxValue) -> Order:
    """(batch, channels, *image)."""
    rank = len(x.shape)
    return (0, rank, *range(1, rank))


@dataclass(frozen=True)
class Initializer:
    """The name of an array that is stored in the graph."""

    name: str


class OnnxGraph:
    """The nodes and the stored arrays, in the order in which they were added."""

    def __init__(self, onnx: Any):
        """Empty; `onnx` is the package."""
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._path = ""  # of the layer whose nodes are being written
        self._parameters: dict[int, str] = {}  # the names of its parameters, by identity
        self._stored: dict[tuple, Initializer] = {}
        self._ordered: dict[tuple[str, Order], OnnxValue] = {}
        self._taken = {INPUT, OUTPUT}

    def input(self, shape: tuple[int, ...], dtype: Any) -> OnnxValue:
        """The mini-batch that the model takes."""
        self._inputs.append(self._described(INPUT, shape, dtype))
        return OnnxValue(self, INPUT, shape, np.dtype(dtype), self._order_of(shape, None))

    def output(self, x: OnnxValue) -> None:
        """Make the value the one that the model gives."""
        x = self.in_order(x)
        if not any(x.name in node.output for node in self.nodes):
            x = self.node("Identity", x)
        for names in (names for node in self.nodes for names in (node.input, node.output)):
            names[:] = [OUTPUT if name == x.name else name for name in names]
        self._outputs.append(self._described(OUTPUT, x.shape, x.dtype))

    def proto(self) -> Any:
        """As ONNX has it."""
        arrays = [
            self.onnx.helper.make_tensor(name, self._type(array.dtype), array.shape, array.tobytes(), raw=True)
            for name, array in self.arrays.items()
        ]
        return self.onnx.helper.make_graph(self.nodes, "network", self._inputs, self._outputs, arrays)

    def node(
        self,
        operator: str,
        *inputs: Any,
        shape: tuple[int, ...] | None = None,
        dtype: Any = None,
        order: Order | None = None,
        out_order: Order | None = None,
        **attributes: Any,
    ) -> OnnxValue:
        """Add a node and return its first output.

        Args:
            operator: Its type, such as "Conv".
            *inputs: Each is an `OnnxValue`; an array, which is stored in the model, a parameter of the layer under its
                own name; or None, for an optional input that is left out.
            shape: Of one example of the output; None: as the first value's.
            dtype: Of the output; None: as the first value's.
            order: The order of axes in which values with that many axes are wanted, which the output has, too; None:
                (batch, *shape).
            out_order: That of the output, if it is another.
            **attributes: The node's.
        """
        values = [self.in_order(x, order) if isinstance(x, OnnxValue) else x for x in inputs]
        first = next((x for x in values if isinstance(x, OnnxValue)), None)
        if first is not None:
            shape, dtype = first.shape if shape is None else shape, first.dtype if dtype is None else dtype
        if shape is None or dtype is None:
            raise TypeError(f"to_onnx: {operator} without a value among its inputs needs shape and dtype")
        names = ["" if x is None else x.name if isinstance(x, OnnxValue) else self.stored(x).name for x in values]
        while names and not names[-1]:
            names.pop()
        name = self._unused(f"{self._path}/{operator}".lstrip("/"))
        self.nodes.append(self.onnx.helper.make_node(operator, names, [name], name, **attributes))
        return OnnxValue(self, name, shape, np.dtype(dtype), self._order_of(shape, out_order or order))

    def elementwise(self, operator: str, x: OnnxValue, *inputs: Any, **attributes: Any) -> OnnxValue:
        """`node` for an operator that treats all entries alike: in the order of axes that x has."""
        return self.node(operator, x, *inputs, order=x.order, **attributes)

    def cast(self, x: OnnxValue, dtype: Any) -> OnnxValue:
        """The value in another dtype."""
        return self.elementwise("Cast", x, dtype=dtype, to=self._type(dtype))

    def in_order(self, x: OnnxValue, order: Order | None = None) -> OnnxValue:
        """The value with its axes in that order, transposed where it has another; once for all who want it."""
        order = self._order_of(x.shape, order)
        if order == x.order:
            return x
        if (x.name, order) not in self._ordered:
            name = self._unused(f"{x.name}_transposed")
            perm = [x.order.index(axis) for axis in order]
            self.nodes.append(self.onnx.helper.make_node("Transpose", [x.name], [name], name, perm=perm))
            self._ordered[x.name, order] = OnnxValue(self, name, x.shape, x.dtype, order)
        return self._ordered[x.name, order]

    def stored(self, array: Any, of: Any = None) -> Initializer:
        """An array in the graph, stored once however often it is used.

        Args:
            array: The array. A parameter of the layer has its own name, another array the name "constant".
            of: The parameter that it is another form of, such as a transpose, and whose name it has.
        """
        if isinstance(array, Initializer):
            return array
        own = self._parameters.get(id(array if of is None else of), "constant")
        held = np.asarray(array, order="C")
        key = own, held.dtype, held.shape, hashlib.sha256(held.tobytes()).digest()
        if key not in self._stored:
            self._stored[key] = Initializer(self._unused(own))
            self.arrays[self._stored[key].name] = held
        return self._stored[key]

    def layer(self, layer: Layer, params: Params, x: OnnxValue, name: str = "") -> OnnxValue:
        """The nodes of a layer, or of a layer inside the one whose nodes are being written.

        Args:
            layer: The layer.
            params: Its parameters.
            x: Its input.
            name: The end of its path, such as "/conv_0", or "[2]" for a repetition.
        """
        with self._at(name, params):
            handler = next((NODES[kind] for kind in type(layer).__mro__ if _describes(kind, layer)), None)
            if handler is not None:
                y = handler(self, layer, params, x)
            elif is_threaded(layer):
                y = layer.thread(self._member, params, x, None)
            else:
                y = self._function(layer, _call_of(layer, params, x))
            if not isinstance(y, OnnxValue):
                raise TypeError(f"to_onnx: the handler of {layer!r} must return an OnnxValue, not {y!r}")
            return y

    def _member(self, name: str, layer: Layer, params: Params, x: OnnxValue, _: None) -> OnnxValue:
        return self.layer(layer, params, x, f"/{name}")

    def _function(self, layer: Layer, call: Call | None) -> OnnxValue:
        """The nodes of a layer that is one call of a function."""
        named = f"to_onnx: {self._path or layer.kind}, {layer!r},"
        function: Any
        function, args, keywords = call or (None, (), {})
        while is_partial(function):
            args, keywords = (*function.args, *args), {**function.keywords, **keywords}
            function = function.func
        if function not in NODES:
            kind = type(layer).__name__ if function is None else function_name(function)
            raise TypeError(f"{named} has no ONNX node; write a handler for it: @fnnet.interop.onnx_node({kind})")
        try:
            inspect.signature(NODES[function]).bind(self, *args, **keywords)
        except TypeError as error:
            raise TypeError(f"{named} has no ONNX node for these arguments: {error}") from None
        return NODES[function](self, *args, **keywords)

    @contextmanager
    def _at(self, name: str, params: Params) -> Iterator[None]:
        before = self._path, self._parameters
        self._path = (self._path + name).lstrip("/")
        leaves = jax.tree.leaves_with_path(params)
        self._parameters = {
            id(leaf): f"{self._path}/{jax.tree_util.keystr(path, simple=True, separator='/')}".lstrip("/")
            for path, leaf in leaves
        }
        try:
            yield
        finally:
            self._path, self._parameters = before

    def _unused(self, name: str) -> str:
        """The name, with a number behind it where it is taken."""
        names = itertools.chain([name], (f"{name}~{number}" for number in itertools.count(1)))
        found = next(other for other in names if other not in self._taken)
        self._taken.add(found)
        return found

    def _described(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, self._type(dtype), [BATCH, *shape])

    def _type(self, dtype: Any) -> int:
        return getattr(self.onnx.TensorProto, TYPES[np.dtype(dtype).name])

    @staticmethod
    def _order_of(shape: tuple[int, ...], order: Order | None) -> Order:
        plain = tuple(range(len(shape) + 1))
        return order if order is not None and len(order) == len(plain) else plain


def _describes(kind: type, layer: Layer) -> bool:
    """Whether a class is one whose nodes are known, and computes what the layer does."""
    return kind in NODES and kind.apply is type(layer).apply  # type: ignore[attr-defined]


def _call_of(layer: Layer, params: Params, x: OnnxValue) -> Call | None:
    """`layer.call` with the value in the place of the example."""
    found: list[Call | None] = []

    def look(example: Any) -> Any:
        call = layer.call(params, example)
        if call is not None:
            args = tuple(x if arg is example else arg for arg in call.args)
            keywords = {name: x if value is example else value for name, value in call.keywords.items()}
            call = Call(call.function, args, keywords)
        found.append(call)
        return example

    jax.eval_shape(look, jax.ShapeDtypeStruct(x.shape, x.dtype))
    (call,) = found
    if call and any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((call.args, call.keywords))):
        return None  # it computes before it calls
    return call
