"""The rows of single rules: the usual code, the rule, and PyTorch."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks.contestants.plain_lax import normalised
from jax import lax

import fnnet

ROWS: dict[str, Callable[[Any], tuple[Callable, Callable, tuple, Callable | None]]] = {}
RNG = np.random.default_rng(0)


def row(name: str) -> Callable:
    """Adds a row: make(torch) -> autodiff(*args), by_rule(*args), args, and PyTorch's call or None."""
    return lambda make: ROWS.setdefault(name, make)


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    """Drawn numbers in f32."""
    return (scale * RNG.normal(size=shape)).astype(np.float32)


def pulled(function: Callable) -> Callable:
    """(y_bar, *args) -> the output and the gradients of all args."""

    def run(y_bar: Any, *args: Any) -> tuple:
        y, pull = jax.vjp(function, *args)
        return y, *pull(y_bar)

    return run


def gradients_of(torch: Any, function: Callable, y_bar: np.ndarray, *args: np.ndarray) -> Callable:
    """PyTorch's call: the same gradients by its autograd."""
    tensors = [torch.tensor(a, requires_grad=True) for a in args]
    cotangent = torch.tensor(y_bar)

    def call() -> None:
        for tensor in tensors:
            tensor.grad = None
        function(*tensors).backward(cotangent)

    return call


# Attention


def attention(batch: int, length: int, heads: int, causal: bool) -> Callable:
    def make(torch: Any) -> tuple:
        args = [normal(batch, length, heads, 64) for _ in range(4)]

        def by_torch(q: Any, k: Any, v: Any) -> Any:
            several = (a.transpose(1, 2) for a in (q, k, v))
            return torch.nn.functional.scaled_dot_product_attention(*several, is_causal=causal).transpose(1, 2)

        by_rule = functools.partial(fnnet.attention, causal=causal)
        plain = functools.partial(jax.nn.dot_product_attention, is_causal=causal, implementation="xla")
        return pulled(plain), pulled(by_rule), tuple(args), torch and gradients_of(torch, by_torch, *args)

    return make


row("attention 8 x 256, 4 heads, causal")(attention(8, 256, 4, True))
row("attention 2 x 1024, 8 heads, causal")(attention(2, 1024, 8, True))
row("attention 1 x 4096, 8 heads")(attention(1, 4096, 8, False))


# The last layer and its loss


def plain_loss(x: Any, kernel: Any, labels: Any) -> Any:
    log_p = jax.nn.log_softmax(x @ kernel)
    return -jnp.take_along_axis(log_p, labels[:, None], 1).mean()


def last_layer(vocabulary: int) -> Callable:
    def make(torch: Any) -> tuple:
        x, kernel = normal(4096, 256), normal(256, vocabulary, scale=0.05)
        labels = RNG.integers(0, vocabulary, 4096).astype(np.int32)

        def by_rule(x: Any, kernel: Any, labels: Any) -> Any:
            return fnnet.linear_softmax_cross_entropy(x, kernel, labels, reduction="mean")

        def by_torch(x: Any, kernel: Any) -> Any:
            return torch.nn.functional.cross_entropy(x @ kernel, torch.tensor(labels).long())

        plain, ours = (jax.value_and_grad(loss, (0, 1)) for loss in (plain_loss, by_rule))
        call = torch and gradients_of(torch, by_torch, np.ones((), np.float32), x, kernel)
        return plain, ours, (x, kernel, labels), call

    return make


row("linear + cross-entropy, 8192 classes")(last_layer(8192))
row("linear + cross-entropy, 50257 classes")(last_layer(50257))


# Norms


def plain_group_norm(x: Any, scale: Any, bias: Any) -> Any:
    apart = x.reshape(*x.shape[:-1], 8, -1)
    one = jnp.ones((), x.dtype)
    return jax.nn.relu(normalised(apart, one, 0 * one, (1, 2, 4)).reshape(x.shape) * scale + bias)


def norm(plain: Callable, ours: Callable, by_torch: Callable, *shape: int) -> Callable:
    def make(torch: Any) -> tuple:
        args = normal(*shape), normal(*shape), normal(shape[-1]), normal(shape[-1])
        call = torch and gradients_of(torch, functools.partial(by_torch, torch.nn.functional), *args)
        return pulled(plain), pulled(ours), args, call

    return make


