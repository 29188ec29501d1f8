"""What people try first, and the answer: its success, or one error that says what to write instead."""

import contextlib
import dataclasses
import inspect
import pickle
import re
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnnet as typed
from fnnet.cli.runs.training import _warnings_in_one_line
from fnnet.core import habits
from fnnet.layers import Layer
from fnnet.rules.labels import LabelError
from fnnet.training.history import History
from fnnet.training.training_warnings import warn_of_left_out, warn_of_probabilities

fnnet: Any = typed  # mypy knows that the calls are wrong
RNG = np.random.default_rng(0)
XS, YS = RNG.normal(size=(16, 8, 8, 1)).astype(np.float32), np.arange(16) % 3
WRONG = np.where(np.arange(16) == 13, 3, YS)
NET = fnnet.Sequential(fnnet.Conv(2, 3), fnnet.relu, fnnet.Flatten(), fnnet.Dense(3))
COLUMN = fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(1))
WORDS = fnnet.Sequential(fnnet.Embedding(5, 4), fnnet.Dense(5))
LOSS = fnnet.softmax_cross_entropy
TOKENS = RNG.integers(0, 5, (16, 6))
PAIRS = "data must be the pair (xs, ys) of arrays, or an iterable of such pairs, not"


# Every error has to be fnnet's own.
pytestmark = pytest.mark.usefixtures("standard_promotion", "unchecked_shapes")


def fit(data=(XS, YS), *more, net=NET, loss=LOSS, optimizer="adam", key=0, **options):
    return fnnet.fit(net, loss, optimizer, data, *more, key=key, batch_size=8, progress=False, **options)


def batches():
    yield XS[:8], YS[:8]


class Shrinking:
    """An iterable that gives one mini-batch less each time."""

    def __init__(self):
        self.left = 2

    def __iter__(self):
        for _ in range(self.left):
            yield XS[:8], YS[:8]
        self.left = 1


class Split:
    train, test = (XS, YS), (XS, YS)


class Table:
    """What pandas and polars have."""

    shape = (16,)

    def to_numpy(self):
        return YS


class Tensor:
    """What PyTorch and TensorFlow have: a dtype that is not NumPy's."""

    def __init__(self, array, on_host=True):
        self.array, self.shape, self.on_host, self.dtype = array, array.shape, on_host, Dtype()

    def __array__(self, dtype=None, copy=None):
        if not self.on_host:
            raise RuntimeError("it is elsewhere")
        return self.array


class Dtype:
    def __repr__(self):
        return "torch.float32"


@dataclasses.dataclass(frozen=True)
class Plain:
    """A network whose `apply` does not take a key, or needs one."""

    needs_key: bool

    def init(self, key, shape):
        return {}

    @property
    def apply(self):
        if self.needs_key:
            return lambda params, x, *, key: x
        return lambda params, x: x


TAKEN = {
    "tensors": lambda: fit((Tensor(XS), Tensor(YS))),
    "arrays": lambda: fit(),
    "a list of the two": lambda: fit([XS, YS]),
    "lists of arrays and numbers": lambda: fit((list(XS), YS.tolist())),
    "jax.numpy's arrays": lambda: fit((jnp.asarray(XS), jnp.asarray(YS))),
    "float64 images, int64 labels": lambda: fit((XS.astype(np.float64), YS.astype(np.int64))),
    "a column of a table": lambda: fit((XS, Table())),
    "a list of mini-batches": lambda: fit([(XS[:8], YS[:8]), (XS[8:], YS[8:])]),
    "a key of the old kind": lambda: fit(key=jax.random.PRNGKey(0)),
    "a NumPy integer as the key": lambda: fit(key=np.int64(3)),
    "the class labels as uint8": lambda: fit((XS, YS.astype(np.uint8))),
    "metrics by name": lambda: fit(validation=(XS, YS), metrics=["top-2", "f1"]),
    "init with an integer": lambda: NET.init(0, (8, 8, 1)),
    "init with a list": lambda: NET.init(jax.random.key(0), [8, 8, 1]),
    "padding in small letters": lambda: fnnet.conv(XS[0], np.ones((3, 3, 1, 2), np.float32), padding="valid"),
    "evaluate with lists": lambda: fnnet.evaluate(NET, NET.init(0, (8, 8, 1)), LOSS, [list(XS), YS.tolist()]),
}


