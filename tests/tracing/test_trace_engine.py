"""The numbers that a page computes itself, in a real browser: those of fnnet and of JAX."""

import functools
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
import fnnet.tracing.page
from fnnet.layers.functions import as_layer
from fnnet.tracing.page import engine, sampling
from fnnet.tracing.page.engine import Engines
from fnnet.tracing.page.webpage import SCRIPTS, webpage
from tracing.browser import CHROMIUM, Browser

PAGE = pathlib.Path(fnnet.tracing.page.__file__).parent
DATA = r'<script type="application/json" id="data">(.*?)</script>'
CLOSE = {"float32": 1e-5, "float64": 1e-10}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser
        assert browser.errors == []


@pytest.fixture
def opened(browser, tmp_path):
    """opened(trace): its data in the browser, with the scripts that compute, and nothing drawn. Gives the data."""

    def opening(trace):
        data = re.search(DATA, webpage(trace, ""), re.DOTALL)[0]
        show(browser, tmp_path / "page.html", data)
        return embedded(data)

    return opening


def show(browser, file, data):
    """A page of the scripts that compute, and nothing drawn."""
    names = "arrays.js", *(name for name in SCRIPTS if name.startswith("engine"))
    scripts = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in names)
    file.write_text(
        f'<!doctype html><meta charset="utf-8"><body>{data}<script>"use strict";\n{scripts}\n'
        'document.body.dataset.ready = "true";</script>',
        encoding="utf-8",
    )
    browser.open(file)


def embedded(text):
    return json.loads(re.search(DATA, text, re.DOTALL)[1])


def run(browser, code):
    """The value of a function's body, its arrays as lists."""
    plain = "(key, value) => ArrayBuffer.isView(value) ? Array.from(value) : value"
    return json.loads(browser.run(f"JSON.stringify((() => {{ {code} }})(), {plain})"))


def close(found, expected, name):
    """Equal up to the dtype's share of the array's rms and of each entry."""
    wide = np.asarray(expected, np.float64).ravel()
    allowed = CLOSE[np.asarray(expected).dtype.name] * (np.sqrt(np.mean(wide**2)) + np.abs(wide))
    apart = np.abs(np.asarray(found, np.float64) - wide)
    assert (apart <= allowed + 1e-30).all(), (name, apart.max(), np.sqrt(np.mean(wide**2)))


def traced(net, loss, shape, labels, *, examples, seed=0, dtype=jnp.float32):
    """A trace of a network with random biases too, so that none of them is 0."""
    x = jax.random.normal(jax.random.key(seed + 1), shape if examples is None else (examples, *shape), dtype)
    params = net.init(jax.random.key(seed), shape, dtype)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 2), len(leaves) + 1)
    moved = [leaf + 0.1 * jax.random.normal(k, leaf.shape, dtype) for leaf, k in zip(leaves, keys[1:], strict=True)]
    params = jax.tree.unflatten(tree, moved)
    return fnnet.trace(net, loss, params, x, labels(keys[0], examples, dtype))


def classes(count):
    return lambda key, examples, dtype: jax.random.randint(key, () if examples is None else (examples,), 0, count)


def targets(count):
    return lambda key, examples, dtype: jax.random.normal(
        key, (count,) if examples is None else (examples, count), dtype
    )


def shares(count):
    return lambda key, examples, dtype: jax.nn.softmax(targets(count)(key, examples, dtype))


smoothed = functools.partial(fnnet.softmax_cross_entropy, label_smoothing=0.1)
weighed = functools.partial(fnnet.softmax_cross_entropy, class_weights=jnp.array([1.0, 2.0, 0.5]), ignore_index=1)

