"""Small programs that XLA compiles wrongly on CPUs by default, each with its right value from NumPy in f64.

CASES = [(name, kind, versions where it is wrong by default, case, reference)]: case() -> (f, args), reference() -> the
value. Those whose name starts with "crash" end the process, under jax.jit(f)(*args).
Kinds: 1 sum of products along short rows; 2 rank 7; 3 product with a broadcast scalar; 4 negative low padding;
5 a negative pad folded into what follows. `x64`: args are float64, so that jax_enable_x64 has to be set.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

OLD, BOTH = ("0.10.2",), ("0.10.2", "0.12.0.1")


def drawn(seed, *shape, dtype="f4"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def f8(a):
    return np.asarray(a, "f8")


CASES: list[tuple] = []


def case(name, kind, versions, f, reference, *args):
    """reference is called with the args in f64, jax's with the args as they are."""
    CASES.append((name, kind, versions, lambda: (f, args), lambda: reference(*map(f8, args))))


# 1: w @ x.T of 2 or 3 rows, contraction 3; a row longer than 128 KiB
w, x = drawn(1, 3, 3), drawn(2, 40000, 3)
case(
    "squares of rows, vmap",
    1,
    OLD,
    lambda w, x: jax.vmap(lambda r: jnp.sum((w @ r) ** 2))(x),
    lambda w, x: ((x @ w.T) ** 2).sum(1),
    w,
    x,
)
case(
    "sum of rows, 32769",
    1,
    OLD,
    lambda w, x: jax.vmap(lambda r: jnp.sum(w @ r))(x),
    lambda w, x: (x @ w.T).sum(1),
    w,
    x[:32769],
)
case("max of rows", 1, OLD, lambda w, x: jax.vmap(lambda r: jnp.max(w @ r))(x), lambda w, x: (x @ w.T).max(1), w, x)
case(
    "two outputs, exp",
    1,
    OLD,
    lambda w, x: jnp.exp(-((w @ x.T) ** 2)).sum(0),
    lambda w, x: np.exp(-((w @ x.T) ** 2)).sum(0),
    w[:2],
    x,
)
case(
    "times another array",
    1,
    OLD,
    lambda w, x, y: ((w @ x.T) * y).sum(0),
    lambda w, x, y: ((w @ x.T) * y).sum(0),
    w,
    x,
    drawn(3, 3, 40000),
)
case(
    "squares of rows, f64, 16385 x64",
    1,
    OLD,
    lambda w, x: jax.vmap(lambda r: jnp.sum((w @ r) ** 2))(x),
    lambda w, x: ((x @ w.T) ** 2).sum(1),
    f8(w),
    f8(x[:16385]),
)
case(
    "smallest of rows, 41000",
    1,
    OLD,
    lambda w, x: (w @ x.T).min(0),
    lambda w, x: (x @ w.T).min(1),
    w,
    drawn(19, 41000, 3),
)

# 2: crashes
s = (3, 1, 2, 2, 8, 8, 8)
case(
    "crash: sum of products, rank 7",
    2,
    OLD,
    lambda a, b: (a * b).sum(3),
    lambda a, b: (a * b).sum(3),
    drawn(4, *s),
    drawn(5, *s),
)
case(
    "crash: exp(a) b, rank 7",
    2,
    OLD,
    lambda a, b: (jnp.exp(a) * b).sum(5),
    lambda a, b: (np.exp(a) * b).sum(5),
    drawn(4, 8, 4, 8, 8, 3, 2, 1),
    drawn(5, 8, 4, 8, 8, 3, 2, 1),
)
case(
    "crash: sum of products, rank 8",
    2,
    OLD,
    lambda a, b: (a * b).sum(2),
    lambda a, b: (a * b).sum(2),
    drawn(4, 8, 2, 2, 8, 2, 1, 8, 8),
    drawn(5, 8, 2, 2, 8, 2, 1, 8, 8),
)
case(
    "crash: three vmaps of a sum of products",
    2,
    OLD,
    lambda a, b: jax.vmap(jax.vmap(jax.vmap(lambda a, b: (a * b).sum(0))))(a, b),
    lambda a, b: (a * b).sum(3),
    drawn(4, *s),
    drawn(5, *s),
)