@pytest.mark.parametrize("tried", TAKEN)
def test_is_taken(tried):
    TAKEN[tried]()


REFUSED = {
    # what is given as data
    "a bare array": (lambda: fit(XS), f"fit: {PAIRS} an array of shape (16, 8, 8, 1) and dtype float32"),
    "xs and ys apart": (
        lambda: fit(XS, YS),
        "fit: got 5 arguments by position, and takes net, loss, optimizer, data; data is the pair (xs, ys)",
    ),
    "x= and y=": (
        lambda: fnnet.fit(NET, LOSS, "adam", x=XS, y=YS, key=0),
        "fit: there is no argument x; did you mean data, the pair (xs, ys)?",
    ),
    "a dictionary": (
        lambda: fit({"image": XS, "label": YS}),
        f"fit: {PAIRS} a dictionary with the keys 'image', 'label'; write (data['image'], data['label'])",
    ),
    "mini-batches as dictionaries": (
        lambda: fit([{"image": XS, "label": YS}]),
        "fit: an iterable must give mini-batches (xs, ys), not a dictionary with the keys 'image', 'label'",
    ),
    "mini-batches without labels": (
        lambda: fit([XS[:8], XS[8:], XS[:8]]),
        f"fit: {PAIRS} (an array of shape (8, 8, 8, 1) and dtype float32, ",
    ),
    "weights as a third array": (
        lambda: fit((XS, YS, np.ones(16))),
        "an array of shape (16,) and dtype float64); weights of the examples are sample_weight",
    ),
    "a name": (lambda: fit("digits"), f"fit: {PAIRS} 'digits'; fnnet.data.load(...).train is such a pair"),
    "a whole data set": (lambda: fit(Split()), f"fit: {PAIRS} a Split; write data.train"),
    "a generator function": (
        lambda: fit(batches),
        f"fit: {PAIRS} the function batches; what a generator function gives is used up after one epoch: write a class",
    ),
    "a generator": (lambda: fit(batches()), "fit: data is an iterator, which is used up after one epoch"),
    "no labels": (lambda: fit((XS, None)), "fit: ys must be an array, not None"),
    "nothing": (lambda: fit(None), f"fit: {PAIRS} None"),
    "ragged images": (
        lambda: fit(([XS[0], XS[1, :4]], [0, 1])),
        "fit: xs is a list of examples of different shapes; they must have one shape",
    ),
    "images of bytes": (
        lambda: fit(((XS * 9).astype(np.uint8), YS)),
        "conv: x of dtype uint8 must have a floating dtype; write x.astype(jnp.float32) / 255 for pixels",
    ),
    "labels that are strings": (
        lambda: fit((XS, np.array(["cat", "dog"] * 8))),
        "fit: ys of shape (16,) and dtype <U3 must be numbers; np.unique(ys, return_inverse=True) gives the classes",
    ),
    "labels that are floats": (
        lambda: fit((XS, YS.astype(np.float32))),
        "softmax_cross_entropy: labels of dtype float32 and shape (16,) must be integers of shape (16,), or floating "
        "class probabilities of shape (16, 3)",
    ),
    "one-hot labels of integers": (
        lambda: fit((XS, np.eye(3, dtype=int)[YS])),
        "softmax_cross_entropy: labels of shape (16, 3) and dtype int32 must have shape (16,)",
    ),
    "labels in a column": (
        lambda: fit((XS, YS[:, None])),
        "softmax_cross_entropy: labels of shape (16, 1) and dtype int32 must have shape (16,), one class an example of "
        "logits (16, 3); labels[..., 0] has it",
    ),
    "all that fit returned": (
        lambda: fnnet.evaluate(NET, (NET.init(0, (8, 8, 1)), []), LOSS, (XS, YS)),
        "Sequential: params must be a dictionary of parameters, not tuple; fit returns the pair (params, history)",
    ),
    "a label out of range": (
        lambda: fit((XS, WRONG)),
        "softmax_cross_entropy: labels[13] (=3) must be a class, from 0 to 2",
    ),
    "labels that begin at 1": (
        lambda: fit((XS, YS + 1)),
        "softmax_cross_entropy: labels[2] (=3) must be a class, from 0 to 2",
    ),
    "a wrong token far down": (
        lambda: fit(
            (TOKENS, np.where((np.arange(16) == 11)[:, None], [0, 0, 0, 9, 0, 0], TOKENS)),
            net=WORDS,
            loss=fnnet.LinearSoftmaxCrossEntropy(),
        ),
        "softmax_cross_entropy: labels[11, 3] (=9) must be a class, from 0 to 4",
    ),
    "a fraction for validation": (
        lambda: fit(validation=0.2),
        "fit: validation must be the pair (xs, ys) of arrays, or an iterable of such pairs, not 0.2",
    ),
    "evaluate without a pair": (
        lambda: fnnet.evaluate(NET, NET.init(0, (8, 8, 1)), LOSS, XS),
        f"evaluate: {PAIRS} an array of shape (16, 8, 8, 1) and dtype float32",
    ),
    # images
    "images without channels": (
        lambda: fit((XS[..., 0], YS)),
        "layer 0, Conv(2, 3): Conv: x of shape (8, 8) must have shape (height, width, channels), such as (8, 8, 1), "
        "which x[..., None] has; window=(3,) is for a sequence (length, channels)",
    ),
    "images as vectors": (
        lambda: fit((XS.reshape(16, 64), YS)),
        "Conv: x of shape (64,) must have shape (height, width, channels), such as (8, 8, 1)",
    ),
    "a batch for one example": (
        lambda: NET.apply(NET.init(0, (8, 8, 1)), XS),
        "jax.vmap(net.apply, (None, 0)) takes a mini-batch",
    ),
    "init with an array": (
        lambda: NET.init(0, XS),
        "Sequential: shape must be one example's shape, not an array of shape (16, 8, 8, 1) and dtype float32; write",
    ),
    # the other arguments of fit
    "no key": (
        lambda: fnnet.fit(NET, LOSS, "adam", (XS, YS)),
        "fit: key must be given; any integer will do, such as key=0",
    ),
    "a key that is no key": (
        lambda: fit(key=0.5),
        "fit: key must be one key of jax.random, such as jax.random.key(0), or an integer, not 0.5",
    ),
    "many keys": (
        lambda: fit(key=jax.random.split(jax.random.key(0), 3)),
        "fit: key must be one key of jax.random, such as jax.random.key(0), or an integer, not an array of shape (3,)",
    ),
    "an optimiser without a rate": (
        lambda: fit(optimizer="adagrad"),
        'fit: optimizer must be one of optax, such as optax.adagrad(1e-3), or one of the names "adam", "adamw", '
        '"momentum", "nadam", "rmsprop", "sgd", not \'adagrad\'',
    ),
    "an optimiser that is not called": (
        lambda: fit(optimizer=optax.adam),
        "fit: optimizer must be one of optax, such as optax.adam(1e-3), or one of the names",
    ),
    "a rate for an optimiser": (
        lambda: fit(optimizer=1e-3),
        "fit: optimizer must be one of optax, such as optax.adam(1e-3), or one of the names",
    ),
    "learning_rate=": (
        lambda: fit(learning_rate=1e-3),
        "fit: there is no argument learning_rate; the optimiser has it, as in optax.adam(1e-3)",
    ),
    "a loss by name": (
        lambda: fit(loss="mse"),
        "fit: loss must be a function of outputs and ys, such as fnnet.squared_error, not 'mse'",
    ),
    "a loss that is a class": (
        lambda: fit(loss=fnnet.LinearSoftmaxCrossEntropy),
        "fit: loss (=LinearSoftmaxCrossEntropy) is a class; write LinearSoftmaxCrossEntropy()",
    ),
    "a loss of the whole batch": (
        lambda: fit(loss=lambda outputs, ys: LOSS(outputs, ys).mean()),
        "fit: loss must give one number for each of 16 examples, shape (16,); it gave shape () (leave out a mean over "
        "the batch; jax.vmap makes a loss of one example into one of a batch)",
    ),
    "a loss of positions": (
        lambda: fit((TOKENS, TOKENS), net=WORDS),
        "fit: loss must give one number for each of 16 examples, shape (16,); it gave shape (16, 6) (take the mean "
        "over the other axes, lambda outputs, ys: loss(outputs, ys).mean(-1), or for labels at each position "
        "fnnet.LinearSoftmaxCrossEntropy())",
    ),
    "a loss that broadcasts": (
        lambda: fit((XS, YS * 1.0), net=COLUMN, loss=lambda outputs, ys: (outputs - ys) ** 2),
        "it gave shape (16, 16) (outputs and ys of different shapes were broadcast; ys[:, None] makes a column of "
        "them)",
    ),
    "one number for each target": (
        lambda: fit((XS, YS * 1.0), net=COLUMN, loss=fnnet.squared_error),
        "squared_error: prediction of shape (16, 1) and target of shape (16,) must have equal last axes; write "
        "target[..., None]",
    ),
    "metrics without validation": (
        lambda: fit(metrics="f1"),
        "fit: metrics need validation data; the history has loss and accuracy of the training",
    ),
    "a metric with another name": (
        lambda: fit(validation=(XS, YS), metrics=["acc"]),
        "fit: there is no metric 'acc'; did you mean accuracy?",
    ),
    "a weight for each class": (
        lambda: fit(sample_weight=[1, 2, 3]),
        "fit: sample_weight of shape (3,) must have shape (16,), one number for each example",
    ),
    "weights for an iterable": (
        lambda: fit([(XS, YS)], sample_weight=np.ones(16)),
        "fit: sample_weight needs arrays (xs, ys) on one device; else let the loss return the pair (losses, weights)",
    ),
    "an average over so many steps": (
        lambda: fit(average=100),
        "fit: average (=100) must be a number between 0 and 1, such as 0.999, or None",
    ),
    "augmentation by name": (
        lambda: fit(augment="flip"),
        "fit: augment must be a function augment(key, x), such as fnnet.data.Augment(shift=2), not 'flip'",
    ),
    "augmentation to another size": (
        lambda: fit(augment=lambda key, x: x[1:]),
        "fit: augment must keep shape (8, 8, 1) and dtype float32; it gave (7, 8, 1) and float32",
    ),
    "a list of layers": (
        lambda: fit(net=[fnnet.Flatten(), fnnet.Dense(3)]),
        "fit: net is a list of 2; write fnnet.Sequential(*layers)",
    ),
    "a class for a network": (
        lambda: fit(net=fnnet.Sequential),
        "fit: net (=Sequential) is a class; write Sequential(",
    ),
    "a function for a network": (
        lambda: fit(net=fnnet.relu),
        "fit: net must have init(key, shape) and apply(params, x, *, key), as fnnet.Sequential(...) has; it is the "
        "function relu",
    ),
    "a network that takes no key": (
        lambda: fit(net=Plain(False)),
        "fit: net.apply must take apply(params, x, *, key=None), with a key in training",
    ),
    "a network that needs a key": (
        lambda: fnnet.evaluate(Plain(True), {}, LOSS, (XS, YS)),
        "evaluate: net.apply must take apply(params, x, *, key=None), without a key in evaluation",
    ),
    "all that fit returns as parameters": (
        lambda: fnnet.evaluate(NET, ({}, History()), LOSS, (XS, YS)),
        "evaluate: params is the pair (params, history) that fit returns; write params[0]",
    ),
    "all that fit returns to start from": (
        lambda: fit(params=({}, History())),
        "fit: params is the pair (params, history) that fit returns; write params[0]",
    ),
    "augmentation without a key": (
        lambda: fit(augment=fnnet.relu),
        "fit: augment must take two arguments, augment(key, x); it is the function relu",
    ),
    "a loss of one argument": (
        lambda: fit(loss=fnnet.relu),
        "fit: loss must take two arguments, loss(outputs, ys); it is the function relu",
    ),
    "a metric of one argument": (
        lambda: fit(validation=(XS, YS), metrics=[fnnet.relu]),
        "fit: metrics must take two arguments, metric(outputs, ys), not the function relu",
    ),
    "a callback of one argument": (
        lambda: fit(callback=len),
        "fit: callback must be one function callback(record, state), not the function len",
    ),
    "a key of more than 64 bits": (
        lambda: fit(key=2**70),
        "fit: key (=1180591620717411303424) must be an integer of at most 64 bits",
    ),
    "True for a number": (lambda: fit(epochs=True), "fit: epochs (=True) must be an integer of 1 or more"),
    "True for patience": (
        lambda: fit(validation=(XS, YS), patience=True),
        "fit: patience (=True) must be an integer of 1 or more",
    ),
    "True for a size": (
        lambda: fnnet.data.Augment(crop=True),
        "Augment: crop (=True) must be a number above 0 and at most 1",
    ),
    "a tensor on another device": (
        lambda: fit((Tensor(XS, on_host=False), YS)),
        "fit: xs of shape (16, 8, 8, 1) and dtype torch.float32 must be an array that np.asarray can read",
    ),
    "a list of callbacks": (
        lambda: fit(callback=[print]),
        "fit: callback must be one function callback(record, state), not a list of 1",
    ),
    "a directory for checkpoints": (
        lambda: fit(checkpoints="run"),
        "fit: checkpoints must be fnnet.Checkpoints(directory), not 'run'",
    ),
    "loss and parameters exchanged": (
        lambda: fnnet.evaluate(NET, LOSS, NET.init(0, (8, 8, 1)), (XS, YS)),
        "evaluate: loss must be a function of outputs and ys, such as fnnet.softmax_cross_entropy, not a dictionary",
    ),
    # the names and places of other libraries' arguments
    "validation_data=": (
        lambda: fit(validation_data=(XS, YS)),
        "fit: there is no argument validation_data; did you mean validation?",
    ),
    "verbose=": (lambda: fit(verbose=0), "fit: there is no argument verbose; did you mean progress?"),
    "epoch=": (lambda: fit(epoch=3), "fit: there is no argument epoch; did you mean epochs?"),
    "shuffle=": (
        lambda: fit(shuffle=True),
        "fit: there is no argument shuffle; arrays are shuffled in each epoch, and an iterable keeps its order",
    ),
    "strides= of a function": (
        lambda: fnnet.max_pool(XS, 2, strides=2),
        "max_pool: there is no argument strides; did you mean stride?",
    ),
    "a stride by its place": (
        lambda: fnnet.max_pool(XS, 2, 2),
        "max_pool: got 3 arguments by position, and takes x, window; give others by name: stride, padding, dilation, "
        "ceil_mode",
    ),
    "dim= of a softmax": (lambda: fnnet.softmax(XS, dim=-1), "softmax: there is no argument dim; did you mean axis?"),
    "weight= of a loss": (
        lambda: LOSS(np.ones((2, 3)), np.array([0, 1]), weight=np.ones(3)),
        "softmax_cross_entropy: there is no argument weight; did you mean class_weights?",
    ),
    "no labels for a loss": (lambda: LOSS(np.ones((2, 3))), "softmax_cross_entropy: labels must be given"),
    "kernel_size= of a layer": (
        lambda: fnnet.Conv(4, kernel_size=3),
        "Conv: there is no argument kernel_size; did you mean window?",
    ),
    "input channels first": (
        lambda: fnnet.Conv(1, 32, 3),
        "Conv: got 3 arguments by position, and takes features, window; init finds the size of the input; give others "
        "by name: stride, padding, dilation, groups, bias",
    ),
    "inputs and outputs": (
        lambda: fnnet.Dense(64, 10),
        "Dense: got 2 arguments by position, and takes features; init finds the size of the input; give others by "
        "name: bias",
    ),
    "units=": (lambda: fnnet.Dense(units=10), "Dense: there is no argument units; did you mean features?"),
    "an activation inside": (
        lambda: fnnet.Dense(10, activation="relu"),
        "Dense: there is no argument activation; write it after the layer, as in Sequential(layer, fnnet.relu)",
    ),
    "p= of dropout": (lambda: fnnet.Dropout(p=0.5), "Dropout: there is no argument p; did you mean rate?"),
    "hidden_size=": (lambda: fnnet.LSTM(hidden_size=4), "LSTM: there is no argument hidden_size; did you mean hidden?"),
    "a padding that does not exist": (
        lambda: fnnet.Conv(4, 3, padding="causal"),
        "Conv: padding (='causal') must be 'SAME', 'SAME_LOWER', 'VALID'",
    ),
    "the network as a function": (
        lambda: NET(NET.init(0, (8, 8, 1)), XS[0]),
        "Sequential: a layer holds no parameters; write layer.apply(params, x)",
    ),
    "predict": (
        lambda: NET.predict(XS),
        "Sequential has no predict; jax.vmap(net.apply, (None, 0))(params, xs) computes a mini-batch",
    ),
    "fit as a method": (
        lambda: NET.fit((XS, YS)),
        "Sequential has no fit; fnnet.fit(net, loss, optimizer, (xs, ys), key=0) trains it",
    ),
    "a list in Sequential": (
        lambda: fnnet.Sequential([fnnet.Dense(3), fnnet.relu]),
        "Sequential: layer 0 is a list; write Sequential(*layers)",
    ),
    "an activation by name": (
        lambda: fnnet.Sequential(fnnet.Dense(3), "relu"),
        "Sequential: layer 1 (='relu') must be a layer or a function of the example; write the function, such as",
    ),
    "Linear": (lambda: fnnet.Linear(3), "module 'fnnet' has no attribute 'Linear'; did you mean fnnet.Dense?"),
    "Conv2D": (lambda: fnnet.Conv2D(3, 3), "module 'fnnet' has no attribute 'Conv2D'; did you mean fnnet.Conv?"),
    "ReLU": (lambda: fnnet.ReLU(), "module 'fnnet' has no attribute 'ReLU'; did you mean fnnet.relu?"),
    "MSELoss": (
        lambda: fnnet.MSELoss(),
        "module 'fnnet' has no attribute 'MSELoss'; did you mean fnnet.squared_error?",
    ),
    "a misspelt name": (lambda: fnnet.Sequental, "module 'fnnet' has no attribute 'Sequental'; did you mean fnnet.Seq"),
    "a name that nobody has": (lambda: NET.nothing, "'Sequential' object has no attribute 'nothing'"),
}