# name: network, loss, shape of an example, labels, examples
LIVE = {
    "image": lambda: (
        fnnet.Sequential(
            fnnet.Conv(4, 3, stride=(2, 1), padding=((1, 0), (2, 1))),
            fnnet.gelu,
            fnnet.Conv(6, (2, 3), dilation=(1, 2), groups=2),
            fnnet.elu,
            fnnet.MaxPool(2, stride=1, padding="SAME"),
            fnnet.Residual(
                fnnet.Conv(6, 1), fnnet.tanh, fnnet.Sequential(fnnet.silu, fnnet.Conv(6, 3)), shortcut=fnnet.Conv(6, 1)
            ),
            fnnet.Residual(fnnet.Residual(fnnet.softplus), fnnet.sigmoid),
            fnnet.AvgPool((2, 3), stride=2, padding=1, ceil_mode=True),
            fnnet.Flatten(),
            fnnet.Dropout(0.5),
            fnnet.Dense(3),
        ),
        weighed,
        (7, 6, 2),
        lambda key, examples, dtype: jnp.arange(examples),
        3,
    ),
    "sequence, one example": lambda: (
        fnnet.Sequential(
            fnnet.Conv(4, (3,), padding="SAME_LOWER", groups=2),
            functools.partial(fnnet.leaky_relu, slope=0.2),
            fnnet.MaxPool((3,), stride=2, padding=1, dilation=1),
            functools.partial(fnnet.gelu, approximate=False),
            fnnet.Dense(5, bias=False),
            functools.partial(fnnet.softmax, axis=0),
            fnnet.GlobalMaxPool(),
            fnnet.Dense(3),
            fnnet.log_softmax,
        ),
        fnnet.squared_error,
        (9, 2),
        targets(3),
        None,
    ),
    "volume": lambda: (
        fnnet.Sequential(
            fnnet.Conv(3, (2, 2, 2), stride=(1, 2, 1), padding="VALID", bias=False),
            fnnet.relu,
            fnnet.AvgPool((2, 1, 2), padding="SAME", count_padding=True, divisor=3),
            fnnet.GlobalMaxPool(),
            fnnet.Dense(4),
        ),
        fnnet.sigmoid_binary_cross_entropy,
        (4, 5, 4, 2),
        lambda key, examples, dtype: jax.random.bernoulli(key, 0.5, (examples, 4)).astype(dtype),
        2,
    ),
    "other losses": lambda: (fnnet.Sequential(fnnet.Dense(3), jax.nn.silu), smoothed, (4,), shares(3), 2),
    "an affine loss": lambda: (
        fnnet.Sequential(fnnet.Dense(3), lambda x: x[::-1] * 2 + 1, fnnet.softmax),
        lambda outputs, labels: outputs[..., 0] - 2,
        (4,),
        classes(3),
        2,
    ),
}


@functools.cache
def live(name):
    net, loss, shape, labels, examples = LIVE[name]()
    return traced(net, loss, shape, labels, examples=examples)


def agrees(browser, trace):
    """Forward and backward from the page's own arrays, beside the trace."""
    found = run(browser, "return recompute(tracedState());")
    close(found["loss"], np.asarray(trace.loss, trace.outputs.dtype), "loss")
    for k, step in enumerate(trace):
        close(found["values"][k], step.value.array, step.name)
        close(found["bars"][k], step.incoming.array, (step.name, "y_bar"))
        for one in step.outgoing:
            close(found["cotangents"][k][one.of], one.numbers.array, (step.name, one.of))


# Of the three, "image" has most kinds of layers.
@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "image" else [pytest.mark.slow]) for n in LIVE])
def test_forward_and_backward(browser, opened, name):
    data = opened(live(name))
    assert data["live"]
    assert data["whole"]
    agrees(browser, live(name))


def test_in_double_precision(browser, opened):
    with jax.enable_x64(True):
        net = fnnet.Sequential(
            fnnet.Conv(3, 2), fnnet.gelu, functools.partial(fnnet.gelu, approximate=False), fnnet.Flatten(),
            fnnet.Residual(fnnet.Dense(6), fnnet.elu, fnnet.Dense(27)), fnnet.Dense(3),
        )  # fmt: skip
        trace = traced(net, smoothed, (3, 3, 1), classes(3), examples=2, dtype=jnp.float64)
    assert trace.outputs.dtype == "float64"
    opened(trace)
    agrees(browser, trace)


