"""Sequential and Residual: errors that name the layer, the argument, and what it must be."""

import jax
import jax.numpy as jnp
import pytest

from fnnet.layers.convolution import Conv
from fnnet.layers.dense import Dense
from fnnet.layers.dropout import Dropout
from fnnet.layers.flatten import Flatten
from fnnet.layers.pooling import MaxPool
from fnnet.layers.residual import Residual
from fnnet.layers.sequential import Sequential
from fnnet.rules.activations import relu, tanh

KEY = jax.random.key(3)
CNN = Sequential(Conv(4, 3), relu, MaxPool(2), Flatten(), Dropout(0.5), Dense(3))


@pytest.fixture(scope="module")
def params():
    return CNN.init(KEY, (6, 4, 2))


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        (
            Sequential(Conv(3, 3), relu, MaxPool(9)),
            (8, 8, 1),
            "layer 2, MaxPool(9): max_pool: window (9, 9) does not fit into x of shape (8, 8, 3) with padding 'VALID'",
        ),
        (
            Sequential(Dense(3), Residual(Conv(3, (3, 3, 3)))),
            (8, 8, 1),
            "layer 1, Residual(...): layer 0, Conv(3, (3, 3, 3)): Conv: x of shape (8, 8, 3) must have rank 4, (depth, "
            "height, width, channels), as window (3, 3, 3) says, such as (8, 8, 3, 1), which x[..., None] has",
        ),
        (
            Sequential(Residual(Flatten(), shortcut=Conv(3, 3, groups=3))),
            (8, 8, 1),
            "layer 0, Residual(...): shortcut, Conv(3, 3, groups=3): Conv: groups (=3) must divide x's 1 channels",
        ),
        (
            Sequential(Sequential(Residual(Dense(5)))),
            (4,),
            "layer 0, Sequential(...): layer 0, Residual(...): Residual: the body's output of shape (5,) must have x's "
            "shape (4,); a shortcut",
        ),
        (
            Sequential(Residual(Dense(5), shortcut=Dense(1))),
            (4,),
            "layer 0, Residual(...): Residual: the body's output of shape (5,) must have the shortcut's shape (1,)",
        ),
        (Sequential(Dense(3)), (4, 0), "Sequential: shape (=(4, 0)) must have sizes of 1 or more"),
    ],
)
def test_init_names_the_layer_that_does_not_fit(net, shape, message, unchecked_shapes):
    with pytest.raises(ValueError, match=r"must|does not fit") as caught:
        net.init(KEY, shape)
    assert str(caught.value).startswith(message)
    with pytest.raises(ValueError, match=r"must|does not fit") as caught:
        net.summary(shape)
    assert str(caught.value).startswith(message)


def test_apply_names_the_layer_that_does_not_fit(params, unchecked_shapes):
    with pytest.raises(ValueError, match=r"^layer 5, Dense\(3\): dense: x of shape \(32,\) must end in 24"):
        CNN.apply(params, jnp.ones((8, 4, 2)))
    with pytest.raises(ValueError, match=r"^layer 5, Dense\(3\): dense: x of shape \(32,\) must end in 24"):
        jax.jit(jax.vmap(CNN.apply, (None, 0)))(params, jnp.ones((7, 8, 4, 2)))


