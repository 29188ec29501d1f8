"""The options with which fnnet compiles, and the faults of XLA on CPUs that they avoid.

On a CPU, XLA gives products and sums to the library YNNPACK: single ones, and several fused into one call. Some of the
fused calls are wrong or crash. `safe_options` lets XLA give YNNPACK single products and convolutions alone. fnnet
compiles everything with these options and is not slower for it: docs/xla_faults.md has the figures.

`FAULTS` has every fault that is known, each with a probe: a small program that shows whether it is live.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnnet.core import onednn

ALONE = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT", "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
SAFE = {"xla_cpu_experimental_ynn_fusion_type": ",".join(ALONE)}
Options = Mapping[str, Any] | None


def safe_options() -> dict[str, Any]:
    """Options for XLA that avoid its known faults in fused products and sums on CPUs.

    `fit`, `evaluate`, `check`, `trace`, exported networks and functions called outside of `jax.jit` have them already.
    Give them to a `jax.jit` of your own, the outermost one: JAX takes them nowhere else. For a whole process, set the
    environment variable XLA_FLAGS instead, before JAX starts: docs/xla_faults.md. After `fnnet.use_onednn` they leave
    convolutions to oneDNN.

    Returns:
        A new dictionary for `jax.jit(..., compiler_options=...)`; empty where XLA does not know the option, which is
        where it does not have the faults. On a GPU or TPU the options change nothing.

    Example:
        >>> import jax, jax.numpy as jnp, fnnet
        >>> step = jax.jit(lambda x: (x @ jnp.full((64, 64), 0.5)).sum(-1), compiler_options=fnnet.safe_options())
        >>> print(step(jnp.ones((2, 64))))
        [2048. 2048.]
    """
    if not _is_known():
        return {}
    return SAFE | {name: ALONE[0] for name in SAFE} if onednn.is_used() else dict(SAFE)


@functools.cache
def _is_known() -> bool:
    """Whether this version of XLA has the option: an unknown one fails when something is compiled."""
    try:
        jax.jit(lambda: 0, compiler_options=SAFE).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


class Fault(NamedTuple):
    """A known fault of XLA on CPUs.

    Attributes:
        name: In a few words.
        report: The public report.
        versions: Of jaxlib, where it was seen.
        programs: Which programs it hits.
        avoided: How to avoid it.
        primitives: The operations that a program has in which it may be.
        probe: probe(options) -> (what XLA computes, what is right), or ends the process.
    """

    name: str
    report: str
    versions: str
    programs: str
    avoided: str
    primitives: frozenset[str]
    probe: Callable[[Options], tuple[np.ndarray, np.ndarray]]


def _compiled(function: Callable, options: Options, *args: Any) -> np.ndarray:
    return np.asarray(jax.jit(function, compiler_options=None if options is None else dict(options))(*args))


def _drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _many_rows(options: Options) -> tuple[np.ndarray, np.ndarray]:
    rows, matrix = _drawn(40_000, 3), _drawn(3, 3)
    found = _compiled(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)), options, rows)
    return found, ((rows.astype(np.float64) @ matrix.T) ** 2).sum(1)


def _high_rank(options: Options) -> tuple[np.ndarray, np.ndarray]:
    a = _drawn(3, 1, 2, 2, 8, 8, 8)
    return _compiled(lambda a, b: (a * b).sum(3), options, a, a), (a.astype(np.float64) ** 2).sum(3)


def _constant(options: Options) -> tuple[np.ndarray, np.ndarray]:
    x = _drawn(64, 64)
    found = _compiled(lambda x: ((x @ jnp.full((64, 64), 0.1)) ** 2).sum(-1), options, x)
    return found, 64 * (0.1 * x.astype(np.float64).sum(1)) ** 2


def _negative_padding(options: Options) -> tuple[np.ndarray, np.ndarray]:
    x, kernel = _drawn(1, 15, 6, 8), np.eye(8, dtype=np.float32)[None, None]

    def cropped(x: Any, kernel: Any) -> Any:
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), ((0, 0), (-5, 1)), dimension_numbers=dimensions)

    return _compiled(cropped, options, x, kernel), np.concatenate([x[:, :, 5:], np.zeros_like(x[:, :, :1])], 2)


def _folded_crop(options: Options) -> tuple[np.ndarray, np.ndarray]:
    x = np.array([[669.0, -763.0]], np.float32)

    def cropped(x: Any) -> Any:
        x = jax.lax.pad(x, jnp.float32(0), [(0, 0, 1), (-1, 0, 0)])
        return jax.lax.reduce_window(x, jnp.float32(0), jax.lax.add, (1, 2), (1, 1), ((0, 0), (1, 0)))

    return _compiled(cropped, options, x), np.array([[-763.0]])


BY_OPTIONS = "jax.jit(..., compiler_options=fnnet.safe_options())"

MANY_ROWS = Fault(
    "product, then a sum over its rows",
    "jax-ml/jax#39103",
    "0.10.2",
    "w @ x.T, w of 2 or 3 rows and 3 columns, x of 32,769 to about 43,600 rows, reduced over w's rows",
    BY_OPTIONS,
    frozenset({"dot_general"}),
    _many_rows,
)
HIGH_RANK = Fault(
    "sum of products of rank 7 or more",
    "jax-ml/jax#40412, jax-ml/jax#39257",
    "0.10.2, 0.11.0",
    "(a * b).sum(axis) over one axis of 7 or more: the process crashes or hangs",
    BY_OPTIONS,
    frozenset({"mul", "reduce_sum"}),
    _high_rank,
)
CONSTANT = Fault(
    "product with a constant",
    "not reported",
    "0.10.2, 0.12.0.1",
    "x @ k with k one number broadcast, of 4,096 entries or more, reduced",
    BY_OPTIONS,
    frozenset({"dot_general", "broadcast_in_dim"}),
    _constant,
)
NEGATIVE_PADDING = Fault(
    "convolution that crops and pads",
    "openxla/xla#48713",
    "0.10.2",
    "a convolution in f32 of at most 16 channels, padding negative at the low end and positive at the high; alone, too",
    "crop by slicing, compute that, then convolve; fnnet.conv is right",
    frozenset({"conv_general_dilated"}),
    _negative_padding,
)
FOLDED_CROP = Fault(
    "crop merged into a window",
    "openxla/xla#48715",
    "0.10.2",
    "jax.lax.pad with a negative size whose result goes into a reduce_window or a convolution with padding",
    "crop by slicing, and compute that first",
    frozenset({"pad"}),
    _folded_crop,
)
FAULTS = (MANY_ROWS, HIGH_RANK, CONSTANT, NEGATIVE_PADDING, FOLDED_CROP)