def entries(array, rng):
    return rng.choice(array.size, min(3, array.size), replace=False).tolist()


@pytest.mark.parametrize("name", LIVE)
def test_along_one_entry(browser, opened, name):
    """Each layer's derivative by some entries is JAX's of the layer's reference, and ends in the gradient's entry."""
    trace, rng = live(name), np.random.default_rng(0)
    opened(trace)
    tried = 0
    for k, step in enumerate(trace):
        for one in () if step.is_nested else step.outgoing:
            for flat in entries(one.numbers.array, rng):
                index = tuple(map(int, np.unravel_index(flat, one.numbers.shape)))
                column = step.comparison.column(step.comparison.names.index(one.of), index)
                code = f"""
                    const state = tracedState();
                    const found = tangents(state, {k}, "{one.of}", {flat});
                    const bars = Float64Array.from(decode(data.steps[data.steps.length - 1].incoming.array));
                    const factor = (_, output) => engineOf(data.steps[{k}]).factorOf("{one.of}", {flat}, output);
                    const leaves = leavesOf(state, state.values, {k});
                    const named = Array.from(leaves.y, factor).map((each) => each && leaves[each.name][each.flat]);
                    return {{ found, named, entry: found.at(-1).reduce((sum, each, n) => sum + each * bars[n], 0) }};
                """
                found = run(browser, code)
                close(found["found"][k], column.astype(step.value.dtype), (step.name, one.of, index))
                assert found["found"][:k] == [None] * k
                gradient = one.numbers.array[index]
                size = np.abs(column * step.incoming.wide).sum() + one.numbers.rms
                assert abs(found["entry"] - gradient) <= 1e-5 * size, (step.name, one.of, index)
                if step.kind in ("dense", "conv") and one.of != "bias":
                    values = [each or 0.0 for each in found["named"]]
                    close(values, column.astype(step.value.dtype), (step.name, one.of, index, "factor"))
                    tried += 1
    assert tried >= 6


def test_along_an_entry_of_a_nested_steps_input(browser, opened):
    """It reaches the layers of the step and the sum, and nothing beside them."""
    trace = live("image")
    opened(trace)
    names = [step.name for step in trace]
    nested = [k for k, step in enumerate(trace) if step.is_nested]
    assert len(nested) == 4
    for k in nested:
        step = trace.steps[k]
        gradient = step.cotangent("x").numbers
        flat = int(np.abs(gradient.array).argmax())
        code = f"""
            const bars = Float64Array.from(decode(data.steps.at(-1).incoming.array));
            const found = tangents(tracedState(), {k}, "x", {flat});
            const reached = found.flatMap((each, k) => each ? [data.steps[k].name] : []);
            return {{ reached, entry: found.at(-1).reduce((sum, each, n) => sum + each * bars[n], 0) }};
        """
        found = run(browser, code)
        close(found["entry"], gradient.array.ravel()[flat], step.name)
        before = [name for name in names[:k] if not name.startswith(f"{step.name}/")]
        assert not set(before) & set(found["reached"])


