"""The programs of all contestants that run on JAX: what they are given differs, how it is run and timed does not."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.contestants import Program
from benchmarks.tasks import LEARNING_RATE, PerExample, Product, Rule, Stream, Training


class Model(NamedTuple):
    """A network with its parameters.

    Attributes:
        params: A tree of arrays.
        loss: loss(params, xs, ys), the mean over a mini-batch.
        example_loss: example_loss(params, x, y) of one example.
        logits: logits(params, xs) of a mini-batch.
    """

    params: Any
    loss: Callable
    example_loss: Callable
    logits: Callable


def model_of(params: Any, logits: Callable) -> Model:
    """With optax's cross-entropy, as users of other libraries take it."""

    def loss(params: Any, xs: Any, ys: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(logits(params, xs), ys).mean()

    return Model(params, loss, lambda params, x, y: loss(params, x[None], y[None]), logits)


class State(NamedTuple):
    """What a step changes."""

    params: Any
    opt_state: Any


ADAM = optax.adam(LEARNING_RATE)


def start(params: Any, optimizer: optax.GradientTransformation = ADAM) -> State:
    return State(params, jax.jit(optimizer.init)(params))


def step(model: Model, state: State, xs: Any, ys: Any, optimizer: Any = ADAM) -> tuple[State, jax.Array]:
    """Loss and gradient of a mini-batch, and the optimiser's update."""
    loss, params_bar = jax.value_and_grad(model.loss)(state.params, xs, ys)
    updates, opt_state = optimizer.update(params_bar, state.opt_state, state.params)
    return State(optax.apply_updates(state.params, updates), opt_state), loss


class Compiled:
    """A function compiled ahead of its first call, and what that took."""

    def __init__(self, function: Callable, *args: Any, donate: tuple[int, ...] = ()):
        """Compiles for arguments like these."""
        began = time.perf_counter()
        self.call = jax.jit(function, donate_argnums=donate).lower(*args).compile()
        self.seconds = time.perf_counter() - began

    def facts(self) -> dict[str, float]:
        """Seconds of tracing and compilation, and bytes of temporary memory."""
        analysis: Any = self.call.memory_analysis()
        return {"compile_seconds": self.seconds, "temporary_bytes": analysis.temp_size_in_bytes}


class Steps(Program):
    """Steps one after the other; a subclass has `batches`, `state`, and what one step is."""

    batches: list
    state: Any

    def step(self, xs: Any, ys: Any) -> Any:
        """Take a step; returns its loss."""
        raise NotImplementedError

    def losses(self) -> Any:
        """Take one pass; returns the loss of each step."""
        return [self.step(xs, ys) for xs, ys in self.batches]

    def run(self, passes: int) -> None:
        """Waits for the last step only."""
        for _ in range(passes):
            losses = self.losses()
        jax.block_until_ready((self.state, losses))

    def answers(self) -> dict[str, Any]:
        """The losses of the first steps."""
        return {"losses": np.array([float(loss) for loss in self.losses()])}


class Loop(Steps):
    """A jitted step, called from Python, whose state is donated."""

    def __init__(self, model: Model, task: Training):
        """Compiles the step."""
        self.model, self.units = model, len(task.xs)
        self.batches = [(jnp.asarray(x), jnp.asarray(y)) for x, y in zip(task.xs, task.ys, strict=True)]
        self.initial = start(model.params)
        self.copy = jax.jit(lambda state: jax.tree.map(jnp.copy, state))
        self.compiled = self._compiled()

    def _compiled(self) -> Compiled:
        return Compiled(
            lambda state, xs, ys: step(self.model, state, xs, ys), self.initial, *self.batches[0], donate=(0,)
        )

    def reset(self) -> None:
        """Back to the initial parameters."""
        self.state = jax.block_until_ready(self.copy(self.initial))

    def step(self, xs: Any, ys: Any) -> Any:
        """Calls the compiled step."""
        self.state, loss = self.compiled.call(self.state, xs, ys)
        return loss

    def answers(self) -> dict[str, Any]:
        """The losses of the first steps, and the norm of Adam's first moment after one, which shows a wrong factor."""
        first, *rest = self.batches
        losses = [self.step(*first)]
        moments = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(optax.tree.get(self.state.opt_state, "mu"))]
        losses += [self.step(*batch) for batch in rest]
        gradient = np.sqrt(sum(np.sum(np.square(moment)) for moment in moments))
        return {"gradient": gradient, "losses": np.array([float(loss) for loss in losses])}

    def facts(self) -> dict[str, float]:
        """Of the compiled step, or of the whole scan."""
        return self.compiled.facts()


