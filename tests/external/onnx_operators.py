"""ONNX's operators by public functions of fnnet: channels move last, `auto_pad` becomes a padding.

Each class puts itself in the place of ONNX's own implementation in its reference evaluator, under the operator's name.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx.reference.op_run import OpRun

import fnnet


class Operator(OpRun):
    """An operator of the standard domain, with the defaults of the opset that the model names."""

    def __init__(self, onnx_node: Any, run_params: dict[str, Any], schema: Any = None):
        self.opset = run_params["opsets"][""]
        super().__init__(onnx_node, run_params, onnx.defs.get_schema(onnx_node.op_type, self.opset, ""))

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[np.ndarray, ...]:
        outputs = self.apply(*(None if array is None else jnp.asarray(array) for array in inputs), **attributes)
        return tuple(np.asarray(output) for output in (outputs if isinstance(outputs, tuple) else (outputs,)))

    def apply(self, *inputs: Any, **attributes: Any) -> Any:
        """The outputs as JAX arrays."""
        raise NotImplementedError


def last(x: Any) -> Any:
    """Channels after the image, as fnnet has them."""
    return jnp.moveaxis(x, 1, -1)


def first(x: Any) -> Any:
    """Channels before the image, as ONNX has them."""
    return jnp.moveaxis(x, -1, 1)


def padding(rank: int, auto_pad: str, pads: Any) -> Any:
    """The padding argument; ONNX lists the pads before each axis, then those after each."""
    if auto_pad != "NOTSET":
        return {"VALID": "VALID", "SAME_UPPER": "SAME", "SAME_LOWER": "SAME_LOWER"}[auto_pad]
    pads = pads or [0] * 2 * rank
    return tuple(zip(pads[:rank], pads[rank:], strict=True))


def transposed_kernel(w: Any, groups: int) -> Any:
    """(inputs, outputs / groups, *window), as ONNX and torch have it, to (*window, inputs / groups, outputs)."""
    inputs, outputs, *size = w.shape
    apart = jnp.moveaxis(w.reshape(groups, inputs // groups, outputs, *size), (1, 0, 2), (-3, -2, -1))
    return apart.reshape(*size, inputs // groups, groups * outputs)


class Conv(Operator):
    def apply(self, x, w, b=None, *, auto_pad, dilations, group, kernel_shape, pads, strides):
        rank = x.ndim - 2
        y = fnnet.conv(
            last(x),
            jnp.moveaxis(w, (0, 1), (-1, -2)),
            b,
            stride=strides or 1,
            dilation=dilations or 1,
            padding=padding(rank, auto_pad, pads),
            groups=group,
        )
        return first(y)


class ConvTranspose(Operator):
    def apply(
        self, x, w, b=None, *, auto_pad, dilations, group, kernel_shape, pads, strides, output_padding, output_shape
    ):
        rank = x.ndim - 2
        strides, dilations, more = strides or [1] * rank, dilations or [1] * rank, output_padding or [0] * rank
        if output_shape or auto_pad.startswith("SAME"):
            wanted = output_shape or [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
            sizes = zip(x.shape[2:], w.shape[2:], strides, dilations, more, wanted[-rank:], strict=True)
            cut = [s * (n - 1) + o + d * (k - 1) + 1 - m for n, k, s, d, o, m in sizes]
            less = [total // 2 if auto_pad == "SAME_UPPER" else total - total // 2 for total in cut]
            pads = [*less, *(total - before for total, before in zip(cut, less, strict=True))]
            more = [o - min(total, 0) for o, total in zip(more, cut, strict=True)]  # larger than without padding
            pads = [max(pad, 0) for pad in pads]
        return first(
            fnnet.conv_transpose(
                last(x),
                transposed_kernel(w, group),
                b,
                stride=strides,
                dilation=dilations,
                padding=padding(rank, "NOTSET", pads),
                output_padding=more,
                groups=group,
            )
        )


class MaxPool(Operator):
    def apply(self, x, *, auto_pad, kernel_shape, pads, strides, ceil_mode=0, dilations=None, storage_order=0):
        rank = len(kernel_shape)
        place = {
            "window": kernel_shape,
            "stride": strides or 1,
            "dilation": dilations or 1,
            "padding": padding(rank, auto_pad, pads),
            "ceil_mode": bool(ceil_mode),
        }
        y = first(fnnet.max_pool(last(x), **place))
        if len(self.onnx_node.output) == 1:
            return y
        image = x.shape[2:]
        at = np.unravel_index(np.asarray(first(fnnet.max_pool_indices(last(x), **place))), image)
        within = np.ravel_multi_index(at, image, order="F" if storage_order else "C")
        planes = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * rank)
        return y, (planes * math.prod(image) + within).astype(np.int64)


class AveragePool(Operator):
    def apply(self, x, *, auto_pad, kernel_shape, pads, strides, count_include_pad=0, ceil_mode=0, dilations=None):
        rank = len(kernel_shape)
        y = fnnet.avg_pool(
            last(x),
            kernel_shape,
            stride=strides or 1,
            dilation=dilations or 1,
            padding=padding(rank, auto_pad, pads),
            count_padding=bool(count_include_pad),
            ceil_mode=bool(ceil_mode),
        )
        return first(y)


class GlobalMaxPool(Operator):
    def apply(self, x):
        return first(fnnet.max_pool(last(x), x.shape[2:]))


class GlobalAveragePool(Operator):
    def apply(self, x):
        return first(fnnet.avg_pool(last(x), x.shape[2:]))


class LayerNormalization(Operator):
    def apply(self, x, scale, bias=None, *, axis, epsilon, stash_type):
        axes = tuple(range(axis % x.ndim, x.ndim))
        y = fnnet.layer_norm(x, scale, bias, axes=axes, epsilon=float(epsilon))
        if len(self.onnx_node.output) == 1:
            return y
        return y, x.mean(axes, keepdims=True), jax.lax.rsqrt(x.var(axes, keepdims=True) + epsilon)


class RMSNormalization(Operator):
    def apply(self, x, scale, *, axis, epsilon, stash_type):
        return fnnet.rms_norm(x, scale, axes=tuple(range(axis % x.ndim, x.ndim)), epsilon=float(epsilon))


class InstanceNormalization(Operator):
    def apply(self, x, scale, bias, *, epsilon):
        return first(fnnet.group_norm(last(x), x.shape[1], scale, bias, batch_axes=1, epsilon=float(epsilon)))


class GroupNormalization(Operator):
    def apply(self, x, scale, bias, *, num_groups, epsilon, stash_type=1):
        if self.opset < 21:  # of old, one number a group
            scale, bias = (jnp.repeat(array, x.shape[1] // num_groups) for array in (scale, bias))
        return first(fnnet.group_norm(last(x), num_groups, scale, bias, batch_axes=1, epsilon=float(epsilon)))


def normalised_by(mean: Any, variance: Any, x: Any, scale: Any, bias: Any, epsilon: float) -> Any:
    """Batch normalisation of examples by statistics that are given, as the layer has it outside of training."""
    layer = fnnet.BatchNorm(epsilon=epsilon, scale=scale is not None, bias=bias is not None)
    given = {"scale": scale, "bias": bias, "mean": mean, "variance": variance}
    params = {name: given[name] for name in layer.entries}
    return jax.vmap(functools.partial(layer.apply, params))(x)


class BatchNormalization(Operator):
    def apply(self, x, scale, bias, mean, variance, *, epsilon, momentum, training_mode=0, **of_old):
        if not training_mode:
            return first(normalised_by(mean, variance, last(x), scale, bias, float(epsilon)))
        y, *found = fnnet.batch_norm(last(x), scale, bias, axes=range(x.ndim - 1), epsilon=float(epsilon))
        kept = (momentum * old + (1 - momentum) * new for old, new in zip((mean, variance), found, strict=True))
        return first(y), *(array.astype(x.dtype) for array in kept)


class Softmax(Operator):
    function = staticmethod(fnnet.softmax)

    def apply(self, z, *, axis):
        if self.opset >= 13:
            return self.function(z, axis)
        lead = z.shape[: axis % z.ndim]  # of old, all axes from `axis` on are one
        return self.function(z.reshape(math.prod(lead), -1)).reshape(z.shape)


class LogSoftmax(Softmax):
    function = staticmethod(fnnet.log_softmax)


class SoftmaxCrossEntropyLoss(Operator):
    function: Callable = staticmethod(fnnet.softmax_cross_entropy)

    def apply(self, scores, labels, weights=None, *, ignore_index, reduction):
        loss = functools.partial(self.function, class_weights=weights, ignore_index=ignore_index)
        logits = last(scores)
        value = {"none": loss, "mean": functools.partial(fnnet.mean_loss, loss)}.get(
            reduction, lambda *examples: loss(*examples).sum()
        )(logits, labels)
        if len(self.onnx_node.output) == 1:
            return value
        return value, first(fnnet.log_softmax(logits))


class NegativeLogLikelihoodLoss(SoftmaxCrossEntropyLoss):
    function: Callable = staticmethod(fnnet.negative_log_likelihood)


class Gemm(Operator):
    def apply(self, a, b, c=None, *, alpha, beta, transA, transB, broadcast=None):
        y = alpha.astype(a.dtype) * fnnet.dense(a.T if transA else a, b.T if transB else b)
        return y if c is None else y + beta.astype(a.dtype) * c


class Relu(Operator):
    def apply(self, z):
        return fnnet.relu(z)


class LeakyRelu(Operator):
    def apply(self, z, *, alpha):
        return fnnet.leaky_relu(z, float(alpha))


class Sigmoid(Operator):
    def apply(self, z):
        return fnnet.sigmoid(z)


class Tanh(Operator):
    def apply(self, z):
        return fnnet.tanh(z)


class Softplus(Operator):
    def apply(self, z):
        return fnnet.softplus(z)


class Elu(Operator):
    def apply(self, z, *, alpha):
        return fnnet.elu(z, float(alpha))


class Gelu(Operator):
    def apply(self, z, *, approximate):
        return fnnet.gelu(z, approximate=approximate == "tanh")


class Flatten(Operator):
    def apply(self, x, *, axis):
        axis = axis % x.ndim if axis < 0 else axis
        lead, flatten = math.prod(x.shape[:axis]), functools.partial(fnnet.Flatten().apply, {})
        for _ in range(axis):
            flatten = jax.vmap(flatten)
        return flatten(x).reshape(lead, -1)


OPERATORS = {
    operator.__name__: operator
    for operator in (
        Conv,
        ConvTranspose,
        MaxPool,
        AveragePool,
        GlobalAveragePool,
        GlobalMaxPool,
        LayerNormalization,
        RMSNormalization,
        InstanceNormalization,
        GroupNormalization,
        BatchNormalization,
        Softmax,
        LogSoftmax,
        SoftmaxCrossEntropyLoss,
        NegativeLogLikelihoodLoss,
        Gemm,
        Relu,
        LeakyRelu,
        Sigmoid,
        Tanh,
        Softplus,
        Elu,
        Gelu,
        Flatten,
    )
}
