"""Each rule of today's networks beside autodiff of the usual code and beside PyTorch: time, and temporary memory.

    OMP_WAIT_POLICY=PASSIVE python experiments/rules_timed.py [ROW ...] [--seconds S] [--without-torch]

A row is one computation with all its gradients, compiled by `jax.jit` as a user would, or by PyTorch operation by
operation (channels last, where there are channels). All are called in turn in one process, in reversed order every
other round, and the medians of the rounds' ratios are shown. Memory is what XLA says of the compiled program. PyTorch's
threads would spin while XLA's compute, were they not told to wait.
"""

import argparse
import functools
import itertools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import fnnet

Calls = dict[str, Callable]
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


def plain_norm(x: Any, scale: Any, bias: Any, axes: tuple[int, ...]) -> Any:
    """As Flax computes it: the variance by the mean of squares."""
    mean, of_squares = x.mean(axes, keepdims=True), jnp.square(x).mean(axes, keepdims=True)
    variance = jnp.maximum(of_squares - jnp.square(mean), 0)
    return (x - mean) * (lax.rsqrt(variance + 1e-5) * scale) + bias


def plain_group_norm(x: Any, scale: Any, bias: Any) -> Any:
    apart = x.reshape(*x.shape[:-1], 8, -1)
    one = jnp.ones((), x.dtype)
    return jax.nn.relu(plain_norm(apart, one, 0 * one, (1, 2, 4)).reshape(x.shape) * scale + bias)


def norm(plain: Callable, ours: Callable, by_torch: Callable, *shape: int) -> Callable:
    def make(torch: Any) -> tuple:
        args = normal(*shape), normal(*shape), normal(shape[-1]), normal(shape[-1])
        call = torch and gradients_of(torch, functools.partial(by_torch, torch.nn.functional), *args)
        return pulled(plain), pulled(ours), args, call

    return make


IMAGES = 128, 28, 28, 32
row("layer norm 8192 x 256")(
    norm(
        functools.partial(plain_norm, axes=(-1,)),
        fnnet.layer_norm,
        lambda F, x, s, b: F.layer_norm(x, (256,), s, b),
        8192,
        256,
    )
)
row("batch norm 128 x 28 x 28 x 32")(
    norm(
        functools.partial(plain_norm, axes=(0, 1, 2)),
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


# Whole steps: loss and gradients


@row("GPT step: width 256, 4 heads, 4 layers, 256 tokens, batch 16, vocabulary 8192")
def gpt(torch: Any) -> tuple:
    layers, width, heads, length, batch, vocabulary = 4, 256, 4, 256, 16, 8192

    def norm_params() -> tuple:
        return np.ones(width, np.float32), np.zeros(width, np.float32)

    def block() -> dict:
        kernels = {
            name: normal(*shape, scale=0.02)
            for name, shape in {
                "qkv": (width, 3 * width),
                "out": (width, width),
                "up": (width, 4 * width),
                "down": (4 * width, width),
            }.items()
        }
        return kernels | {"norm_1": norm_params(), "norm_2": norm_params()}

    params = {
        "rows": normal(vocabulary, width, scale=0.02),
        "places": normal(length, width, scale=0.02),
        "head": normal(width, vocabulary, scale=0.02),
        "norm": norm_params(),
        "blocks": [block() for _ in range(layers)],
    }
    tokens, labels = (RNG.integers(0, vocabulary, (batch, length)).astype(np.int32) for _ in range(2))

    def loss(params: Any, tokens: Any, labels: Any, rules: tuple) -> Any:
        embedding, norm, attention, gelu, last = rules
        x = embedding(params["rows"], tokens) + params["places"]
        for own in params["blocks"]:
            q, k, v = jnp.split(norm(x, *own["norm_1"]) @ own["qkv"], 3, -1)
            q, k, v = (a.reshape(*a.shape[:-1], heads, -1) for a in (q, k, v))
            x = x + attention(q, k, v).reshape(x.shape) @ own["out"]
            x = x + gelu(norm(x, *own["norm_2"]) @ own["up"]) @ own["down"]
        return last(norm(x, *params["norm"]).reshape(-1, width), params["head"], labels.reshape(-1))

    usual = (
        lambda table, indices: table[indices],
        functools.partial(plain_norm, axes=(-1,)),
        functools.partial(jax.nn.dot_product_attention, is_causal=True, implementation="xla"),
        jax.nn.gelu,
        plain_loss,
    )
    own = (
        fnnet.embedding,
        fnnet.layer_norm,
        functools.partial(fnnet.attention, causal=True),
        functools.partial(fnnet.gelu, approximate=True),
        functools.partial(fnnet.linear_softmax_cross_entropy, reduction="mean"),
    )
    steps = (jax.value_and_grad(functools.partial(loss, rules=rules)) for rules in (usual, own))
    return *steps, (params, tokens, labels), torch and gpt_by_torch(torch, params, tokens, labels, heads)


def gpt_by_torch(torch: Any, params: Any, tokens: Any, labels: Any, heads: int) -> Callable:
    functional = torch.nn.functional
    tree = jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), params)
    width, (batch, length) = params["head"].shape[0], tokens.shape
    tokens, labels = (torch.tensor(a).long() for a in (tokens, labels))

    def normed(x: Any, own: tuple) -> Any:
        return functional.layer_norm(x, (width,), *own)

    def call() -> None:
        for leaf in jax.tree.leaves(tree):
            leaf.grad = None
        x = functional.embedding(tokens, tree["rows"]) + tree["places"]
        for own in tree["blocks"]:
            qkv = (normed(x, own["norm_1"]) @ own["qkv"]).chunk(3, -1)
            several = (a.view(batch, length, heads, -1).transpose(1, 2) for a in qkv)
            seen = functional.scaled_dot_product_attention(*several, is_causal=True)
            x = x + seen.transpose(1, 2).reshape(batch, length, width) @ own["out"]
            x = x + functional.gelu(normed(x, own["norm_2"]) @ own["up"], approximate="tanh") @ own["down"]
        logits = normed(x, tree["norm"]) @ tree["head"]
        functional.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1)).backward()

    return call


