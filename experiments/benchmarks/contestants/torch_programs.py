"""The programs of PyTorch's two contestants."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.contestants import Program
from benchmarks.tasks import LEARNING_RATE, Rule


def step(model: nn.Module, optimizer: torch.optim.Optimizer, xs: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
    """Loss and gradient of a mini-batch, and the optimiser's update."""
    loss = loss_and_gradients(model, xs, ys)
    optimizer.step()
    return loss


def loss_and_gradients(model: nn.Module, xs: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
    """The loss of a mini-batch; the parameters keep their gradients."""
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(xs).flatten(0, -2), ys.flatten())  # of texts a row for each token
    loss.backward()
    return loss.detach()


class Loop(Program):
    """Steps of Adam from the same parameters."""

    def __init__(self, model: nn.Module, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]):
        """Keeps a copy of the parameters."""
        self.model, self.batches, self.units = model, batches, len(batches)
        self.adam = torch.optim.Adam(model.parameters(), LEARNING_RATE)
        self.initial = [parameter.detach().clone() for parameter in model.parameters()]

    def reset(self) -> None:
        """Initial parameters, and no moments; in place, so that nothing has to be allocated in a timed step."""
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), self.initial, strict=True):
                parameter.copy_(value)
                for moment in self.adam.state[parameter].values():
                    moment.zero_()

    def run(self, passes: int) -> None:
        """Steps one after the other."""
        for _ in range(passes):
            for xs, ys in self.batches:
                step(self.model, self.adam, xs, ys)

    def answers(self) -> dict[str, Any]:
        """The losses of the first steps, and the norm of Adam's first moment after one."""
        first, *rest = self.batches
        losses = [step(self.model, self.adam, *first)]
        moments = [self.adam.state[parameter]["exp_avg"].double() for parameter in self.model.parameters()]
        gradient = np.sqrt(sum(moment.square().sum().item() for moment in moments))
        losses += [step(self.model, self.adam, xs, ys) for xs, ys in rest]
        return {"gradient": gradient, "losses": np.array([loss.item() for loss in losses])}


class Call(Program):
    """A function, called again and again."""

    def __init__(self, call: Callable[[], Any], answers: Callable[[Any], dict[str, Any]]):
        """answers(result) has to be the same for all contestants."""
        self.call, self.of_result = call, answers

    def run(self, passes: int) -> None:
        """Calls one after the other."""
        for _ in range(passes):
            self.call()

    def answers(self) -> dict[str, Any]:
        """Of the function's result."""
        return self.of_result(self.call())


def per_example(model: nn.Module, xs: torch.Tensor, ys: torch.Tensor) -> Call:
    """The gradient of each example, by torch.func."""
    params = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(params: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(model, params, (x[None],))
        return nn.functional.cross_entropy(logits, y[None])

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))

    def norms(bars: dict[str, torch.Tensor]) -> dict[str, Any]:
        each = [torch.linalg.vector_norm(bar.flatten(1), dim=1, dtype=torch.float64) for bar in bars.values()]
        return {"norms": torch.linalg.vector_norm(torch.stack(each), dim=0).numpy()}

    return Call(lambda: gradients(params, xs, ys), norms)


def rule(function: Callable, task: Rule, images: Callable[[np.ndarray], torch.Tensor]) -> Call:
    """A rule's output or gradients; function(x), or function(x, kernel)."""
    x, g = images(task.x), images(task.g)
    arguments = [x]
    if task.kernel is not None:  # (height, width, in, out) -> (out, in, height, width), in the images' memory format
        arguments.append(images(np.moveaxis(task.kernel, -1, 0)))
    if task.want == "forward":
        return Call(torch.no_grad()(lambda: function(*arguments)), lambda y: {"y": _last(y)})
    if task.want == "both":
        x.requires_grad_()

        def both() -> tuple:
            y = function(x)
            return y, *torch.autograd.grad(y, x, g)

        return Call(both, lambda r: {"y": _last(r[0]), "x_bar": _last(r[1])})
    of = {"backward": 0, "input": 0, "kernel": 1}[task.want]
    arguments[of].requires_grad_()
    y = function(*arguments)
    back = {"backward": _last, "input": _last, "kernel": _kernel}[task.want]
    name = "x_bar" if task.want == "backward" else f"{task.want}_bar"
    return Call(lambda: torch.autograd.grad(y, arguments[of], g, retain_graph=True)[0], lambda bar: {name: back(bar)})


def _last(images: torch.Tensor) -> np.ndarray:
    """Channels last, as all contestants answer."""
    return np.moveaxis(images.detach().numpy(), 1, -1)


def _kernel(kernel: torch.Tensor) -> np.ndarray:
    """(out, in, height, width) -> (height, width, in, out)."""
    return np.transpose(kernel.detach().numpy(), (2, 3, 1, 0))
