"""Networks as ONNX models: onnxruntime computes what fnnet does, layer by layer and for the command line's networks."""

import functools
import inspect
import itertools
import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scaled_tanh import ScaledTanh, scaled_tanh
from test_documents import blocks

import fnnet
from fnnet import layers, proofs
from fnnet.cli import presets, runs
from fnnet.cli.command import main
from fnnet.core.partials import innermost
from fnnet.interop import onnx_node, to_onnx
from fnnet.interop.onnx_handlers import NODES
from fnnet.layers.functions import as_layer

onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
evaluators = pytest.importorskip("onnx.reference", reason="ONNX is not installed")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

IMAGE, SEQUENCE = (7, 6, 4), (5, 6)
TOLERANCE = {"float32": 1e-5, "float64": 1e-10, "float16": 1e-2}
block = fnnet.Residual(fnnet.LayerNorm(), fnnet.Dense(8), fnnet.gelu, fnnet.Dense(6))


def numbered(net, shape, dtype="float32"):
    """Parameters of which no bias is 0 and no scale or variance 1, and a mini-batch of five."""
    rng = np.random.default_rng(3)

    def moved(path, leaf):
        name = path[-1].key
        drawn = name.endswith("kernel") or name == "embedding"
        return leaf if drawn else leaf + np.abs(rng.normal(0, 0.3, leaf.shape)).astype(leaf.dtype)

    params = jax.tree.map_with_path(moved, net.init(jax.random.key(0), shape, dtype))
    if as_layer(net).example_dtype is not None:
        return params, rng.integers(0, 7, (5, *shape)).astype(np.int32)
    return params, rng.normal(size=(5, *shape)).astype(dtype)


def run_model(model, xs):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"input": xs})


