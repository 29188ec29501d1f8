"""The table: a row a public rule."""

from collections.abc import Sequence

import numpy as np

import fnnet
from contract import samplers, window_samplers
from contract.cases import Draw, Row
from fnnet.proofs.table import REFERENCES

LEADING = {"0 leading axes", "1 leading axes", "2 leading axes", "empty leading axis", "size-1 axis"}
WINDOWED = {"rank 1", "rank 2", "rank 3", "SAME", "VALID", "padding in numbers", "padding", "uneven padding"} | {
    *LEADING, "stride does not divide", "even window", "overlapping", "gaps",
}  # fmt: skip
SIZES = {"ties", "size 0.001", "size 1", "size 5", "size-1 axis"}


def _activation(name: str, *, cancels: bool = False, **choices: Sequence) -> Row:
    tiny = samplers.normal({n: values[0] for n, values in choices.items()}, z=(3,))
    sample = samplers.elementwise(**choices)
    return Row(name, getattr(fnnet, name), REFERENCES[name], sample, ("z",), tiny, frozenset(SIZES), cancels=cancels)


def _along(name: str) -> Row:
    covers = SIZES | {"inner axis", "axis from the front", "two axes"}
    tiny, sample = samplers.normal({"axis": 0}, z=(3, 2)), samplers.along_axes
    return Row(name, getattr(fnnet, name), REFERENCES[name], sample, ("z",), tiny, frozenset(covers), cancels=True)


def _over_classes(name: str, prediction: str, positive: str | None = None, **options: bool) -> Row:
    sample = samplers.over_classes(prediction, positive, **options)
    covers = {"rows", "integers", "one class"} | ({"smoothing"} if options.get("smoothing") else set())
    covers |= {"class weights", "ignore_index"} if options.get("weighing") else set()

    def tiny(rng: np.random.Generator) -> dict:
        return {prediction: rng.uniform(0.1, 0.9, (2, 3)), "labels": rng.uniform(0.1, 0.9, (2, 3))}

    function, reference, both = getattr(fnnet, name), REFERENCES[name], (prediction, "labels")
    return Row(name, function, reference, sample, both, Draw({}, tiny), frozenset(covers), cancels=positive is None)


def _pairs(name: str, prediction: str, target: str, kind: str = "numbers", weights: str | None = None) -> Row:
    names = (prediction, target) if weights is None else (prediction, target, weights)

    def tiny(rng: np.random.Generator) -> dict:
        return {name: rng.uniform(0.1, 0.9, (2, 3)) for name in names}

    function, reference = getattr(fnnet, name), REFERENCES[name]
    covers = {"one target for all", "size-1 axis"} | ({"weights", "one weight"} if weights else set())
    sample = samplers.pairs(prediction, target, kind, weights)
    return Row(name, function, reference, sample, names, Draw({}, tiny), frozenset(covers), cancels=kind == "logits")


_TABLE = [
    Row(
        "dense",
        fnnet.dense,
        REFERENCES["dense"],
        samplers.dense,
        ("x", "kernel", "bias"),
        samplers.normal(x=(2, 3), kernel=(3, 2), bias=(2,)),
        frozenset(LEADING | {"bias", "no bias"}),
    ),
    Row(
        "conv",
        fnnet.conv,
        REFERENCES["conv"],
        window_samplers.conv,
        ("x", "kernel", "bias"),
        samplers.normal(
            {"stride": 2, "groups": 2, "padding": ((1, 0), (0, 1))}, x=(2, 4, 3, 2), kernel=(2, 2, 1, 2), bias=(2,)
        ),
        frozenset(WINDOWED | {"dilation", "groups", "depthwise", "bias", "few taps, many outputs"}),
        heavy=True,
    ),
    Row(
        "max_pool",
        fnnet.max_pool,
        REFERENCES["max_pool"],
        window_samplers.max_pool,
        ("x",),
        samplers.normal({"window": (3, 2), "stride": (2, 1)}, x=(2, 5, 3, 1)),
        frozenset(WINDOWED | {"dilation", "ties", "stride None", "ceil_mode adds a window", "many taps"}),
        heavy=True,
    ),
    Row(
        "avg_pool",
        fnnet.avg_pool,
        REFERENCES["avg_pool"],
        window_samplers.avg_pool,
        ("x",),
        samplers.normal({"window": (3, 2), "stride": (2, 1), "padding": 1}, x=(2, 5, 3, 1)),
        frozenset(
            WINDOWED | {"stride None", "ceil_mode adds a window", "many taps", "padding counts", "dilation", "divisor"}
        ),
        heavy=True,
    ),
    _activation("relu"),
    _activation("leaky_relu", slope=(0.01, 0.3, 0.0, -0.5)),
    _activation("sigmoid", cancels=True),
    _activation("tanh", cancels=True),
    _activation("softplus", cancels=True),
    _activation("silu", cancels=True),
    _activation("gelu", cancels=True, approximate=(True, False)),
    _along("softmax"),
    _along("log_softmax"),
    _over_classes("softmax_cross_entropy", "logits", smoothing=True, weighing=True),
    _over_classes("cross_entropy", "probabilities", "probabilities"),
    _over_classes("negative_log_likelihood", "log_probabilities", "log-probabilities", weighing=True),
    _pairs("squared_error", "prediction", "target"),
    _pairs("sigmoid_binary_cross_entropy", "logits", "targets", "logits", "positive_weights"),
    _pairs("binary_cross_entropy", "probabilities", "targets", "probabilities"),
]
ROWS = {row.name: row for row in _TABLE}