# 3: x @ a broadcast scalar, then a reduction
a, c = drawn(6, 64, 64), float(np.float32(0.1))
case(
    "full kernel, sum of outputs",
    3,
    BOTH,
    lambda x: (x @ jnp.full((64, 64), 0.1)).sum(1),
    lambda x: (x @ np.full((64, 64), c)).sum(1),
    a,
)
case(
    "full kernel, mean over examples",
    3,
    BOTH,
    lambda x: (x @ jnp.full((64, 64), 0.1)).mean(0),
    lambda x: (x @ np.full((64, 64), c)).mean(0),
    a,
)
case(
    "full kernel, max",
    3,
    BOTH,
    lambda x: (x @ jnp.full((64, 64), 0.1)).max(1),
    lambda x: (x @ np.full((64, 64), c)).max(1),
    a,
)
case(
    "full kernel, squared error",
    3,
    BOTH,
    lambda x, y: ((x @ jnp.full((64, 64), 0.1) - y) ** 2).sum(1),
    lambda x, y: ((x @ np.full((64, 64), c) - y) ** 2).sum(1),
    a,
    drawn(7, 64, 64),
)
case(
    "kernel of ones, plus 1",
    3,
    BOTH,
    lambda x: ((x @ jnp.ones((64, 64)) + 1) ** 2).sum(1),
    lambda x: ((x @ np.ones((64, 64)) + 1) ** 2).sum(1),
    a,
)
case(
    "a scalar argument as kernel",
    3,
    BOTH,
    lambda x, t: ((x @ jnp.broadcast_to(t, (64, 64))) ** 2).sum(1),
    lambda x, t: ((x @ np.full((64, 64), t)) ** 2).sum(1),
    a,
    drawn(8),
)
case(
    "contraction of 2",
    3,
    BOTH,
    lambda x: (x @ jnp.full((2, 64), 0.1)).sum(1),
    lambda x: (x @ np.full((2, 64), c)).sum(1),
    a[:, :2],
)
case(
    "full kernel, f64 x64",
    3,
    BOTH,
    lambda x, y: ((x @ jnp.full((128, 127), 0.5, "f8")) * y).mean((0, 1)),
    lambda x, y: ((x @ np.full((128, 127), 0.5)) * y).mean((0, 1)),
    drawn(9, 65, 128, dtype="f8"),
    drawn(10, 65, 127, dtype="f8"),
)
case(
    "a broadcast row, then a broadcast scalar, under vmap",
    3,
    BOTH,
    lambda x, r: jax.vmap(
        lambda x: ((x @ jnp.broadcast_to(r, (5, 5)) - 0.5).sum(0, keepdims=True) @ jnp.full((5, 32), -0.3)).sum(0)
    )(x),
    lambda x, r: (
        ((x @ np.broadcast_to(r, (5, 5)) - 0.5).sum(1, keepdims=True)) @ np.full((5, 32), float(np.float32(-0.3)))
    ).sum(1),
    drawn(11, 2, 33000, 5),
    drawn(12, 5),
)
case(
    "full 1 x 1 kernel, sum of channels",
    3,
    BOTH,
    lambda x: (
        lax.conv_general_dilated(
            x, jnp.full((1, 1, 128, 128), 0.1), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        ** 2
    ).sum(-1),
    lambda x: ((x @ np.full((128, 128), c)) ** 2).sum(-1),
    drawn(13, 2, 5, 5, 128),
)


# 4, 5
def convolved(x, k, pads):
    """x cropped, padded and correlated with k, along one axis: (N, W, C), (w, C, O), (lo, hi)."""
    lo, hi = pads
    x = x[:, max(-lo, 0) : x.shape[1] - max(-hi, 0)]
    x = np.pad(x, [(0, 0), (max(lo, 0), max(hi, 0)), (0, 0)])
    places = x.shape[1] - len(k) + 1
    return sum(x[:, t : t + places] @ k[t] for t in range(len(k)))


def conv1(x, k, pads):
    return lax.conv_general_dilated(x, k, (1,), [pads], dimension_numbers=("NWC", "WIO", "NWC"))


def conv2(x, k):
    return lax.conv_general_dilated(x, k, (1, 1), [(-1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def convolved2(x, k):
    x = np.pad(x[:, 1:, 1:], [(0, 0), (0, 1), (0, 1), (0, 0)])
    n, m = x.shape[1] - len(k) + 1, x.shape[2] - len(k[0]) + 1
    return sum(x[:, i : i + n, j : j + m] @ k[i, j] for i in range(len(k)) for j in range(len(k[0])))


case(
    "cropped in front, padded behind, 3 channels",
    4,
    OLD,
    conv2,
    convolved2,
    drawn(14, 3, 7, 8, 3),
    drawn(15, 3, 3, 3, 16),
)
case(
    "cropped in front, padded behind, 16 channels, 1 x 1",
    4,
    OLD,
    conv2,
    convolved2,
    drawn(14, 3, 7, 8, 16),
    drawn(15, 1, 1, 16, 3),
)
# the interior 1 on an axis of size 1 does nothing, but keeps XLA from taking the crop for a slice
case(
    "a crop, then a convolution with padding",
    5,
    OLD,
    lambda x, k: conv1(lax.pad(x, np.float32(0), [(0, 0, 1), (-1, 0, 0), (0, 0, 0)]), k, (1, 1)),
    lambda x, k: convolved(x[:, 1:], k, (1, 1)),
    drawn(16, 1, 9, 4),
    drawn(17, 3, 4, 5),
)
case(
    "a crop, then sums of windows with padding",
    5,
    OLD,
    lambda x: lax.reduce_window(
        lax.pad(x, np.float32(0), [(0, 0, 1), (-1, 0, 0)]), np.float32(0), lax.add, (1, 2), (1, 1), [(0, 0), (1, 0)]
    ),
    lambda x: x[:, 1:] + np.pad(x[:, 1:-1], [(0, 0), (1, 0)]),
    drawn(18, 1, 9),
)