def compared(net, shape, *, params=None, xs=None, **options):
    """The model, whose outputs for one example and for several have been compared."""
    if params is None:
        params, drawn = numbered(net, shape)
        xs = drawn if xs is None else xs
    model = to_onnx(net, params, shape, **options)
    ys = jax.jit(jax.vmap(net.apply, (None, 0)))(params, xs)
    dims = [dim.dim_param or dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    assert dims == ["batch", *ys.shape[1:]]
    for batch in (1, len(xs)):
        (found,) = run_model(model, xs[:batch])
        np.testing.assert_allclose(found, ys[:batch], TOLERANCE["float32"], TOLERANCE["float32"])
    return model


def operators(model):
    return [node.op_type for node in model.graph.node]


LAYERS: dict[str, list[Any]] = {
    "Dense": [(fnnet.Dense(3), (4,)), (fnnet.Dense(3, bias=False), (4,)), (fnnet.Dense(3), IMAGE)],
    "Conv": [
        (fnnet.Conv(6, 3), IMAGE),
        (fnnet.Conv(6, (3, 2), stride=(2, 3), dilation=(1, 2), groups=2, padding=((2, 0), (1, 3)), bias=False), IMAGE),
        (fnnet.Conv(3, (4,), stride=2, padding="SAME_LOWER"), SEQUENCE),
        (fnnet.Conv(3, (2, 2, 2), padding="VALID"), (4, 3, 5, 2)),
    ],
    "ConvTranspose": [
        (fnnet.ConvTranspose(6, 3, stride=2), IMAGE),
        (fnnet.ConvTranspose(6, (3, 2), stride=2, padding=1, output_padding=1, groups=2, bias=False), IMAGE),
        (fnnet.ConvTranspose(3, (3,), dilation=2, padding=((1, 2),)), SEQUENCE),
    ],
    "MaxPool": [
        (fnnet.MaxPool(2), IMAGE),
        (fnnet.MaxPool(3, stride=2, padding=1, ceil_mode=True), IMAGE),
        (fnnet.MaxPool((2, 3), dilation=2, stride=1, padding="SAME"), IMAGE),
        (fnnet.MaxPool((2,)), SEQUENCE),
    ],
    "AvgPool": [
        (fnnet.AvgPool(2), IMAGE),
        (fnnet.AvgPool(3, stride=2, padding=1, ceil_mode=True), IMAGE),
        (fnnet.AvgPool(3, stride=2, padding=1, ceil_mode=True, count_padding=True), IMAGE),
        (fnnet.AvgPool(3, stride=2, padding="SAME", divisor=4), IMAGE),
        (fnnet.AvgPool((2,), count_padding=True), SEQUENCE),
    ],
    "GlobalAvgPool": [(fnnet.GlobalAvgPool(), IMAGE), (fnnet.GlobalAvgPool(), SEQUENCE)],
    "GlobalMaxPool": [(fnnet.GlobalMaxPool(), IMAGE), (fnnet.GlobalMaxPool(), (2, 3, 4, 5))],
    "LayerNorm": [
        (fnnet.LayerNorm(), IMAGE),
        (fnnet.LayerNorm(axes=(0, 2), epsilon=0.1), IMAGE),
        (fnnet.LayerNorm(scale=False, bias=False), (4,)),
        (fnnet.LayerNorm(scale=False), (4,)),
    ],
    "RMSNorm": [(fnnet.RMSNorm(), SEQUENCE), (fnnet.RMSNorm(axes=0, scale=False), SEQUENCE)],
    "GroupNorm": [(fnnet.GroupNorm(2), IMAGE), (fnnet.GroupNorm(2, scale=False, epsilon=0.1), (4,))],
    "BatchNorm": [(fnnet.BatchNorm(), IMAGE), (fnnet.BatchNorm(scale=False, bias=False, epsilon=0.1), (4,))],
    "Embedding": [(fnnet.Embedding(7, 3), (5,)), (fnnet.Embedding(7, 3), ())],
    "Attention": [
        (fnnet.Attention(2), SEQUENCE),
        (fnnet.Attention(3, causal=True, bias=False), SEQUENCE),
        (fnnet.Attention(4, key_heads=2, causal=True, rotary=True), (9, 16)),
    ],
    "LSTM": [
        (fnnet.LSTM(4), SEQUENCE),
        (fnnet.LSTM(4, bias=False, reverse=True), SEQUENCE),
        (fnnet.LSTM(4, recurrent_bias=True), SEQUENCE),
    ],
    "GRU": [
        (fnnet.GRU(4), SEQUENCE),
        (fnnet.GRU(4, recurrent_bias="n", reverse=True), SEQUENCE),
        (fnnet.GRU(4, recurrent_bias=False), SEQUENCE),
        (fnnet.GRU(4, bias=False), SEQUENCE),
    ],
    "Flatten": [(fnnet.Flatten(), IMAGE), (fnnet.Flatten(), (4,)), (fnnet.Flatten(), ())],
    "Dropout": [(fnnet.Dropout(0.5), IMAGE)],
    "Sequential": [
        (fnnet.Sequential(), IMAGE),
        (fnnet.Sequential(fnnet.Conv(4, 3), fnnet.relu, fnnet.Flatten(), fnnet.Dense(3)), IMAGE),
        (fnnet.Sequential(fnnet.LSTM(4), fnnet.tanh, fnnet.GRU(3)), SEQUENCE),
        (fnnet.Sequential(fnnet.Dense(8), fnnet.relu, fnnet.Dense(3)), IMAGE),
    ],
    "Residual": [
        (fnnet.Residual(fnnet.Conv(4, 3), fnnet.relu), IMAGE),
        (fnnet.Residual(fnnet.Conv(6, 3, stride=2), shortcut=fnnet.Conv(6, 1, stride=2)), IMAGE),
        (fnnet.Residual(fnnet.Conv(4, 3), shortcut=fnnet.Dense(4)), IMAGE),
    ],
    "Repeat": [
        (fnnet.Repeat(block, 3), SEQUENCE),
        (fnnet.Repeat(fnnet.Sequential(fnnet.Repeat(block, 2)), 2), SEQUENCE),
    ],
    "Recomputed": [(fnnet.Recomputed(fnnet.Residual(block)), SEQUENCE)],
    "Tied": [(fnnet.Tied(fnnet.Embedding(7, 6), block), (5,))],
    "Padded": [
        (fnnet.Padded(fnnet.Sequential(fnnet.Embedding(7, 6), fnnet.Repeat(part, 2))), (8,))
        for part in (fnnet.Recomputed(fnnet.Residual(fnnet.Attention(2))), fnnet.LSTM(6), fnnet.GRU(6, reverse=True))
    ]
    + [
        (fnnet.Padded(fnnet.Sequential(fnnet.Embedding(7, 6), pool), index=2), (8,))
        for pool in (fnnet.GlobalAvgPool(), fnnet.GlobalMaxPool())
    ],
}


def test_every_layer_has_a_case():
    public = {
        name for name in dir(fnnet) if inspect.isclass(kind := getattr(fnnet, name)) and issubclass(kind, layers.Layer)
    }
    assert set(LAYERS) == public


@pytest.mark.parametrize(
    ("net", "shape"), [pytest.param(*case, id=f"{case[0]!r} {case[1]}") for cases in LAYERS.values() for case in cases]
)
def test_a_layer(net, shape):
    xs = None
    if isinstance(net, fnnet.Padded):  # lengths of 8 and less, padding in between
        xs = np.random.default_rng(0).integers(0, 7, (5, *shape)).astype(np.int32)
        for number, length in enumerate((8, 1, 5, 3, 7)):
            xs[number, length:], xs[number, length - 1] = net.index, 4
    compared(net, shape, xs=xs)


@pytest.mark.parametrize("pool", [fnnet.GlobalAvgPool(), fnnet.GlobalMaxPool()])
def test_padding_alone(pool):
    net = fnnet.Padded(fnnet.Sequential(fnnet.Embedding(7, 6), fnnet.Attention(2), fnnet.LSTM(6), pool))
    xs = np.asarray([[0, 0, 0, 0], [3, 0, 4, 0], [1, 0, 0, 0]], np.int32)
    compared(net, (4,), xs=xs)


ACTIVATIONS = [
    *(fnnet.relu, fnnet.leaky_relu, fnnet.sigmoid, fnnet.tanh, fnnet.softplus, fnnet.silu, fnnet.gelu, fnnet.elu),
    *(fnnet.softmax, fnnet.log_softmax),
]
FUNCTIONS = {
    "fnnet": [*ACTIVATIONS, fnnet.layer_norm],
    "jax.nn": [
        *(jax.nn.relu, jax.nn.leaky_relu, jax.nn.sigmoid, jax.nn.softplus, jax.nn.silu, jax.nn.gelu, jax.nn.elu),
        *(jax.nn.softmax, jax.nn.log_softmax, jax.nn.selu, jax.nn.hard_silu, jax.nn.hard_sigmoid, jax.nn.relu6),
        *(jax.nn.hard_tanh, jax.nn.mish, jax.nn.log_sigmoid, jax.nn.soft_sign),
    ],
    "jax.numpy": [jnp.tanh, jnp.square, jnp.exp, jnp.abs, jnp.negative, jnp.sin, jnp.cos, jnp.ravel, jnp.sqrt, jnp.log],
    "partial": [
        functools.partial(fnnet.leaky_relu, slope=0.3),
        functools.partial(jax.nn.leaky_relu, negative_slope=0.2),
        functools.partial(fnnet.elu, alpha=0.5),
        functools.partial(fnnet.gelu, approximate=False),
        *(functools.partial(fnnet.softmax, axis=axis) for axis in (0, -2, (0, 1), (0, 1, 2))),
        *(functools.partial(fnnet.log_softmax, axis=axis) for axis in (1, (0, 2))),
        functools.partial(fnnet.max_pool, window=(2, 3)),
        functools.partial(fnnet.avg_pool, window=2, stride=1),
        functools.partial(fnnet.group_norm, groups=2),
        functools.partial(fnnet.rms_norm, axes=(1, 0)),
    ],
}
OF_PARAMETERS = {fnnet.dense, fnnet.conv, fnnet.conv_transpose, fnnet.embedding}


@pytest.mark.parametrize("library", FUNCTIONS)
def test_functions(library):
    """After a convolution, whose output has its channels second."""
    for function in FUNCTIONS[library]:
        positive = [jnp.exp] if function in (jnp.log, jnp.sqrt) else []
        compared(fnnet.Sequential(fnnet.Conv(4, 2), *positive, function), (4, 5, 4))


def test_every_function_is_among_them():
    pages = ("activations", "softmax")
    assert {proof.function for proof in proofs.own().values() if proof.page in pages} == set(ACTIVATIONS)
    tested = {innermost(function) for functions in FUNCTIONS.values() for function in functions}
    assert {kind for kind in NODES if not isinstance(kind, type)} == tested | OF_PARAMETERS


def test_an_error_would_be_seen(monkeypatch):
    monkeypatch.setitem(NODES, fnnet.relu, lambda graph, x: graph.elementwise("LeakyRelu", x, alpha=1e-3))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compared(fnnet.Sequential(fnnet.relu), IMAGE)


PRESETS = [
    (name, shape)
    for name in presets.NETS
    for shape in ([(24,)] if name in presets.TEXT_NETS else [(8, 8, 1), (28, 28, 3)])
]


@pytest.mark.parametrize(("name", "shape"), PRESETS)
def test_the_networks_of_the_command_line(name, shape):
    net = presets.NETS[name](10, shape)
    model = compared(net, shape)
    images_transposed = {"cnn": 2, "lenet": 2, "resnet": 1, "mlp": 0}
    if name in images_transposed:
        assert operators(model).count("Transpose") == images_transposed[name]


def with_kernel(layer):
    """Makes a layer of the arrays and static values of a drawn case."""
    return lambda params, **static: layer(
        params["kernel"].shape[-1], params["kernel"].shape[:-2], bias="bias" in params, **static
    )


DRAWN = {
    "conv": with_kernel(fnnet.Conv),
    "conv_transpose": with_kernel(fnnet.ConvTranspose),
    "max_pool": lambda params, window, **static: fnnet.MaxPool(both(window), **static),
    "avg_pool": lambda params, window, **static: fnnet.AvgPool(both(window), **static),
}


def both(window):
    """A pooling's window, where an integer means two axes."""
    return (window, window) if isinstance(window, int) else window


def drawn(name):
    """The first 12 drawn configurations that have an example."""
    cases = map(proofs.own()[name].case, itertools.count())
    return list(itertools.islice((case for case in cases if next(iter(case.arrays.values())).size), 12))


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("place", range(12))
def test_drawn_windows(name, place):
    case = drawn(name)[place]
    x, *params = case.in_dtype("float32").values()
    params = dict(zip(("kernel", "bias"), params, strict=False))
    net = DRAWN[name](params, **dict(case.static))
    xs = x.reshape(-1, *x.shape[-len(net.window) - 1 :])
    compared(net, xs.shape[1:], params=params, xs=xs)


def test_parameters_keep_their_names():
    net = fnnet.Sequential(fnnet.Conv(4, 3), fnnet.BatchNorm(), fnnet.Residual(fnnet.Dense(4)))
    model = compared(net, IMAGE)
    stored = {array.name: tuple(array.dims) for array in model.graph.initializer}
    assert stored == {
        "conv_0/kernel": (4, 4, 3, 3),
        "conv_0/bias": (4,),
        **{f"batch_norm_1/{name}": (4,) for name in ("scale", "bias", "mean", "variance")},
        "residual_2/dense_0/kernel": (4, 4),
        "residual_2/dense_0/bias": (4,),
    }
    model = compared(fnnet.Sequential(fnnet.Repeat(fnnet.Residual(fnnet.LSTM(6)), 2)), SEQUENCE)
    names = [f"repeat_0[{n}]/lstm_0/{name}" for n in (0, 1) for name in ("input_kernel", "recurrent_kernel", "bias")]
    assert {array.name for array in model.graph.initializer} == {*names, "constant"}


def test_a_tied_table_is_stored_once():
    model = compared(fnnet.Tied(fnnet.Embedding(7, 6)), (5,))
    assert [(array.name, list(array.dims)) for array in model.graph.initializer] == [("embedding_0/embedding", [7, 6])]


def test_what_a_model_says_of_itself():
    net = fnnet.Sequential(fnnet.Dense(2))
    params, xs = numbered(net, (3,))
    model = to_onnx(net, params, (3,), output=fnnet.softmax, classes=("cat", "dog"))
    assert (model.producer_name, model.producer_version, model.doc_string) == ("fnnet", fnnet.__version__, repr(net))
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 23)]
    assert {entry.key: json.loads(entry.value) for entry in model.metadata_props} == {"classes": ["cat", "dog"]}
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["input", "output"]
    np.testing.assert_allclose(run_model(model, xs)[0].sum(-1), 1, 1e-6)