@pytest.mark.parametrize(
    ("net", "shape", "given", "message"),
    [
        (
            Sequential(Conv(4, 3), Flatten(), Dense(3)),
            (6, 4, 2),
            (5, 6, 4, 2),
            "layer 0, Conv(4, 3): Conv: x of shape (5, 6, 4, 2) must have shape (height, width, 2), as "
            'params["kernel"] of shape (3, 3, 2, 4) says; jax.vmap(net.apply, (None, 0)) takes a mini-batch',
        ),
        (
            Sequential(Conv(4, (3,), groups=2)),
            (6, 2),
            (5, 6, 2),
            "layer 0, Conv(4, (3,), groups=2): Conv: x of shape (5, 6, 2) must have shape (length, 2), as "
            'params["kernel"] of shape (3, 1, 4) says; jax.vmap(net.apply, (None, 0)) takes a mini-batch',
        ),
        (
            Sequential(Conv(4, 3)),
            (6, 4, 1),
            (6, 4),
            "layer 0, Conv(4, 3): Conv: x of shape (6, 4) must have shape (height, width, 1), as "
            'params["kernel"] of shape (3, 3, 1, 4) says',
        ),
        (
            Sequential(MaxPool((2, 2))),
            (6, 4, 2),
            (5, 6, 4, 2),
            "layer 0, MaxPool((2, 2)): MaxPool: x of shape (5, 6, 4, 2) must have rank 3, (height, "
            "width, channels), as window (2, 2) says; jax.vmap(net.apply, (None, 0)) takes a mini-batch",
        ),
        (
            Sequential(Flatten(), Dense(3)),
            (6, 4),
            (5, 6, 4),
            'layer 1, Dense(3): Dense: x of shape (120,) must have shape (24,), as params["kernel"] of shape (24, 3) '
            "says; if these are 5 examples made flat, jax.vmap(net.apply, (None, 0)) takes a mini-batch",
        ),
    ],
)
def test_apply_tells_a_mini_batch_from_an_example(net, shape, given, message, unchecked_shapes):
    params = net.init(KEY, shape)
    with pytest.raises(ValueError, match="must have") as caught:
        net.apply(params, jnp.ones(given))
    assert str(caught.value) == message
    if len(given) > len(shape):  # as the error says
        assert jax.vmap(net.apply, (None, 0))(params, jnp.ones(given)).shape[0] == given[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {"conv_0": p["conv_0"]}, 'Sequential: params lacks "dense_5"'),
        (lambda p: {**p, "dense_7": p["dense_5"]}, 'Sequential: params has "dense_7"; it takes "conv_0", "dense_5"'),
        (lambda p: {**p, "relu_1": {}}, 'Sequential: params has "relu_1"'),
        (lambda p: {**p, "dense_5": {}}, 'layer 5, Dense(3): Dense: params lacks "kernel"'),
        (
            lambda p: {**p, "dense_5": {**p["dense_5"], "kernel": jnp.ones((24, 2))}},
            'layer 5, Dense(3): Dense: params["kernel"] of shape (24, 2) must have shape (inputs, 3)',
        ),
    ],
)
def test_parameters_that_do_not_fit_are_named(params, change, message):
    with pytest.raises(ValueError, match="params") as caught:
        CNN.apply(change(params), jnp.ones((6, 4, 2)))
    assert str(caught.value).startswith(message)


def test_nested_parameters_that_do_not_fit_are_named():
    net = Sequential(tanh, Residual(Dense(4), shortcut=Dense(4)))
    params = net.init(KEY, (4,))
    del params["residual_1"]["shortcut"]
    with pytest.raises(ValueError, match=r'^layer 1, Residual\(\.\.\.\): Residual: params lacks "shortcut"$'):
        net.apply(params, jnp.ones(4))


class TwoArgumentsError(Exception):
    def __init__(self, code, reason):
        super().__init__(code, reason)


class OwnTextError(Exception):
    def __str__(self):
        return "own text"


@pytest.mark.parametrize("error", [KeyError("gone"), TwoArgumentsError(7, "late"), OwnTextError("own text")])
def test_an_error_with_other_arguments_survives(error):
    def fails(x):
        raise error

    before, args = str(error), error.args
    with pytest.raises(type(error)) as caught:
        Sequential(tanh, fails).apply({}, jnp.ones(3))
    assert caught.value is error
    assert (str(error), error.args) == (before, args)
    assert error.__notes__ == ["in layer 1, fails"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sequential(relu, Flatten), "Sequential: layer 1 (=Flatten) is a class; write Flatten(...)"),
        (lambda: Sequential([relu]), "Sequential: layer 0 is a list; write Sequential(*layers)"),  # type: ignore[arg-type]
        (lambda: Sequential(None), "Sequential: layer 0 (=None) must be a layer or a function of the example"),  # type: ignore[arg-type]
        (lambda: Residual(3), "Residual: layer 0 (=3) must be a layer or a function of the example"),  # type: ignore[arg-type]
        (lambda: Residual(relu, shortcut=Flatten), "Residual: shortcut (=Flatten) is a class; write Flatten(...)"),
    ],
)
def test_what_is_no_layer_is_refused_at_once(make, message, unchecked_shapes):
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_a_residual_has_a_body():
    with pytest.raises(ValueError, match=r"^Residual: layers \(=\(\)\) must be one layer or more$"):
        Residual()


def test_the_example_is_an_array(unchecked_shapes):
    with pytest.raises(TypeError, match=r"^Sequential: x must be an array, not str$"):
        Sequential(relu).apply({}, "digit")
    with pytest.raises(TypeError, match=r"^Sequential: shape \(=784\) must be one example's shape"):
        Sequential(relu).init(KEY, 784)
