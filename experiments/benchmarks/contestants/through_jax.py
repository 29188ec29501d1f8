"""What the contestants on JAX have in common: a subclass says how its library builds a network, and a rule."""

import abc
import functools
import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.agreement import Reference
from benchmarks.contestants import Library, Program, Unsupported
from benchmarks.contestants import jax_programs as programs
from benchmarks.contestants.jax_programs import Model
from benchmarks.nets import Net
from benchmarks.tasks import Convolution, DropIn, PerExample, Pooling, Product, Rule, Stream, Task, Training


class ThroughJax(Library):
    """A `Library` on JAX."""

    distributions: tuple[str, ...] = ("jax", "jaxlib", "optax", "numpy")

    def __new__(cls, *arguments: Any, **options: Any) -> "ThroughJax":
        """Away from CPUs f32 is computed as such: a GPU would take TF32, a TPU bf16, and no two would agree."""
        if jax.default_backend() != "cpu":
            jax.config.update("jax_default_matmul_precision", "highest")
        return super().__new__(cls)

    # What a subclass gives, besides `shapes`.

    @abc.abstractmethod
    def model(self, net: Net, arrays: Mapping[str, Any] | None) -> Model:
        """The network with these parameters; None: drawn as the library draws them."""

    def rule(self, case: Pooling | Convolution) -> Callable:
        """function(x) or function(x, kernel) of a mini-batch, channels last."""
        raise Unsupported("no single rules")

    # What they share.

    def versions(self) -> dict[str, str]:
        """Of the libraries, and the device on which they compute."""
        return {name: version(name) for name in self.distributions} | {"device": jax.devices()[0].device_kind}

    def program(self, task: Task) -> Program:
        """A task, compiled."""
        match task:
            case Training(net, mode, arrays):
                return {"loop": programs.Loop, "scan": programs.Scan}[mode](self.model(net, arrays), task)
            case PerExample(net, arrays):
                return programs.per_example(self.model(net, arrays), task)
            case Rule(case, _):
                return programs.rule(self.rule(case), task)
            case Product():
                return programs.product(task)
            case Stream():
                return programs.Streaming(task)
            case DropIn(example, ours, xs, ys):
                return programs.Example(import_module(f"drop_in.{example}"), ours, xs, ys)

    def reference(self, task: Task, courses: int) -> Reference:
        """By the library's own gradients. One call of `PerExample` has enough numbers: it is made once."""
        if not isinstance(task, Training | PerExample):
            raise Unsupported("no reference but for a training and for the gradient of each example")
        with jax.enable_x64(True):
            exact = _answers(self.program(replace(task, arrays=_double(task.arrays), xs=_double(task.xs))))
        program = self.program(task)
        rounded = [_answers(program)]
        if isinstance(program, programs.Loop):
            draw = np.random.default_rng(0)
            for _ in range(courses - 1):
                program.initial = programs.start(self.model(task.net, _last_bits(task.arrays, draw)).params)
                rounded.append(_answers(program))
        return Reference(exact, rounded)

    def first_step(self, net: Net, xs: Any, ys: Any) -> float:
        """Draw parameters, compile, take one step: its loss."""
        model = self.model(net, None)
        step = jax.jit(functools.partial(programs.step, model), donate_argnums=0)
        return float(step(programs.start(model.params), xs, ys)[1])

    def train(self, net: Net, arrays: Mapping[str, Any], data: Any, recipe: Any, seed: int, report: Any) -> None:
        """A jitted step that takes its mini-batch out of the data, called from Python with its state donated."""
        self.model(net, None)  # drawn as its users have to, then replaced by what all start from
        model = self.model(net, arrays)
        (xs, ys), (test_xs, test_ys) = jax.tree.map(jnp.asarray, (data.train, data.test))
        order = np.random.default_rng(seed)
        adam = optax.adam(optax.cosine_decay_schedule(recipe.rate, recipe.steps(len(xs))))

        @functools.partial(jax.jit, donate_argnums=0)
        def step(state: Any, xs: Any, ys: Any, rows: Any) -> Any:
            return programs.step(model, state, xs[rows], ys[rows], adam)[0]

        @jax.jit
        def right(params: Any, xs: Any, ys: Any) -> Any:
            return (model.logits(params, xs).argmax(-1) == ys).sum()

        state = programs.start(jax.tree.map(jnp.copy, model.params), adam)
        for _ in range(recipe.epochs):
            for rows in recipe.batches(order, len(xs)):
                state = step(state, xs, ys, rows)
            count = sum(int(right(state.params, test_xs[part], test_ys[part])) for part in recipe.parts(len(test_xs)))
            if report(count / len(test_xs)):
                return

    def clear(self) -> None:
        """Drop compiled programs."""
        jax.clear_caches()
        gc.collect()


def _answers(program: Program) -> dict[str, Any]:
    program.reset()
    return program.answers()


def _double(tree: Any) -> Any:
    return jax.tree.map(lambda a: np.asarray(a, np.float64) if np.issubdtype(a.dtype, np.floating) else a, tree)


def _last_bits(arrays: Mapping[str, Any], draw: np.random.Generator) -> dict[str, Any]:
    """Each number one rounding larger or smaller; zeros stay."""
    step = np.finfo(np.float32).eps
    return {
        name: np.asarray(array * (1 + step * draw.choice((-1, 1), array.shape)), np.float32)
        for name, array in arrays.items()
    }
