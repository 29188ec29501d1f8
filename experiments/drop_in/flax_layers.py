"""Flax's layers with fnnet's functions: the parameters, their names and their initialisers stay Flax's."""

from typing import Any

from flax import nnx

import fnnet


class Conv(nnx.Conv):
    """A convolution by `fnnet.conv`."""

    def __call__(self, x: Any, out_sharding: Any = None) -> Any:
        """(batch, height, width, channels) -> (batch, height, width, features)."""
        return fnnet.conv(x, self.kernel[...], self.bias[...], stride=self.strides, padding=self.padding)


class Linear(nnx.Linear):
    """A dense layer by `fnnet.dense`."""

    def __call__(self, x: Any, out_sharding: Any = None) -> Any:
        """(batch, inputs) -> (batch, features)."""
        return fnnet.dense(x, self.kernel[...], self.bias[...])
