"""PyTorch's OpInfo sample inputs of fnnet's operators, in f64: torch's autograd is the oracle.

Compared entry by entry are the value, the gradient of every tensor that requires one, from a random cotangent, and,
where torch gives second derivatives, the derivative of those gradients in random directions, by every tensor and by the
cotangent.
"""

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import torch

from external.torch_operators import OPERATORS, plain
from fnnet.checking.contract import compare
from fnnet.checking.programs import compiler_options

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

TOLERANCE = 1e-11
TOLERANCES = {("nn.functional.binary_cross_entropy", "second derivative"): 1e-9}  # torch adds 1e-12 to p (1 - p) there
CANCEL = ("layer_norm", "rms_norm", "group_norm", "instance_norm", "batch_norm", "scaled_dot_product_attention")
NATIVE = tuple(f"native_{name}" for name in ("layer_norm", "group_norm", "batch_norm"))
ROUNDING = dict.fromkeys((*(f"nn.functional.{name}" for name in CANCEL), *NATIVE), 1e-12)  # sums whose terms cancel
FAILS_TWICE = ("native_layer_norm",)  # torch raises for the second derivative of a bias without a weight
SAMPLES = "PyTorch: sample inputs"


@functools.cache
def infos() -> dict[str, Any]:
    """The OpInfos of fnnet's operators that have f64, by name and variant."""
    return {
        f"{info.name} {info.variant_test_name}".strip(): info
        for info in op_db
        if info.name in OPERATORS and torch.float64 in info.dtypes
    }


def samples(info: Any) -> Iterator[Any]:
    """The sample inputs, always the same; of the adaptive poolings those of one place, which are the global ones."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample in info.sample_inputs("cpu", torch.float64, requires_grad=True):
            if "adaptive" not in info.name or set(np.ravel(sample.args[0])) == {1}:
                yield sample


def check(info: Any, sample: Any) -> str | None:
    """What is wrong with fnnet's value, gradients or second derivatives of this sample."""
    arguments = (sample.input, sample.args, plain(info.name, sample.kwargs))
    leaves, tree = jax.tree.flatten(arguments, is_leaf=lambda leaf: leaf is None)
    tensors = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)}
    moving = tuple(i for i, tensor in tensors.items() if tensor.requires_grad)
    static = tuple(
        (i, str(leaf) if isinstance(leaf, torch.dtype) else leaf) for i, leaf in enumerate(leaves) if i not in tensors
    )

    theirs, cotangent, directions = by_torch(info, sample, [tensors[i] for i in moving])
    arrays = {i: tensor.detach().numpy() for i, tensor in tensors.items()}
    with jax.enable_x64(True):
        ours = program(info.name, tree, static, moving, info.supports_gradgrad)(arrays, cotangent, directions)
    for what, bars in theirs.items():
        given = ours[what][: len(bars)] if what == "value" else ours[what]  # indices that torch was not asked for
        for number, (bar, expected) in enumerate(zip(given, bars, strict=True)):
            wrong = compare(
                f"{what} {number}",
                bar,
                expected,
                TOLERANCES.get((info.name, what), TOLERANCE),
                ROUNDING.get(info.name, 0.0),
            )
            if wrong:
                return wrong[0]
    return None


def by_torch(info: Any, sample: Any, moving: list[torch.Tensor]) -> tuple[dict[str, list], np.ndarray, list]:
    """Torch's values, gradients and second derivatives, and the random cotangent and directions that they are from."""
    plainly = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)  # the one with second derivatives
    with warnings.catch_warnings(), plainly:
        warnings.simplefilter("ignore")  # such as that an even kernel makes torch copy
        outputs = info.op(sample.input, *sample.args, **sample.kwargs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    cotangent = torch.randn_like(outputs[0]).requires_grad_()
    bars = torch.autograd.grad(outputs[0], moving, cotangent, create_graph=info.supports_gradgrad)
    directions = [torch.randn_like(tensor) for tensor in moving]
    theirs = {"value": outputs, "gradient": bars}
    if info.supports_gradgrad:
        try:
            theirs["second derivative"] = torch.autograd.grad(
                bars, [*moving, cotangent], directions, allow_unused=True, materialize_grads=True
            )
        except RuntimeError:
            if info.name not in FAILS_TWICE:
                raise
    found = {what: [tensor.detach().numpy() for tensor in tensors] for what, tensors in theirs.items()}
    return found, cotangent.detach().numpy(), [direction.numpy() for direction in directions]


@functools.lru_cache(maxsize=64)
def program(name: str, tree: Any, static: tuple, moving: tuple[int, ...], twice: bool) -> Callable:
    """fnnet's values, gradients and second derivatives, compiled."""

    def run(arrays: dict[int, Any], cotangent: Any, directions: list) -> dict[str, Any]:
        def values(at: list) -> tuple:
            leaves = {**dict(static), **arrays, **dict(zip(moving, at, strict=True))}
            given, args, kwargs = jax.tree.unflatten(tree, [leaves[i] for i in range(len(leaves))])
            outputs = OPERATORS[name](given, *args, **kwargs)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return outputs[0], outputs

        def gradients(at: list, cotangent: Any) -> tuple[list, tuple]:
            outputs: tuple
            _, pull, outputs = jax.vjp(values, at, has_aux=True)
            return pull(cotangent)[0], outputs

        at = [arrays[i] for i in moving]
        if not twice:
            bars, outputs = gradients(at, cotangent)
            return {"value": outputs, "gradient": bars}
        bars, pull, outputs = jax.vjp(gradients, at, cotangent, has_aux=True)  # once for all, since tracing takes time
        of_inputs, of_cotangent = pull(directions)
        return {"value": outputs, "gradient": bars, "second derivative": [*of_inputs, of_cotangent]}

    return jax.jit(run, compiler_options=compiler_options())