IMAGES = 128, 28, 28, 32
row("layer norm 8192 x 256")(
    norm(
        functools.partial(normalised, axes=(-1,)),
        fnnet.layer_norm,
        lambda F, x, s, b: F.layer_norm(x, (256,), s, b),
        8192,
        256,
    )
)
row("batch norm 128 x 28 x 28 x 32")(
    norm(
        functools.partial(normalised, axes=(0, 1, 2)),
        lambda x, s, b: fnnet.batch_norm(x, s, b, axes=(0, 1, 2))[0],
        lambda F, x, s, b: F.batch_norm(x.permute(0, 3, 1, 2), None, None, s, b, training=True).permute(0, 2, 3, 1),
        *IMAGES,
    )
)
row("group norm + relu, the same")(
    norm(
        plain_group_norm,
        lambda x, s, b: fnnet.relu(fnnet.group_norm(x, 8, s, b, batch_axes=1)),
        lambda F, x, s, b: F.relu(F.group_norm(x.permute(0, 3, 1, 2), 8, s, b)).permute(0, 2, 3, 1),
        *IMAGES,
    )
)


# Recurrence: 64 steps, a batch of 32, width 128


def plain_lstm(xs: Any, w: Any, u: Any, b: Any) -> Any:
    def step(carry: tuple, x: Any) -> tuple:
        h, c = carry
        i, f, g, o = jnp.split(x @ w + h @ u + b, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((xs.shape[0], u.shape[0]), xs.dtype)
    return lax.scan(step, (zero, zero), xs.swapaxes(0, 1))[1].swapaxes(0, 1)


def plain_gru(xs: Any, w: Any, u: Any, b: Any, recurrent_bias: Any) -> Any:
    def step(h: Any, x: Any) -> tuple:
        (r, z, n), (hr, hz, hn) = jnp.split(x @ w + b, 3, -1), jnp.split(h @ u + recurrent_bias, 3, -1)
        r, z = jax.nn.sigmoid(r + hr), jax.nn.sigmoid(z + hz)
        h = (1 - z) * jnp.tanh(n + r * hn) + z * h
        return h, h

    zero = jnp.zeros((xs.shape[0], u.shape[0]), xs.dtype)
    return lax.scan(step, zero, xs.swapaxes(0, 1))[1].swapaxes(0, 1)


def recurrent(plain: Callable, ours: Callable, module: str, gates: int, biases: int) -> Callable:
    def make(torch: Any) -> tuple:
        xs, ys_bar = normal(32, 64, 128), normal(32, 64, 128)
        kernels = [normal(128, gates * 128, scale=0.08) for _ in range(2)]
        args = ys_bar, xs, *kernels, *(normal(gates * 128, scale=0.1) for _ in range(biases))
        call = None
        if torch:
            own = getattr(torch.nn, module)(128, 128, batch_first=True)
            tensor, cotangent = torch.tensor(xs, requires_grad=True), torch.tensor(ys_bar)

            def call() -> None:
                tensor.grad = None
                own.zero_grad()
                own(tensor)[0].backward(cotangent)

        return pulled(plain), pulled(ours), args, call

    return make


row("LSTM 64 steps, batch 32, width 128")(recurrent(plain_lstm, lambda *a: fnnet.lstm(*a)[0], "LSTM", 4, 1))
row("GRU, the same")(
    recurrent(plain_gru, lambda xs, w, u, b, c: fnnet.gru(xs, w, u, b, recurrent_bias=c)[0], "GRU", 3, 2)
)


@row("transposed convolution 3 x 3, stride 2")
def transposed(torch: Any) -> tuple:
    x, kernel, bias = normal(128, 14, 14, 64), normal(3, 3, 64, 32, scale=0.05), normal(32)

    def plain(x: Any, kernel: Any, bias: Any) -> Any:
        dims = ("NHWC", "HWIO", "NHWC")
        padding = ((1, 2), (1, 2))  # PyTorch's padding 1 and output padding 1
        dilated = {"lhs_dilation": (2, 2), "dimension_numbers": dims}
        return lax.conv_general_dilated(x, kernel[::-1, ::-1], (1, 1), padding, **dilated) + bias  # type: ignore[arg-type]

    def ours(x: Any, kernel: Any, bias: Any) -> Any:
        return jax.vmap(lambda x: fnnet.conv_transpose(x, kernel, bias, stride=2, padding=1, output_padding=1))(x)

    args = normal(128, 28, 28, 32), x, kernel, bias

    def by_torch(x: Any, kernel: Any, bias: Any) -> Any:
        y = torch.nn.functional.conv_transpose2d(
            x.permute(0, 3, 1, 2), kernel.permute(2, 3, 0, 1), bias, stride=2, padding=1, output_padding=1
        )
        return y.permute(0, 2, 3, 1)

    return pulled(plain), pulled(ours), args, torch and gradients_of(torch, by_torch, *args)
