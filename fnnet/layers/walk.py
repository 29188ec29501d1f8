"""`walk`: a network run layer by layer, for all that look at its layers."""

from collections.abc import Callable
from typing import Any

from fnnet.layers.containers import Container, is_threaded
from fnnet.layers.protocol import Layer, Params


def walk(
    net: Container, params: Params, x: Any, key: Any, visit: Callable, after: Callable | None = None, path: str = ""
) -> Any:
    """The network's output, each layer being run by `visit`.

    Args:
        net: The network.
        params: Its parameters.
        x: One example.
        key: As for `apply`.
        visit: visit(path, layer, params, x, key) -> y for each layer that is no container, or a container with an
            `apply` of its own; the path is such as "residual_2/conv_0".
        after: after(path, layer, params, x, y) for each container, when its own layers have run.
        path: What stands before every path.
    """

    def run(name: str, layer: Layer, own: Params, x: Any, key: Any) -> Any:
        if not is_threaded(layer):
            return visit(path + name, layer, own, x, key)
        y = walk(layer, own, x, key, visit, after, f"{path}{name}/")
        if after is not None:
            after(path + name, layer, own, x, y)
        return y

    return net.thread(run, params, x, key)
