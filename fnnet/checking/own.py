"""fnnet's own rules for `python -m fnnet check`: each at example arguments, with an independent reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fnnet.checking.runner import Run, run
from fnnet.proofs.table import FUNCTIONS, REFERENCES

Draw = Callable[[np.random.Generator], tuple]


@dataclass(frozen=True, eq=False)
class Own:
    """A public rule at one configuration.

    Args:
        rule: Its name.
        draw: draw(generator) -> the example arguments.
        variant: What is particular about this configuration, in words.
        static: Static keyword values.
    """

    rule: str
    draw: Draw
    variant: str = ""
    static: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The rule and its variant."""
        return f"{self.rule}, {self.variant}" if self.variant else self.rule

    def begin(self, **options: Any) -> Run:
        """A run of the checker; `options` are those of `fnnet.check`."""
        args = self.draw(np.random.default_rng([*self.title.encode()]))
        function, reference = FUNCTIONS[self.rule], REFERENCES[self.rule]
        return run(function, *args, reference=reference, static=self.static, name=self.title, **options)


def _normal(*shapes: Sequence[int]) -> Draw:
    return lambda rng: tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def _probabilities(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    drawn = rng.uniform(0.1, 1, (rows, classes))
    return (drawn / drawn.sum(-1, keepdims=True)).astype(np.float32)


def _classes(rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(4).astype(np.int32)


_WEIGHTS = np.array([0.5, 1.5, 1.0, 2.0], np.float32)
_IMAGE = (2, 4, 6, 2)

OWN: tuple[Own, ...] = (
    Own("dense", _normal((4, 3), (3, 2), (2,))),
    Own("conv", _normal((2, 5, 5, 2), (3, 3, 2, 4), (4,))),
    Own("conv", _normal((2, 7, 6, 2), (2, 3, 2, 3)), "stride 2, dilation 2", {"stride": 2, "dilation": 2}),
    Own("conv", _normal((2, 4, 5, 4), (3, 2, 2, 6), (6,)), "2 groups", {"groups": 2}),
    Own("conv", _normal((2, 7, 2), (4, 2, 3)), "1-D, even kernel, padded", {"stride": 2, "padding": ((2, 1),)}),
    Own("conv", _normal((1, 3, 4, 3, 2), (2, 3, 1, 2, 2)), "3-D", {"padding": "VALID"}),
    Own("max_pool", _normal(_IMAGE), "", {"window": 2}),
    Own("max_pool", _normal(_IMAGE), "overlapping", {"window": 3, "stride": 2, "padding": "SAME"}),
    Own("max_pool", _normal((2, 5, 6, 2)), "dilated", {"window": 2, "stride": 1, "dilation": 2}),
    Own("max_pool", _normal((2, 7, 2)), "1-D, ceil mode", {"window": (2,), "stride": 2, "ceil_mode": True}),
    Own("max_pool", _normal((1, 4, 4, 2, 2)), "3-D", {"window": (2, 2, 1), "stride": 1}),
    Own("max_pool", _normal((1, 8, 8, 1)), "49 taps", {"window": 7, "stride": 1, "padding": 1}),
    Own("avg_pool", _normal(_IMAGE), "", {"window": 2}),
    Own("avg_pool", _normal(_IMAGE), "overlapping", {"window": 3, "stride": 2, "padding": "SAME"}),
    Own("avg_pool", _normal((2, 7, 2)), "padding counts", {"window": (3,), "padding": 1, "count_padding": True}),
    Own("avg_pool", _normal((2, 5, 6, 2)), "dilated, sums", {"window": 2, "stride": 1, "dilation": 2, "divisor": 1}),
    Own("relu", _normal((3, 4))),
    Own("leaky_relu", _normal((3, 4))),
    Own("leaky_relu", _normal((3, 4)), "negative slope", {"slope": -0.5}),
    Own("sigmoid", _normal((3, 4))),
    Own("tanh", _normal((3, 4))),
    Own("softplus", _normal((3, 4))),
    Own("silu", _normal((3, 4))),
    Own("gelu", _normal((3, 4))),
    Own("gelu", _normal((3, 4)), "exact", {"approximate": False}),
    Own("softmax", _normal((3, 4))),
    Own("softmax", _normal((3, 4)), "axis 0", {"axis": 0}),
    Own("log_softmax", _normal((3, 4))),
    Own("softmax_cross_entropy", lambda rng: (*_normal((4, 5))(rng), _classes(rng))),
    Own("softmax_cross_entropy", lambda rng: (*_normal((4, 5))(rng), _probabilities(rng, 4, 5)), "probabilities"),
    Own(
        "softmax_cross_entropy",
        lambda rng: (*_normal((4, 4))(rng), _classes(rng)),
        "smoothed, weighed",
        {"label_smoothing": 0.1, "class_weights": _WEIGHTS, "ignore_index": 1},
    ),
    Own("cross_entropy", lambda rng: (_probabilities(rng, 4, 5), _classes(rng))),
    Own("cross_entropy", lambda rng: (_probabilities(rng, 4, 5), _probabilities(rng, 4, 5)), "probabilities"),
    Own("negative_log_likelihood", lambda rng: (np.log(_probabilities(rng, 4, 5)), _classes(rng))),
    Own(
        "negative_log_likelihood",
        lambda rng: (np.log(_probabilities(rng, 4, 4)), _classes(rng)),
        "weighed",
        {"class_weights": _WEIGHTS, "ignore_index": 1},
    ),
    Own("squared_error", _normal((4, 3), (4, 3))),
    Own("sigmoid_binary_cross_entropy", lambda rng: (*_normal((4, 3))(rng), _probabilities(rng, 4, 3))),
    Own(
        "sigmoid_binary_cross_entropy",
        lambda rng: (*_normal((4, 4))(rng), _probabilities(rng, 4, 4)),
        "weighed",
        {"positive_weights": _WEIGHTS},
    ),
    Own("binary_cross_entropy", lambda rng: (_probabilities(rng, 4, 3), _probabilities(rng, 4, 3))),
)


def chosen(names: Sequence[str]) -> list[Own]:
    """The configurations of the named rules, in the order of the table; of all of them without names."""
    return [own for own in OWN if not names or own.rule in names]