CHANGES = {
    "a pixel": "state.x[5] += 0.75;",
    "a weight": "state.params[0].kernel[3] -= 0.5;",
    "a label": "state.labels[0] = 2 - state.labels[0];",
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_number(browser, opened, what):
    """Values, loss and gradients are those of a trace with the changed number; a label changes the weights, too."""
    before = live("image")
    opened(before)
    found = run(browser, f"const state = tracedState(); {CHANGES[what]} return {{ ...recompute(state), state }};")
    x = jnp.asarray(found["state"]["x"], jnp.float32).reshape(before.x.shape)
    y = jnp.asarray(found["state"]["labels"], jnp.int32)
    kernel = jnp.asarray(found["state"]["params"]["0"]["kernel"], jnp.float32)
    params = before.params | {"conv_0": before.params["conv_0"] | {"kernel": kernel.reshape(3, 3, 2, 4)}}
    after = fnnet.trace(before.net, weighed, params, x, y)
    close(found["loss"], np.float32(after.loss), "loss")
    assert abs(after.loss - before.loss) > 1e-4
    for k, step in enumerate(after):
        close(found["values"][k], step.value.array, step.name)
        for one in step.outgoing:
            close(found["cotangents"][k][one.of], one.numbers.array, (step.name, one.of))


# Drawn layers, in double precision: forward, pull and push beside JAX's.


def drawn_window(rng, rank):
    """Window, stride, padding and dilation, as layers take them."""
    padding = rng.choice(["SAME", "SAME_LOWER", "VALID", "numbers"])
    pairs = tuple((int(lo), int(hi)) for lo, hi in rng.integers(0, 2, (rank, 2)))
    sizes = {name: tuple(map(int, rng.integers(1, 3, rank))) for name in ("stride", "dilation")}
    return tuple(map(int, rng.integers(1, 4, rank))), {
        "padding": pairs if padding == "numbers" else str(padding),
        **sizes,
    }


def drawn_layer(rng, number):
    """A layer of each kind in turn, and the shape of an example; ValueError where they do not go together."""
    rank, groups, switch = int(rng.integers(1, 4)), int(rng.integers(1, 3)), bool(rng.integers(2))
    window, others = drawn_window(rng, rank)
    shape = (*map(int, rng.integers(3, 6, rank)), groups * int(rng.integers(1, 3)))
    axis, features, counts = int(rng.integers(-1, rank)), groups * int(rng.integers(1, 3)), bool(rng.integers(2))
    layers = (
        lambda: fnnet.Conv(features, window, groups=groups, bias=switch, **others),
        lambda: fnnet.MaxPool(window, ceil_mode=switch, **others),
        lambda: fnnet.AvgPool(window, ceil_mode=switch, count_padding=counts, **others),
        lambda: fnnet.Dense(features, bias=switch),
        fnnet.GlobalAvgPool if switch else fnnet.GlobalMaxPool,
        lambda: as_layer(functools.partial(fnnet.softmax, axis=axis)),
    )
    return layers[number % len(layers)](), shape


def drawn_cases(count):
    """Each with JAX's numbers: {layer, engine, values, bar, dots, y, bars, pushed}."""
    rng, cases = np.random.default_rng(0), []
    while len(cases) < count:
        try:
            layer, shape = drawn_layer(rng, len(cases))
            params = layer.init(jax.random.key(len(cases)), shape, jnp.float64)
            own = {name: jnp.asarray(rng.normal(size=leaf.shape)) for name, leaf in params.items()}
            leaves = {"x": jnp.asarray(rng.normal(size=(2, *shape))), **own}
            outputs = jax.eval_shape(functools.partial(batch, layer), leaves)
        except ValueError:
            continue  # a window that does not fit
        y, pull = jax.vjp(functools.partial(batch, layer), leaves)
        bar = jnp.asarray(rng.normal(size=outputs.shape))
        dots = {name: jnp.asarray(rng.normal(size=leaf.shape)) for name, leaf in leaves.items()}
        # The derivative along a dot is linear in it: the sum of bar times it is that of the pulled bar times the dot.
        pulled = {name: float((pull(bar)[0][name] * dot).sum()) for name, dot in dots.items()}
        flat = {name: np.ravel(leaf).tolist() for name, leaf in leaves.items()}
        cases.append(
            {
                "layer": repr(layer),
                "engine": layer.engine(shape),
                "values": flat | {"y": np.ravel(y).tolist()},
                "bar": np.ravel(bar).tolist(),
                "dots": {name: np.ravel(dot).tolist() for name, dot in dots.items()},
                "bars": {name: np.ravel(one) for name, one in pull(bar)[0].items()},
                "pulled": pulled,
            }
        )
    return cases


def batch(layer, leaves):
    params = {name: leaf for name, leaf in leaves.items() if name != "x"}
    return jax.vmap(layer.apply, (None, 0))(params, leaves["x"])


@pytest.mark.parametrize("count", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_drawn_layers(browser, tmp_path, count):
    show(browser, tmp_path / "page.html", '<script type="application/json" id="data">{"moments": []}</script>')
    with jax.enable_x64(True):
        cases = drawn_cases(count)
    assert len({case["engine"]["kind"] for case in cases}) == 5
    for case in cases:
        given = json.dumps({name: case[name] for name in ("engine", "values", "bar", "dots")})
        code = f"""
            const given = {given};
            const each = (lists, make) => Object.fromEntries(Object.keys(lists).map((of) => [of, make(lists[of], of)]));
            const wide = (lists) => each(lists, (list) => Float64Array.from(list));
            const [engine, values, dots] = [engineOf(given), wide(given.values), wide(given.dots)];
            const pushed = each(dots, (dot, of) => engine.push(values, of, dot));
            return {{ y: engine.forward(values), bars: engine.pull(values, Float64Array.from(given.bar)), pushed }};
        """
        found = run(browser, code)
        close(found["y"], np.array(case["values"]["y"]), case["layer"])
        assert found["bars"].keys() == case["bars"].keys()
        for of, bar in case["bars"].items():
            close(found["bars"][of], bar, (case["layer"], of))
            products = np.array(found["pushed"][of]) * case["bar"]
            assert abs(products.sum() - case["pulled"][of]) <= 1e-10 * np.abs(products).sum(), (case["layer"], of)


# Layers that the page has no program for: their derivatives.


def texts():
    block = fnnet.Residual(fnnet.LayerNorm(), fnnet.Attention(2, causal=True, bias=False))
    net = fnnet.Sequential(fnnet.Embedding(5, 4), block, fnnet.GlobalAvgPool(), fnnet.Dense(2))
    x = jnp.array([[0, 3, 1], [2, 3, 4]])
    return fnnet.trace(net, fnnet.softmax_cross_entropy, net.init(jax.random.key(0), (3,)), x, jnp.array([0, 1]))


def normalised():
    net = fnnet.Sequential(fnnet.Dense(4, bias=False), fnnet.BatchNorm(), fnnet.Dropout(0.5), jnp.sin, fnnet.Dense(2))
    x, params = jax.random.normal(jax.random.key(1), (3, 5)), net.init(jax.random.key(0), (5,))

    def loss(outputs, labels):
        return jnp.cosh(outputs).sum(-1) * labels

    return fnnet.trace(net, loss, params, x, jnp.array([1.0, 0.5, 2.0]), key=jax.random.key(2))


@pytest.mark.parametrize("make", [texts, pytest.param(normalised, marks=pytest.mark.slow)])
def test_derivatives_of_other_layers(browser, opened, make):
    trace = make()
    data = opened(trace)
    assert data["graph"]
    assert not data["live"]
    without = [step["name"] for step in data["steps"] if step["jacobians"]]
    if make is texts:
        assert without == ["embedding_0", "residual_1/layer_norm_0", "residual_1/attention_1"]
    else:
        assert without == ["batch_norm_1", "dropout_2", "sin_3", "loss"]
    for k, step in enumerate(trace):
        if step.is_nested:
            continue
        code = f"""
            const state = tracedState();
            const bar = Float64Array.from(decode(data.steps[{k}].incoming.array));
            return engineOf(data.steps[{k}]).pull(leavesOf(state, state.values, {k}), bar);
        """
        found = run(browser, code)
        for one in step.outgoing:
            close(found[one.of], one.numbers.array, (step.name, one.of))
            flat = int(np.abs(one.numbers.array).argmax())
            index = tuple(map(int, np.unravel_index(flat, one.numbers.shape)))
            column = step.comparison.column(step.comparison.names.index(one.of), index)
            pushed = run(browser, f'return tangents(tracedState(), {k}, "{one.of}", {flat})')
            close(pushed[k], column.astype(step.value.dtype), (step.name, one.of, index))
            ends = (np.asarray(pushed[-1]) * trace.steps[-1].incoming.wide).sum()
            assert ends == pytest.approx(one.numbers.array[index], rel=1e-4), (step.name, one.of)


def test_large_networks_and_large_layers_have_no_derivatives(monkeypatch):
    trace = normalised()

    def derived(room):
        engines = Engines(trace, room, lambda array: "")
        assert not engines.are_live
        return [step.name for step, on_page in zip(trace, engines.of_steps, strict=True) if on_page["jacobians"]]

    assert derived(1000) == ["batch_norm_1", "dropout_2", "sin_3", "loss"]
    assert derived(50) == ["dropout_2", "sin_3", "loss"]  # the norm has 36 factors of x, 12 of scale and 12 of bias
    assert derived(0) == []
    monkeypatch.setattr(engine, "COLUMNS", 100)
    assert derived(1000) == ["dropout_2", "sin_3", "loss"]  # 12 by 12 of the norm
    monkeypatch.setattr(sampling, "WHOLE", 10)
    data = embedded(webpage(live("other losses"), ""))
    assert not data["whole"]
    assert not data["live"]
    assert data["steps"][0]["engine"] == {"kind": "dense", "inputs": 4, "features": 3}


def test_functions_that_the_page_cannot_compute():
    """Those that fnnet does not know, and arguments that are no numbers."""

    def found(function):
        return as_layer(function).engine((3, 4))

    assert found(functools.partial(fnnet.elu, alpha=2.0)) == {"kind": "elu", "alpha": 2.0}
    assert found(functools.partial(jax.nn.softmax, axis=0)) == {"kind": "softmax", "size": 3, "after": 4}
    assert found(functools.partial(fnnet.elu, alpha=jnp.array(2.0))) is None
    assert found(functools.partial(fnnet.softmax, axis=(0, 1))) is None
    assert found(functools.partial(jax.nn.softmax, where=True)) is None
    assert found(functools.partial(jax.nn.elu, jnp.ones(2))) is None
    assert found(lambda x: fnnet.relu(x)) is None

    class Doubled(fnnet.Dense):
        def apply(self, params, x, *, key=None):
            return 2 * super().apply(params, x, key=key)

    assert Doubled(3).engine((4,)) is None
    assert fnnet.GlobalAvgPool().with_length(2, 3).engine((3, 4)) is None


def test_losses_that_the_page_cannot_compute():
    net = fnnet.Sequential(fnnet.Dense(3))
    params, x = net.init(jax.random.key(0), (2,)), jax.random.normal(jax.random.key(1), (2, 2))

    def kind(loss, labels):
        trace = fnnet.trace(net, loss, params, x, jnp.array(labels))
        return (Engines(trace, 1000, lambda array: "").of_steps[-1]["engine"] or {}).get("kind")

    assert kind(fnnet.softmax_cross_entropy, [0, 2]) == "softmax_cross_entropy"
    assert kind(fnnet.softmax_cross_entropy, [0, 3]) is None  # no class: the loss is NaN
    assert kind(functools.partial(fnnet.softmax_cross_entropy, ignore_index=3), [0, 3]) == "softmax_cross_entropy"
    assert kind(fnnet.squared_error, [[0.0, 0.0, 1.0]]) is None  # labels that are broadcast
    assert kind(lambda outputs, labels: outputs[..., 1], [0, 2]) == "affine"
    assert kind(lambda outputs, labels: jnp.take_along_axis(outputs, labels[:, None], 1)[:, 0], [0, 2]) is None
    assert kind(lambda outputs, labels: jnp.abs(outputs).sum(-1), [0, 2]) is None