@pytest.mark.parametrize("tried", REFUSED)
def test_is_answered(tried):
    attempt, words = REFUSED[tried]
    with pytest.raises((TypeError, ValueError, AttributeError), match=re.escape(words)) as caught:
        attempt()
    assert len(re.split(r"[.] ", str(caught.value))) <= 2  # sentences


FUNCTIONS = [name for name in dir(typed) if inspect.isfunction(getattr(typed, name))]
CLASSES = [name for name in dir(typed) if inspect.isclass(getattr(typed, name))]
LAYERS = [name for name in CLASSES if issubclass(getattr(typed, name), Layer)]


@pytest.mark.parametrize("name", sorted({*FUNCTIONS, *LAYERS} - {"check", "keep_memory", "safe_options", "use_onednn"}))
def test_every_function_and_layer_answers_an_unknown_argument(name):
    with pytest.raises(TypeError, match=f"^{name}: there is no argument colour"):
        getattr(fnnet, name)(colour="red")


def test_an_error_of_a_label_comes_whole_from_another_process():
    with pytest.raises(LabelError) as caught:
        LOSS(np.zeros((2, 3)), np.array([0, 3]))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.place) == (str(caught.value), (1,))


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        ((XS, WRONG), r"labels\[13\] \(=3\) must be a class"),
        ((XS[..., 0], YS), r"Conv: x of shape \(8, 8\) must have shape \(height, width, 1\)"),
        ((XS, YS[:3]), r"ys of shape \(3,\) must have as many examples"),
    ],
)
def test_wrong_validation_data_are_refused_before_the_training(validation, words):
    with pytest.raises(ValueError, match=words) as caught:
        fit(validation=validation, callback=lambda record, state: pytest.fail("it was trained"))
    assert caught.value.__notes__[-1] == "These are the validation data of fit."


