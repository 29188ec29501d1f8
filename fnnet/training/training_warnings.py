"""Warnings about trainings that run but are probably not what was meant."""

import inspect
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from fnnet.core.partials import innermost
from fnnet.core.registration import rule_of
from fnnet.layers.protocol import function_name

CHANNELS = (1, 3, 4)  # of grey and colour images, and of those with transparency
SIDE = 8  # an image is no smaller
# Losses, of fnnet and of optax, that contain a function of the logits; and those that take its result.
CONTAINED = {
    "softmax": {
        **dict.fromkeys(("softmax_cross_entropy", "LinearSoftmaxCrossEntropy"), "cross_entropy"),
        "softmax_cross_entropy_with_integer_labels": "cross_entropy",
    },
    "sigmoid": {"sigmoid_binary_cross_entropy": "binary_cross_entropy"},
}
PACKAGE = str(Path(__file__).parents[1])
SILENCE = ' (warnings.filterwarnings("ignore", category=fnnet.TrainingWarning) silences this)'


class TrainingWarning(UserWarning):
    """`fit` runs, but its network, loss or data are probably not what was meant.

    `warnings.filterwarnings("ignore", category=fnnet.TrainingWarning)` silences it.
    """


def _warn(text: str) -> None:
    """Warn at the line that calls fnnet."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text + SILENCE, TrainingWarning, stacklevel=level)


def warn_of_channels_first(net: Any, shape: Sequence[int]) -> None:
    """Where the network reads examples as images and they look like (channels, height, width)."""
    if getattr(net, "spatial_axes", None) != 2 or len(shape) != 3:
        return
    channels, *sides = shape
    if channels in CHANNELS and min(sides) >= SIDE:
        _warn(
            f"fit: examples of shape {tuple(shape)} look channels-first, but channels are last here: "
            "jnp.moveaxis(xs, 1, -1) puts them there",
        )


def warn_of_probabilities(net: Any, loss: Any) -> None:
    """Where the network ends in the softmax or sigmoid that the loss contains."""
    if (getattr(innermost(loss), "__module__", None) or "").split(".")[0] not in ("fnnet", "optax"):
        return  # another loss of such a name
    last, taken = _last_function(net), function_name(loss)
    name = next((name for name, losses in CONTAINED.items() if taken in losses and _is_function(last, name)), None)
    if name is not None:
        _warn(
            f"fit: the network ends in {name}, but {taken} takes logits: leave {name} out of the network, or take "
            f"fnnet.{CONTAINED[name][taken]}",
        )


def _last_function(net: Any) -> Any:
    layers = getattr(net, "layers", None)
    return _last_function(layers[-1]) if layers else getattr(net, "function", net)


def _is_function(function: Any, name: str) -> bool:
    """Whether it is fnnet's or jax.nn's function of that name."""
    rule = rule_of(function)
    return rule.name == name if rule is not None else innermost(function) is getattr(jax.nn, name)


def warn_of_shorter_epoch(epoch: int, steps: int, before: float) -> None:
    """Where an iterable gave fewer mini-batches than in the epochs before."""
    _warn(
        f"fit: data gave {steps} mini-batches in epoch {epoch}, and {before:g} in each epoch before; an iterable must "
        "start anew each time it is iterated",
    )


def warn_of_left_out(size: int) -> None:
    """Where more than the last mini-batch of an epoch is smaller than the first."""
    _warn(
        f"fit: data gave more than one mini-batch of fewer than {size} examples, the size of its first, in an epoch; "
        "these are left out",
    )