def test_the_checks_need_no_weights(monkeypatch):
    net, sizes, check = fnnet.Sequential(fnnet.Dense(64)), [], onnx.checker.check_model

    def measured(model, **settings):
        sizes.append(model.ByteSize())
        check(model, **settings)

    monkeypatch.setattr(onnx.checker, "check_model", measured)
    params, _ = numbered(net, (64,))
    model = to_onnx(net, params, (64,))
    check(model, full_check=True)
    assert sizes[0] < 64 * 64 * 4 < model.ByteSize()


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_dtypes(dtype, x64):
    """By ONNX's own evaluator: onnxruntime has few of these on a CPU."""
    net = fnnet.Sequential(
        *(fnnet.Conv(4, 3), fnnet.BatchNorm(), fnnet.tanh, fnnet.MaxPool(2), fnnet.Flatten(), fnnet.LayerNorm()),
        *(fnnet.Dense(3), fnnet.softmax),
    )
    params, xs = numbered(net, IMAGE, "float64" if dtype == "float64" else "float32")
    model = to_onnx(net, params, IMAGE, dtype=dtype)
    types = {array.name: array.data_type for array in model.graph.initializer}
    wanted = {"float64": "DOUBLE", "float16": "FLOAT16", "bfloat16": "BFLOAT16"}[dtype]
    statistics = {types.pop(f"batch_norm_1/{name}") for name in ("mean", "variance")}  # these are not rounded
    assert statistics == {getattr(onnx.TensorProto, "DOUBLE" if dtype == "float64" else "FLOAT")}
    assert set(types.values()) == {getattr(onnx.TensorProto, wanted)}
    if dtype == "bfloat16":  # which the evaluator's convolution does not take
        return
    (found,) = evaluators.ReferenceEvaluator(model).run(None, {"input": xs.astype(dtype)})
    own = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    ys = jax.vmap(net.apply, (None, 0))(own, xs.astype(dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, ys, TOLERANCE[dtype], TOLERANCE[dtype])


def test_a_compute_dtype_is_left_out():
    net = fnnet.Sequential(fnnet.Dense(8), fnnet.relu, fnnet.Dense(2))
    params, xs = numbered(net, (3,))
    model = to_onnx(fnnet.Sequential(*net.layers, compute_dtype="bfloat16"), params, (3,))
    np.testing.assert_allclose(run_model(model, xs)[0], jax.vmap(net.apply, (None, 0))(params, xs), 1e-5, 1e-5)


def test_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fnnet.interop.onnx_handlers.NODES", dict(NODES))
    names = {}
    for block in blocks(Path(__file__).parents[2] / "docs" / "serving.md", "python onnx"):
        exec(compile(block, "serving.md", "exec"), names)


def test_the_command_line(tmp_path, capsys):
    run = tmp_path / "run"
    with jax.numpy_dtype_promotion("standard"):
        assert main(["train", "--net", "mlp", "--epochs", "1", "--output", str(run)]) == 0
    assert main(["export", str(run), "--format", "onnx"]) == 0
    assert re.search(r"^exported: .*network\.onnx, 0\.2 MB$", capsys.readouterr().out, re.MULTILINE)
    trained = runs.load(run)
    xs = np.random.default_rng(0).uniform(size=(5, 8, 8, 1)).astype(np.float32)
    model = onnx.load(run / "network.onnx")
    np.testing.assert_allclose(run_model(model, xs)[0], trained(xs), 1e-5, 1e-5)
    assert json.loads(model.metadata_props[0].value) == [str(digit) for digit in range(10)]
    assert main(["export", str(run), "--format", "onnx"]) == 2
    assert "network.onnx exists already" in capsys.readouterr().err


def test_a_file(tmp_path):
    net, file = fnnet.Sequential(fnnet.Dense(2)), tmp_path / "network.onnx"
    params, _ = numbered(net, (3,))
    model = to_onnx(net, params, (3,), path=file)
    assert onnx.load(file) == model
    with pytest.raises(FileExistsError, match=r"^to_onnx: .*network\.onnx exists already$"):
        to_onnx(net, params, (3,), path=file)


class Doubled(layers.Layer):
    """A layer of a user's, without a node."""

    def apply(self, params, x, *, key=None):
        return x + x

    def __repr__(self):
        return "Doubled()"


class Halved(fnnet.Dropout):
    """A subclass that computes something else than its parent."""

    def apply(self, params, x, *, key=None):
        return x / 2


def clipped(x, most=1.0):
    return jnp.clip(x, -most, most)


def test_nodes_of_ones_own(monkeypatch):
    for kind in (Doubled, clipped, scaled_tanh):  # forgotten after the test
        monkeypatch.setitem(NODES, kind, None)

    @onnx_node(Doubled)
    def doubled_node(graph, layer, params, x):
        return x + x

    @onnx_node(clipped)
    def clipped_node(graph, x, most=1.0):
        return graph.elementwise("Clip", x, np.asarray(-most, x.dtype), np.asarray(most, x.dtype))

    net = fnnet.Sequential(fnnet.Conv(4, 3), Doubled(), clipped, functools.partial(clipped, most=0.5))
    assert operators(compared(net, IMAGE)) == ["Transpose", "Conv", "Add", "Clip", "Clip", "Transpose"]

    @onnx_node(scaled_tanh)
    def scaled_tanh_nodes(graph, x, scale):
        return graph.node("Mul", graph.elementwise("Tanh", x), scale)

    model = compared(fnnet.Sequential(fnnet.Dense(4), ScaledTanh()), (3,))
    assert operators(model) == ["Gemm", "Tanh", "Mul"]
    assert "scaled_tanh_1/scale" in {array.name for array in model.graph.initializer}

    @onnx_node(clipped)
    def forgetful_node(graph, x):
        graph.elementwise("Clip", x)

    with pytest.raises(TypeError, match=r"to_onnx: the handler of clipped must return an OnnxValue, not None$"):
        to_onnx(fnnet.Sequential(clipped), {}, IMAGE)

    @onnx_node(Doubled)
    def wrong_node(graph, layer, params, x):
        return graph.node("Flatten", x, shape=(168,), axis=1)

    with pytest.raises(
        ValueError, match=r"^to_onnx: the nodes of Sequential\(Doubled\(\)\) give float32 of shape \(168"
    ):
        to_onnx(fnnet.Sequential(Doubled()), {}, IMAGE)


def double(x):
    return 2 * x


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            fnnet.Sequential(fnnet.relu, double),
            r"layer 1, double: to_onnx: double_1, double, has no ONNX node; "
            r"write a handler for it: @fnnet\.interop\.onnx_node\(double\)$",
        ),
        (
            fnnet.Sequential(Doubled()),
            r"layer 0, Doubled\(\): to_onnx: doubled_0, Doubled\(\), has no ONNX node; .*onnx_node\(Doubled\)$",
        ),
        (fnnet.Sequential(Halved(0.5)), r".*halved_0, Halved\(0\.5\), has no ONNX node; .*onnx_node\(Halved\)$"),
        (
            fnnet.Sequential(lambda x: x),
            r".*<lambda>, has no ONNX node; define it by def, and write a handler for that name: "
            r"@fnnet\.interop\.onnx_node\(NAME\)$",
        ),
        (
            fnnet.Sequential(ScaledTanh()),
            r".*scaled_tanh_0, ScaledTanh\(\), has no ONNX node; .*onnx_node\(scaled_tanh\)$",
        ),
        (
            fnnet.Sequential(functools.partial(jax.nn.softmax, where=True)),
            r".*has no ONNX node for these arguments: got an unexpected keyword argument 'where'",
        ),
    ],
)
def test_what_has_no_node(net, message):
    with pytest.raises(TypeError, match=rf"^{message}"):
        to_onnx(net, net.init(jax.random.key(0), (3,)), (3,))