def test_every_name_that_an_answer_gives_exists():
    assert set(habits.NAMES.values()) <= set(dir(typed))
    arguments = {
        name for names in (*FUNCTIONS, *LAYERS) for name in inspect.signature(getattr(typed, names)).parameters
    }
    assert {name for ours in habits.THEIRS for name in ours} <= arguments


def softmax_cross_entropy(outputs, ys):
    return fnnet.cross_entropy(outputs, ys)


def unfit(images, net):
    """Warnings of `fit` alone: what comes after them is refused, and nothing is compiled."""
    with pytest.raises(ValueError, match=r"must be a class, from 0 to"):
        fit((images, np.full(len(images), 99)), net=net)


@pytest.mark.parametrize(
    ("images", "net"),
    [
        (np.moveaxis(XS, -1, 1), NET),
        (np.moveaxis(XS, -1, 1), fnnet.Sequential(fnnet.relu, fnnet.Residual(fnnet.Conv(8, 3)), fnnet.GlobalAvgPool())),
        (np.ones((16, 3, 12, 9), np.float32), fnnet.Sequential(fnnet.MaxPool((1, 2)), fnnet.Flatten(), fnnet.Dense(3))),
    ],
)
def test_warns_of_channels_first(images, net):
    words = re.escape(f"fit: examples of shape {images.shape[1:]} look channels-first, but channels are last here")
    with pytest.warns(fnnet.TrainingWarning, match=words) as seen:
        unfit(images, net)
    assert len(seen) == 1
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    ("shape", "net"),
    [
        ((8, 8, 3), NET),
        ((3, 8, 4), NET),  # a low image
        ((1, 8, 8), fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(3))),  # it does not matter there
        ((3, 9), fnnet.Sequential(fnnet.Conv(2, (3,)), fnnet.Flatten(), fnnet.Dense(3))),
        ((3, 9, 9), fnnet.Sequential(fnnet.Dense(3), fnnet.Flatten(), fnnet.Dense(3))),  # a table of rows
    ],
)
def test_does_not_warn_of_other_shapes(shape, net):
    unfit(np.ones((8, *shape), np.float32), net)  # a warning is an error