class Scan(Loop):
    """The same steps in one `lax.scan`, whose state is donated."""

    def _compiled(self) -> Compiled:
        self.stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *self.batches)

        def steps(state: State, batches: Any) -> tuple[State, jax.Array]:
            return jax.lax.scan(lambda state, batch: step(self.model, state, *batch), state, batches)

        return Compiled(steps, self.initial, self.stacked, donate=(0,))

    def answers(self) -> dict[str, Any]:
        """The losses alone: its moments are those of the last step."""
        return Steps.answers(self)

    def losses(self) -> Any:
        """One call."""
        self.state, losses = self.compiled.call(self.state, self.stacked)
        return losses


class Example(Steps):
    """Steps of an example of experiments/drop_in, as it takes them."""

    def __init__(self, example: Any, ours: bool, xs: Any, ys: Any):
        """`example` is its module: start(ours) -> state, step(state, xs, ys) -> state, loss."""
        self.example, self.ours, self.units = example, ours, len(xs)
        self.batches = [(jnp.asarray(x), jnp.asarray(y)) for x, y in zip(xs, ys, strict=True)]

    def reset(self) -> None:
        """Back to the initial parameters."""
        self.state = self.example.start(self.ours)

    def step(self, xs: Any, ys: Any) -> Any:
        """As the example does."""
        self.state, loss = self.example.step(self.state, xs, ys)
        return loss


class Call(Program):
    """A function of arrays, called again and again with the same."""

    def __init__(self, function: Callable, *args: Any, answers: Callable[[Any], dict[str, Any]]):
        """Compiles it; answers(result) has to be the same for all contestants."""
        self.args = jax.tree.map(jnp.asarray, args)
        self.compiled, self.of_result = Compiled(function, *self.args), answers

    def run(self, passes: int) -> None:
        """Calls, each waited for: their results would otherwise fill the memory."""
        for _ in range(passes):
            jax.block_until_ready(self.compiled.call(*self.args))

    def answers(self) -> dict[str, Any]:
        """Of the function's result."""
        return self.of_result(jax.block_until_ready(self.compiled.call(*self.args)))

    def facts(self) -> dict[str, float]:
        """Of the compiled function."""
        return self.compiled.facts()


def per_example(model: Model, task: PerExample) -> Call:
    """The gradient of each example."""
    gradients = jax.vmap(jax.grad(model.example_loss), (None, 0, 0))
    return Call(gradients, model.params, task.xs, task.ys, answers=lambda bars: {"norms": norms(bars)})


def norms(gradients: Any) -> np.ndarray:
    """The norm of each example's gradient, all parameters taken together."""
    rows = [np.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(gradients)]
    return np.sqrt(sum(np.einsum("ij,ij->i", row, row, dtype=np.float64) for row in rows))


def rule(function: Callable, task: Rule) -> Call:
    """A rule's output or gradients; function(x), or function(x, kernel)."""
    arguments = [task.x] if task.kernel is None else [task.x, task.kernel]
    if task.want == "forward":
        return Call(function, *arguments, answers=lambda y: {"y": np.asarray(y)})
    if task.want == "both":

        def both(x: Any, g: Any) -> tuple:
            y, pull = jax.vjp(function, x)
            return y, pull(g)[0]

        return Call(both, task.x, task.g, answers=lambda r: {"y": np.asarray(r[0]), "x_bar": np.asarray(r[1])})
    if task.want == "backward":
        pull = jax.block_until_ready(jax.jit(lambda x: jax.vjp(function, x)[1])(task.x))
        return Call(lambda pull, g: pull(g)[0], pull, task.g, answers=lambda bar: {"x_bar": np.asarray(bar)})
    of = {"input": 0, "kernel": 1}[task.want]

    def gradient(x: Any, kernel: Any, g: Any) -> Any:
        return jax.vjp(function, x, kernel)[1](g)[of]  # XLA leaves out what is not used: output and other gradient

    return Call(gradient, *arguments, task.g, answers=lambda bar: {f"{task.want}_bar": np.asarray(bar)})


def product(task: Product) -> Call:
    """A square product of matrices."""
    a, b = np.random.default_rng(0).normal(size=(2, task.size, task.size)).astype(np.float32)
    return Call(jnp.matmul, a, b, answers=lambda c: {})


class Streaming(Program):
    """One number added to a long array, in place: each byte is read once and written once."""

    def __init__(self, task: Stream):
        """Compiles the addition, with its operand donated."""
        self.numbers = task.numbers
        self.add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def reset(self) -> None:
        """A new array, each page of which has been touched."""
        self.x = jax.block_until_ready(jnp.zeros(self.numbers))

    def run(self, passes: int) -> None:
        """Additions one after the other."""
        for _ in range(passes):
            self.x = self.add(self.x)
        jax.block_until_ready(self.x)

    def answers(self) -> dict[str, Any]:
        """Nothing to agree on."""
        self.run(1)
        return {}