def test_wrong_arguments(monkeypatch):
    net = fnnet.Sequential(fnnet.Dense(2))
    params, _ = numbered(net, (3,))
    with pytest.raises(TypeError, match=r"^to_onnx: net \(=Dense\) is a class; write Dense\(\.\.\.\)$"):
        to_onnx(fnnet.Dense, params, (3,))
    with pytest.raises(TypeError, match=r"^to_onnx: params must be a dictionary of parameters, not list$"):
        to_onnx(net, [params], (3,))
    with pytest.raises(TypeError, match=r"^to_onnx: shape \(=3\) must be one example's shape, such as"):
        to_onnx(net, params, 3)
    with pytest.raises(ValueError, match=r'^Sequential: params lacks "dense_0"'):
        to_onnx(net, {}, (3,))
    for dtype in ("int8", "single precision"):
        message = rf"^to_onnx: dtype \(='{dtype}'\) must be float32, float64, float16 or bfloat16$"
        with pytest.raises(TypeError, match=message):
            to_onnx(net, params, (3,), dtype=dtype)
    with pytest.raises(ValueError, match=r"^to_onnx: dtype \(=float64\) needs jax\.config\.update"):
        to_onnx(net, params, (3,), dtype="float64")
    monkeypatch.setattr("fnnet.interop.onnx_export.MOST_BYTES", 31)
    with pytest.raises(ValueError, match=r"^to_onnx: params have 0\.0 GB; an ONNX file holds at most 2 GB$"):
        to_onnx(net, params, (3,))


def test_a_dtype_that_onnx_has_not(x64):
    net = fnnet.Attention(2, rotary=True)
    params, _ = numbered(net, (3, 4))
    with pytest.raises(TypeError, match=r"^to_onnx: ONNX refuses a node: .*RotaryEmbedding"):
        to_onnx(net, params, (3, 4), dtype="float64")