@pytest.mark.parametrize(
    ("last", "loss", "words"),
    [
        (
            fnnet.softmax,
            LOSS,
            "ends in softmax, but softmax_cross_entropy takes logits: leave softmax out of the network",
        ),
        (jax.nn.softmax, optax.softmax_cross_entropy_with_integer_labels, "or take fnnet.cross_entropy"),
        (fnnet.Sequential(fnnet.sigmoid), fnnet.sigmoid_binary_cross_entropy, "or take fnnet.binary_cross_entropy"),
        (fnnet.log_softmax, LOSS, ""),  # its softmax is the same
        (fnnet.softmax, fnnet.cross_entropy, ""),
        (fnnet.softmax, softmax_cross_entropy, ""),  # of probabilities, by that name
    ],
)
def test_warns_of_a_function_that_the_loss_contains(last, loss, words):
    net = fnnet.Sequential(fnnet.Flatten(), fnnet.Dense(3), last)
    with pytest.warns(fnnet.TrainingWarning, match=words) if words else contextlib.nullcontext():
        warn_of_probabilities(net, loss)


def test_fit_warns_of_a_softmax_too_many():
    with pytest.warns(fnnet.TrainingWarning, match="the network ends in softmax"):
        unfit(XS, fnnet.Sequential(*NET.layers, fnnet.softmax))


