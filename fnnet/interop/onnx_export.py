"""`to_onnx`: a network as an ONNX model, layer by layer. docs/serving.md."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import fnnet
from fnnet.core import atomic
from fnnet.interop import onnx_functions, onnx_layers, onnx_windows  # noqa: F401  they register their nodes
from fnnet.interop.onnx_graph import OnnxGraph, OnnxValue
from fnnet.layers.arguments import example_shape
from fnnet.layers.functions import as_layer
from fnnet.layers.precision import rounded
from fnnet.layers.protocol import Layer, abstract_example, check_layer

OPSET = 23  # the first with RMSNormalization, RotaryEmbedding and Attention
FLOATING = ("float32", "float64", "float16", "bfloat16")
FEW_BYTES = 2**10  # of an array that shapes may depend on: ONNX's checks copy the model, so it has no larger ones then
MOST_BYTES = 2**31 - 2**20  # of the parameters: a protocol buffer holds 2 GB, the nodes with them


def to_onnx(
    net: Any,
    params: Any,
    shape: Sequence[int],
    *,
    path: str | os.PathLike[str] | None = None,
    output: Callable | None = None,
    classes: Sequence[str] = (),
    dtype: Any = None,
) -> Any:
    """A network as an ONNX model for any number of examples, each layer by its own nodes.

    The model takes "input" (batch, *shape) and gives "output" (batch, ...), both with the axes as in fnnet: channels
    last. It is of opset 23, computes what `net.apply(params, x)` does without a key, and has passed ONNX's checker.
    Its initializers have the names of the parameters, "conv_0/kernel", "repeat_1[3]/dense_0/bias".

    Args:
        net: A layer, such as a `Sequential`. A compute_dtype is left out: `dtype` says in which the model computes.
        params: Its parameters.
        shape: Of one example.
        path: A file to write the model to as well, such as "network.onnx"; it must not exist.
        output: A function of the output of one example that has a node, such as `fnnet.softmax`.
        classes: Names of the outputs, kept in the model's metadata, under "classes", as JSON.
        dtype: Of parameters and examples: float32, float64, float16 or bfloat16; None: that of the parameters. Indices,
            where an `Embedding` comes first, are int32.

    Returns:
        The model, an `onnx.ModelProto`.

    Raises:
        ImportError: The package onnx is missing: pip install "fnnet[onnx]".
        FileExistsError: There is something at `path` already.
        TypeError: A layer or a function has no node: `onnx_node` gives it one. Or the dtype is another one, or ONNX
            has no such operator for it.
        ValueError: The parameters do not fit the network, or the model would be larger than 2 GB.
    """
    onnx = _package()
    if path is not None and Path(path).exists():
        raise FileExistsError(f"to_onnx: {path} exists already")
    check_layer("to_onnx", "net", net)
    net = as_layer(net).without_policy()
    params, dtype = _in_dtype(net, params, dtype)
    example = abstract_example(net, example_shape("to_onnx", shape), dtype)
    expected = jax.eval_shape(net.apply, params, example)  # says what is wrong with parameters and shape
    graph = OnnxGraph(onnx)
    x = graph.input(example.shape, example.dtype)
    y = graph.layer(net, params, x)
    _must_give(net, y, expected)
    if output is not None:
        layer = as_layer(output)
        expected = jax.eval_shape(layer.apply, {}, expected)
        y = graph.layer(layer, {}, y, f"/{layer.kind}")
        _must_give(layer, y, expected)
    graph.output(y)
    model = _model(onnx, graph, net, classes)
    if path is not None:
        atomic.write_file(Path(path), model.SerializeToString(), replace=False)
    return model


def _package() -> Any:
    try:
        import onnx
    except ImportError:
        raise ImportError('to_onnx: onnx must be installed: pip install "fnnet[onnx]"') from None
    return onnx


def _in_dtype(net: Layer, params: Any, dtype: Any) -> tuple[Any, Any]:
    """The parameters in that dtype, or in their own, which is returned as well; statistics stay as they are."""
    if not isinstance(params, Mapping):
        raise TypeError(f"to_onnx: params must be a dictionary of parameters, not {type(params).__name__}")
    params = jax.tree.map(jnp.asarray, dict(params))
    statistics = net.statistics(params)
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(statistics), strict=True)
    own = [leaf.dtype for leaf, is_statistic in pairs if not is_statistic]
    given = jnp.result_type(*own or [jnp.float32]) if dtype is None else dtype
    try:
        dtype = jnp.dtype(given)
    except TypeError:
        dtype = None
    if dtype is None or dtype.name not in FLOATING:
        raise TypeError(f"to_onnx: dtype (={given!r}) must be {', '.join(FLOATING[:-1])} or {FLOATING[-1]}") from None
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError(f"to_onnx: dtype (={dtype.name}) needs jax.config.update('jax_enable_x64', True)")
    return jax.tree.map(lambda leaf, kept: leaf if kept else rounded(leaf, dtype), params, statistics), dtype


def _must_give(layer: Layer, y: OnnxValue, expected: Any) -> None:
    if (y.shape, y.dtype) != (expected.shape, expected.dtype):
        raise ValueError(
            f"to_onnx: the nodes of {layer!r} give {y.dtype} of shape {y.shape}; it gives {expected.dtype} of shape "
            f"{expected.shape}"
        )


def _model(onnx: Any, graph: OnnxGraph, net: Layer, classes: Sequence[str]) -> Any:
    size = sum(array.nbytes for array in graph.arrays.values())
    if size > MOST_BYTES:
        raise ValueError(f"to_onnx: params have {size / 1e9:.1f} GB; an ONNX file holds at most 2 GB")
    without_weights = _made(onnx, graph.proto(FEW_BYTES), net, classes)
    try:
        inferred = onnx.shape_inference.infer_shapes(without_weights, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred, full_check=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise TypeError(f"to_onnx: ONNX refuses a node: {' '.join(str(error).split())[:300]}") from None
    model = _made(onnx, graph.proto(), net, classes)
    model.graph.value_info.extend(inferred.graph.value_info)
    return model


def _made(onnx: Any, graph: Any, net: Layer, classes: Sequence[str]) -> Any:
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=onnx.helper.find_min_ir_version_for(opsets),
        producer_name="fnnet",
        producer_version=fnnet.__version__,
        doc_string=repr(net),
    )
    if classes:
        onnx.helper.set_model_props(model, {"classes": json.dumps([str(name) for name in classes])})
    return model