@row("ResNet-20 step: batch 128, 32 x 32 x 3")
def resnet(torch: Any) -> tuple:
    return resnet_step(torch, 128)


@row("ResNet-20 step: batch 32")
def small_resnet(torch: Any) -> tuple:
    return resnet_step(torch, 32)


def resnet_step(torch: Any, batch: int) -> tuple:
    def normed(window: int, inputs: int, outputs: int) -> tuple:
        kernel = normal(window, window, inputs, outputs, scale=(2 / (window * window * inputs)) ** 0.5)
        return kernel, np.ones(outputs, np.float32), np.zeros(outputs, np.float32)

    widths = [16] * 4 + [32] * 3 + [64] * 3
    pairs = list(itertools.pairwise(widths))
    blocks = [
        {"first": normed(3, i, o), "second": normed(3, o, o)} | ({"shortcut": normed(1, i, o)} if i != o else {})
        for i, o in pairs
    ]
    params = {"first": normed(3, 3, 16), "blocks": blocks, "head": normal(64, 10, scale=0.1)}
    xs, labels = normal(batch, 32, 32, 3), RNG.integers(0, 10, batch).astype(np.int32)

    def loss(params: Any, xs: Any, labels: Any, rules: tuple) -> Any:
        convolved, norm, relu, last = rules

        def unit(x: Any, own: tuple, stride: int = 1) -> Any:
            return norm(convolved(x, own[0], stride), *own[1:])

        x = relu(unit(xs, params["first"]))
        for own in params["blocks"]:
            stride = 2 if "shortcut" in own else 1
            inside = unit(relu(unit(x, own["first"], stride)), own["second"])
            x = relu(inside + (unit(x, own["shortcut"], 2) if stride == 2 else x))
        return last(x.mean((1, 2)) @ params["head"], labels)

    def plain_conv(x: Any, kernel: Any, stride: int) -> Any:
        sides = ((kernel.shape[0] // 2,) * 2,) * 2
        dims = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (stride, stride), sides, dimension_numbers=dims)

    def own_conv(x: Any, kernel: Any, stride: int) -> Any:
        one = functools.partial(fnnet.conv, kernel=kernel, stride=stride, padding=kernel.shape[0] // 2)
        return jax.vmap(one)(x)

    def plain_last(logits: Any, labels: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()

    usual = plain_conv, functools.partial(plain_norm, axes=(0, 1, 2)), jax.nn.relu, plain_last
    own = (
        own_conv,
        lambda x, s, b: fnnet.batch_norm(x, s, b, axes=(0, 1, 2))[0],
        fnnet.relu,
        lambda logits, labels: fnnet.softmax_cross_entropy(logits, labels).mean(),
    )
    steps = (jax.value_and_grad(functools.partial(loss, rules=rules)) for rules in (usual, own))
    return *steps, (params, xs, labels), torch and resnet_by_torch(torch, params, xs, labels)


def resnet_by_torch(torch: Any, params: Any, xs: Any, labels: Any) -> Callable:
    functional = torch.nn.functional

    def tensor(a: np.ndarray) -> Any:
        if a.ndim != 4:
            return torch.tensor(a, requires_grad=True)
        moved = torch.tensor(np.moveaxis(a, (3, 2), (0, 1)).copy()).to(memory_format=torch.channels_last)
        return moved.requires_grad_()

    tree = jax.tree.map(tensor, params)
    images = torch.tensor(np.moveaxis(xs, -1, 1).copy()).to(memory_format=torch.channels_last)
    classes = torch.tensor(labels).long()

    def unit(x: Any, own: tuple, stride: int = 1) -> Any:
        y = functional.conv2d(x, own[0], stride=stride, padding=own[0].shape[-1] // 2)
        return functional.batch_norm(y, None, None, *own[1:], training=True)

    def call() -> None:
        for leaf in jax.tree.leaves(tree):
            leaf.grad = None
        x = functional.relu(unit(images, tree["first"]))
        for own in tree["blocks"]:
            stride = 2 if "shortcut" in own else 1
            inside = unit(functional.relu(unit(x, own["first"], stride)), own["second"])
            x = functional.relu(inside + (unit(x, own["shortcut"], 2) if stride == 2 else x))
        functional.cross_entropy(x.mean((2, 3)) @ tree["head"], classes).backward()

    return call


def measured(name: str, torch: Any, seconds: float, options: dict | None) -> str:
    """A line of the table."""
    plain, ours, args, by_torch = ROWS[name](torch)
    args = jax.tree.map(jnp.asarray, args)
    programs = {
        "autodiff": jax.jit(plain).lower(*args).compile(),
        "fnnet": jax.jit(ours).lower(*args).compile(compiler_options=options),
    }
    answers = {key: program(*args) for key, program in programs.items()}
    worst = max(map(_difference, *map(jax.tree.leaves, answers.values())))
    calls: Calls = {key: functools.partial(_waited, program, args) for key, program in programs.items()}
    calls |= {"torch": by_torch} if by_torch else {}
    taken = _alternated(calls, seconds)
    memory = [_temporary(program) for program in programs.values()]

    def ratio(other: str) -> str:
        pairs = zip(taken["fnnet"], taken.get(other, ()), strict=False)
        ratios = [a / b for a, b in pairs]
        return f"{statistics.median(ratios):.2f}" if ratios else "-"

    shown = " / ".join(f"{1e3 * statistics.median(own):.2f}" for own in taken.values())
    megabytes = " / ".join(f"{size / 2**20:.1f}" for size in memory)
    cells = ratio("autodiff"), f"{memory[1] / max(memory[0], 1):.3f}", ratio("torch"), shown, megabytes
    return f"| {name} | {' | '.join(cells)} | {len(taken['fnnet'])} | {worst:.0e} |"


def _temporary(program: Any) -> int:
    """Bytes beside arguments and outputs."""
    return program.memory_analysis().temp_size_in_bytes


def _waited(program: Callable, args: tuple) -> None:
    jax.block_until_ready(program(*args))


def _difference(a: Any, b: Any) -> float:
    return float(jnp.abs(a - b).max() / (jnp.abs(a).max() + 1e-30))


def _alternated(calls: Calls, seconds: float) -> dict[str, list[float]]:
    for call in calls.values():
        call()
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    while len(taken["fnnet"]) < 5 or time.perf_counter() - began < seconds:
        for name, call in list(calls.items())[:: 1 if len(taken["fnnet"]) % 2 else -1]:
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return taken


def main() -> None:
    """The table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="parts of the rows' names; all where there are none")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each row; at least 5 rounds (default: 10)")
    parser.add_argument("--without-torch", action="store_true", help="JAX alone")
    parser.add_argument("--safe", action="store_true", help="fnnet's programs with the options of fnnet.fit")
    arguments = parser.parse_args()
    fnnet.keep_memory()
    torch = None
    if not arguments.without_torch:
        import torch  # type: ignore[no-redef]
    wanted = arguments.rows or [""]
    options = fnnet.safe_options() if arguments.safe else None
    print(f"jax {jax.__version__}, {os.cpu_count()} cores" + (f", torch {torch.__version__}" if torch else ""))
    heads = "time / autodiff's", "memory / autodiff's", "time / PyTorch's", "ms", "MB", "rounds", "worst difference"
    print("| | " + " | ".join(heads) + " |")
    print("|" + "---|" * 8)
    for name in ROWS:
        if any(part in name for part in wanted):
            print(measured(name, torch, arguments.seconds, options), flush=True)


if __name__ == "__main__":
    main()
