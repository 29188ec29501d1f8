"""An ONNX graph while it is built: its nodes, its parameters under fnnet's names, and what turns a layer into nodes.

A value in the graph is a mini-batch: the axis "batch" first, then the axes of one example. ONNX's convolutions and
pools want channels second, its recurrences the time first. So a value has an order of axes, and a node that treats all
entries alike keeps its input's order: the graph transposes only where a node wants another order than the one it gets.
"""

import hashlib
import inspect
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from fnnet.core.partials import is_partial
from fnnet.interop.onnx_handlers import call_with, handler_of, handler_of_function
from fnnet.layers.answers import Call
from fnnet.layers.containers import is_threaded
from fnnet.layers.protocol import Layer, Params, function_name

TYPES = {  # of NumPy's dtypes, ONNX's names
    **{"float32": "FLOAT", "float64": "DOUBLE", "float16": "FLOAT16", "bfloat16": "BFLOAT16"},
    **{"int32": "INT32", "int64": "INT64", "bool": "BOOL"},
}
INPUT, OUTPUT, BATCH = "input", "output", "batch"
Order = tuple[int, ...]


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

    def proto(self, most_bytes: int | None = None) -> Any:
        """As ONNX has it; with `most_bytes`, larger arrays are inputs instead, of their shapes and without numbers."""
        helper = self.onnx.helper
        large = {name for name, array in self.arrays.items() if most_bytes is not None and array.nbytes > most_bytes}
        described = [
            helper.make_tensor_value_info(name, self._type(self.arrays[name].dtype), self.arrays[name].shape)
            for name in sorted(large)
        ]
        arrays = [
            helper.make_tensor(name, self._type(array.dtype), array.shape, array.tobytes(), raw=True)
            for name, array in self.arrays.items()
            if name not in large
        ]
        return helper.make_graph(self.nodes, "network", [*self._inputs, *described], self._outputs, arrays)

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
            handler = handler_of(layer)
            if handler is not None:
                y = handler(self, layer, params, x)
            elif is_threaded(layer):
                y = layer.thread(self._member, params, x, None)
            else:
                y = self._function(layer, call_with(layer, params, x))
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
        handler = None if function is None else handler_of_function(function)
        if handler is None:
            kind = type(layer).__name__ if function is None else function_name(function)
            steps = f"write a handler for it: @fnnet.interop.onnx_node({kind})"
            if kind == "<lambda>":
                steps = "define it by def, and write a handler for that name: @fnnet.interop.onnx_node(NAME)"
            raise TypeError(f"{named} has no ONNX node; {steps}")
        try:
            inspect.signature(handler).bind(self, *args, **keywords)
        except TypeError as error:
            raise TypeError(f"{named} has no ONNX node for these arguments: {error}") from None
        return handler(self, *args, **keywords)

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
