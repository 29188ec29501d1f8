"""Where each layer's input comes from: `Step.source` and `Step.parts`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnnet
from fnnet.layers.containers import Container
from fnnet.tracing.graph import flows
from fnnet.tracing.probes import Objective, passes


def graph(net, shape, *, examples=None, dtype=jnp.float32, replace=None):
    """The flows of a network by the layers' names: {name: (source, parts)}; None if they are not known."""
    x_shape = shape if examples is None else (examples, *shape)
    x = jax.random.randint(jax.random.key(1), x_shape, 0, 5).astype(dtype)
    net, params = net.apart(net.init(jax.random.key(0), shape))
    objective = Objective(net, fnnet.squared_error, replace or {}, examples is not None)
    gone = passes(objective, params, x, jnp.zeros_like(objective.apply(params, x)), None)
    found = flows(objective, params, x, None, gone.calls)
    if found is None:
        return None
    names = [call.name for call in gone.calls]
    known = {flow: names[flow] if flow >= 0 else "x" for flow in range(-1, len(names))}
    rows = zip([*names, "loss"], found, strict=True)
    return {name: (known[flow.source], tuple(known[part] for part in flow.parts)) for name, flow in rows}


def test_a_row_of_layers():
    net = fnnet.Sequential(fnnet.Dense(3), fnnet.relu, fnnet.Sequential(fnnet.Dense(2), fnnet.tanh), fnnet.Dense(1))
    assert graph(net, (4,), examples=2) == {
        "dense_0": ("x", ()),
        "relu_1": ("dense_0", ()),
        "sequential_2/dense_0": ("relu_1", ()),
        "sequential_2/tanh_1": ("sequential_2/dense_0", ()),
        "sequential_2": ("relu_1", ("sequential_2/tanh_1",)),
        "dense_3": ("sequential_2", ()),
        "loss": ("dense_3", ()),
    }


@pytest.mark.parametrize("examples", [None, 1, 3])
@pytest.mark.parametrize("width", [1, 3])
def test_residuals_with_and_without_a_shortcut(examples, width):
    block = fnnet.Residual(fnnet.Dense(2), fnnet.relu, fnnet.Dense(width), shortcut=fnnet.Dense(width))
    inner = fnnet.Residual(fnnet.Residual(fnnet.tanh), fnnet.Dense(width))
    found = graph(fnnet.Sequential(fnnet.Residual(fnnet.Dense(width)), block, inner), (width,), examples=examples)
    assert found["residual_0"] == ("x", ("residual_0/dense_0", "x"))
    assert found["residual_1"] == ("residual_0", ("residual_1/dense_2", "residual_1/shortcut"))
    assert found["residual_1/shortcut"] == ("residual_0", ())
    assert found["residual_2/residual_0"] == ("residual_1", ("residual_2/residual_0/tanh_0", "residual_1"))
    assert found["residual_2"] == ("residual_1", ("residual_2/dense_1", "residual_1"))
    assert found["loss"] == ("residual_2", ())


def test_repetitions_and_tied_layers():
    block = fnnet.Residual(fnnet.LayerNorm(), fnnet.Dense(4))
    net = fnnet.Sequential(fnnet.Tied(fnnet.Embedding(5, 4), fnnet.Repeat(block, 2)))
    found = graph(net, (3,), examples=2, dtype=jnp.int32)
    first, second = (f"tied_0/repeat_1/residual_{i}" for i in range(2))
    assert found["tied_0/embedding_0"] == ("x", ())
    assert found[second] == (first, (f"{second}/dense_1", first))
    assert found["tied_0/repeat_1"] == ("tied_0/embedding_0", (second,))
    assert found["tied_0/dense_2"] == ("tied_0/repeat_1", ())
    assert found["tied_0"] == ("x", ("tied_0/dense_2",))


def test_padded_is_one_layer_and_a_replaced_one_too():
    body = fnnet.Sequential(fnnet.Embedding(5, 4), fnnet.GlobalAvgPool())
    assert graph(fnnet.Sequential(fnnet.Padded(body), fnnet.Dense(2)), (3,), dtype=jnp.int32) == {
        "padded_0": ("x", ()),
        "dense_1": ("padded_0", ()),
        "loss": ("dense_1", ()),
    }
    net = fnnet.Sequential(fnnet.Residual(fnnet.Dense(3), fnnet.relu))
    found = graph(net, (3,), replace={"residual_0/relu_1": lambda x: x * x, "residual_0/dense_0": fnnet.Dense(3)})
    assert found["residual_0"] == ("x", ("residual_0/relu_1", "x"))


class Combined(Container):
    """Two layers of the same input, and what `combine` makes of their outputs and the input."""

    def __init__(self, combine, before=lambda x: x):
        self.combine, self.before = combine, before

    @property
    def members(self):
        return {"dense_0": fnnet.Dense(3), "dense_1": fnnet.Dense(3)}

    def init(self, key, shape, dtype=jnp.float32):
        return {name: layer.init(key, shape, dtype) for name, layer in self.members.items()}

    def thread(self, run, params, x, key):
        x = self.before(x)
        first, second = (run(name, layer, params[name], x, key) for name, layer in self.members.items())
        return self.combine(first, second, x)


def test_a_container_of_the_users():
    def parts(*given):
        found = graph(fnnet.Sequential(Combined(*given)), (3,), examples=2)
        return None if found is None else [part.split("/")[-1] for part in found["combined_0"][1]]

    assert parts(lambda first, second, x: first + second + x) == ["dense_0", "dense_1", "x"]
    assert parts(lambda first, second, x: second + second) == ["dense_1", "dense_1"]
    assert parts(lambda first, second, x: second) == ["dense_1"]
    assert parts(lambda first, second, x: first * second) is None
    assert parts(lambda first, second, x: first - second) is None
    assert parts(lambda first, second, x: first + 0.5) is None
    assert parts(lambda first, second, x: jnp.maximum(first, second)) is None
    assert parts(lambda first, second, x: first[..., :1]) is None
    assert parts(lambda first, second, x: first + second, lambda x: 2 * x) is None


def test_a_trace_has_its_graph():
    """A step's input is its source's output, and a nested step's output the sum of its parts', in the numbers too."""
    block = fnnet.Residual(fnnet.Dense(4), fnnet.tanh, shortcut=fnnet.Dense(4))
    net = fnnet.Sequential(fnnet.Dense(3), block, fnnet.Residual(fnnet.Dense(4)), fnnet.Dense(2))
    x = jax.random.normal(jax.random.key(1), (2, 5))
    traced = fnnet.trace(net, fnnet.squared_error, net.init(jax.random.key(0), (5,)), x, jnp.zeros((2, 2)))
    assert traced.graph

    def value(step):
        return traced.x.array if step < 0 else traced.steps[step].value.array

    nested = 0
    for step in traced:
        np.testing.assert_array_equal(step.inputs.array, value(step.source))
        if step.is_nested:
            np.testing.assert_allclose(step.value.array, sum(map(value, step.parts)), rtol=1e-6)
            nested += 1
    assert nested == 2
    other = fnnet.Residual(fnnet.Dense(5))
    traced = fnnet.trace(other, fnnet.squared_error, other.init(jax.random.key(0), (5,)), x, x)
    assert not traced.graph
