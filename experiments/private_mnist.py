"""Differentially private training on MNIST: DP-SGD with clipped gradients of which none is formed.

    python experiments/private_mnist.py DIRECTORY [--epochs 5] [--batch-size 512] [--noise 1.1] [--compare 5]

DIRECTORY holds MNIST's four IDX files: fnnet.data.fetch("mnist", DIRECTORY) brings them. pip install "fnnet[private]".

A step takes each example with probability batch size / examples, independently of the others: Poisson sampling, as the
accountant supposes. So mini-batches differ in size, and an epoch means examples / batch size steps. Each gradient is
clipped to --max-norm, and Gaussian noise of --noise times that norm added to their sum, which is divided by the
expected size. Mini-batches are padded to the largest of the run by examples that do not count: none is cut off.

epsilon, at --delta, is of adding or removing one example, an upper bound by the privacy loss distribution of
dp-accounting. It holds for ideal real-valued noise from a perfect source; NumPy's and JAX's generators are not made for
secrets, and the noise is in f32. What the choice of these settings tells of the data is not counted.

--compare N then takes N more steps with vmap(grad), which forms every example's gradient, and N without, in turn.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from records import table

import fnnet
from fnnet.cli import presets

SMALL = fnnet.Sequential(
    *(fnnet.Conv(16, 8, stride=2), fnnet.tanh, fnnet.MaxPool(2, stride=1)),
    *(fnnet.Conv(32, 4, stride=2, padding="VALID"), fnnet.tanh, fnnet.MaxPool(2, stride=1)),
    *(fnnet.Flatten(), fnnet.Dense(32), fnnet.tanh, fnnet.Dense(10)),
)  # 26,010 parameters and bounded activations: Papernot et al. (2020), arXiv:2007.14191
NETS = {"small": SMALL, "cnn": presets.cnn(10, (28, 28, 1))}
UNCOUNTED = -1
LOSS = functools.partial(fnnet.softmax_cross_entropy, ignore_index=UNCOUNTED)


class Setting(NamedTuple):
    """What the privacy depends on, besides the number of steps."""

    batch_size: int
    examples: int
    noise: float
    max_norm: float


def by_norms(net: Any, params: Any, xs: Any, ys: Any, *, max_norm: float) -> Any:
    return fnnet.clipped_gradients(net, LOSS, params, xs, ys, max_norm=max_norm)


def by_vmap(net: Any, params: Any, xs: Any, ys: Any, *, max_norm: float) -> Any:
    bars = jax.vmap(jax.grad(lambda params, x, y: LOSS(net.apply(params, x), y)), (None, 0, 0))(params, xs, ys)
    norms = jax.vmap(optax.tree.norm)(bars)
    factors = max_norm / jnp.maximum(norms, max_norm)
    return jax.tree.map(lambda bar: jnp.einsum("n,n...->...", factors, bar), bars)


WAYS = {"clipped_gradients": by_norms, "vmap(grad)": by_vmap}


def samples(rng: np.random.Generator, setting: Setting, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each step the rows of a Poisson sample, padded to one length, and which of them count."""
    sizes = rng.binomial(setting.examples, setting.batch_size / setting.examples, steps)
    for size in sizes:
        rows = np.zeros(sizes.max(), np.int64)
        rows[:size] = rng.choice(setting.examples, size, replace=False)
        yield rows, np.arange(len(rows)) < size