def test_warns_of_an_iterable_that_gives_less_in_a_later_epoch():
    words = "fit: data gave 1 mini-batches in epoch 2, and 2 in each epoch before; an iterable must start anew"
    with pytest.warns(fnnet.TrainingWarning, match=words) as seen:
        fit(Shrinking(), epochs=3)
    assert len(seen) == 1


def test_warns_of_mini_batches_that_are_left_out():
    small = [(XS[:8], YS[:8]), (XS[:7], YS[:7])]
    fit(small)  # the last may be smaller
    with pytest.warns(fnnet.TrainingWarning, match="more than one mini-batch of fewer than 8 examples") as seen:
        fit([*small, *small], epochs=2)
    assert [one.filename for one in seen] == [fit.__code__.co_filename]


def test_the_command_line_shows_a_warning_in_one_line(capsys):
    def both():
        with _warnings_in_one_line():
            warn_of_left_out(8)
            warnings.warn("another", stacklevel=1)

    with pytest.warns(UserWarning, match="another") as seen:
        both()
    assert len(seen) == 1  # the other was printed
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fnnet: fit: data gave more than one mini-batch of fewer than 8 examples")
    assert line.endswith("these are left out")


def test_a_misfit_is_the_only_error():
    with pytest.raises(TypeError) as raised:
        fit(epoch=3)
    assert raised.value.__context__ is None