def make_step(way: str, net: Any, setting: Setting, optimizer: Any) -> Any:
    """step((params, opt_state), key, xs, ys) -> the next of both."""

    @jax.jit
    def step(state, key, xs, ys):
        params, opt_state = state
        total, structure = jax.tree.flatten(WAYS[way](net, params, xs, ys, max_norm=setting.max_norm))
        deviation = setting.noise * setting.max_norm
        noisy = [
            (bar + deviation * jax.random.normal(own, bar.shape)) / setting.batch_size
            for own, bar in zip(jax.random.split(key, len(total)), total, strict=True)
        ]
        updates, opt_state = optimizer.update(jax.tree.unflatten(structure, noisy), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return step


def epsilon(setting: Setting, steps: int, delta: float) -> float:
    import dp_accounting

    one = dp_accounting.PoissonSampledDpEvent(
        setting.batch_size / setting.examples, dp_accounting.GaussianDpEvent(setting.noise)
    )
    accountant = dp_accounting.pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    return accountant.compose(one, steps).get_epsilon(delta)


def compared(
    net: Any, state: Any, setting: Setting, optimizer: Any, xs: np.ndarray, ys: np.ndarray, steps: int
) -> dict:
    """Median seconds a step of each way, in turn in this process, on one mini-batch of the expected size."""
    batch, key = (xs[: setting.batch_size], ys[: setting.batch_size]), jax.random.key(0)
    compiled = {way: make_step(way, net, setting, optimizer).lower(state, key, *batch).compile() for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(steps + 1):
        for way, run in compiled.items():
            began = time.perf_counter()
            jax.block_until_ready(run(state, key, *batch))
            seconds[way].append(time.perf_counter() - began)
    return {
        way: (statistics.median(taken[1:]), compiled[way].memory_analysis().temp_size_in_bytes)
        for way, taken in seconds.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("directory")
    add("--net", choices=NETS, default="small")
    add("--epochs", type=int, default=5)
    add("--batch-size", type=int, default=512, help="expected examples in a mini-batch")
    add("--noise", type=float, default=1.1, help="standard deviation over the clipping norm")
    add("--max-norm", type=float, default=1.0, help="each gradient is clipped to this norm")
    add("--learning-rate", type=float, default=0.5)
    add("--momentum", type=float, default=0.9)
    add("--delta", type=float, default=1e-5)
    add("--seed", type=int, default=0)
    add("--compare", type=int, default=0, metavar="STEPS", help="time so many steps against vmap(grad)")
    given = parser.parse_args()

    data = fnnet.data.load(given.directory)
    xs, ys = (np.asarray(array) for array in data.train)
    ys = ys.astype(np.int32)
    setting = Setting(given.batch_size, len(xs), given.noise, given.max_norm)
    net = NETS[given.net]
    optimizer = optax.sgd(given.learning_rate, given.momentum)
    start_key, noise_key = jax.random.split(jax.random.key(given.seed))
    params = net.init(start_key, xs.shape[1:])
    state = params, optimizer.init(params)
    a_epoch = len(xs) // given.batch_size
    step = make_step("clipped_gradients", net, setting, optimizer)
    drawn = samples(np.random.default_rng(given.seed), setting, given.epochs * a_epoch)
    print(f"jax {jax.__version__}, seed {given.seed}, {setting}, delta {given.delta}, {a_epoch} steps an epoch")

    rows, number = [], 0
    for epoch in range(1, given.epochs + 1):
        began = time.perf_counter()
        for _ in range(a_epoch):
            chosen, counts = next(drawn)
            labels = np.where(counts, ys[chosen], UNCOUNTED)
            state = step(state, jax.random.fold_in(noise_key, number), xs[chosen], labels)
            number += 1
        jax.block_until_ready(state)
        seconds = time.perf_counter() - began
        right = fnnet.evaluate(net, state[0], LOSS, data.test)["accuracy"]
        rows.append((epoch, f"{100 * right:.2f} %", f"{epsilon(setting, number, given.delta):.2f}", f"{seconds:.1f}"))
        print(f"epoch {epoch}: {rows[-1][1]} right, epsilon {rows[-1][2]}, {rows[-1][3]} s", flush=True)
    if rows:
        print(table(("epoch", "right", "epsilon", "seconds"), rows))

    if given.compare:
        times = compared(net, state, setting, optimizer, xs, ys, given.compare)
        lines = [(way, f"{1e3 * s:.0f}", f"{s * a_epoch:.1f}", f"{size / 1e6:.0f}") for way, (s, size) in times.items()]
        print(table(("way", "ms a step", "seconds an epoch", "temporary MB"), lines))


if __name__ == "__main__":
    main()
