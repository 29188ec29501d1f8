"""What a training step cannot do without, counted: the products of the direct method, and the traffic with memory.

Both are floors of usual implementations, not of all: Winograd's convolution needs fewer products, and a small batch's
arrays stay in the cache.
"""

import math

from benchmarks.nets import Conv, Dense, Flatten, LeakyRelu, Net, Relu, shapes

BYTES = 4  # of one f32


def step_flops(net: Net, batch: int) -> int:
    """Additions and multiplications of convolutions and dense layers: output, kernel gradient, and input gradient.

    The first layer needs no input gradient. Products with padding count: the direct method makes them.
    """
    products = [_products(layer, before, after) for layer, before, after in _with_shapes(net)]
    products = [count for count in products if count]
    return 2 * batch * (3 * sum(products) - products[0])


def step_bytes(net: Net, batch: int) -> int:
    """Bytes to and from memory if each layer read its input and wrote its output once, activations being fused.

    Forward an input is read and an output written; backward an input and an output's cotangent are read, and, but for
    the first layer, an input's cotangent is written. A parameter is read twice and its gradient written; Adam reads
    parameter, gradient and two moments, and writes all but the gradient.
    """
    layers = [entry for entry in _with_shapes(net) if not isinstance(entry[0], Relu | LeakyRelu | Flatten)]
    numbers = sum(3 * math.prod(before) + 2 * math.prod(after) for _, before, after in layers)
    numbers -= math.prod(layers[0][1])
    return BYTES * (batch * numbers + 10 * parameters(net))


def parameters(net: Net) -> int:
    """How many parameters there are."""
    count = 0
    for layer, before, _ in _with_shapes(net):
        if isinstance(layer, Conv):
            count += (layer.window**2 * before[-1] // layer.groups + 1) * layer.features
        elif isinstance(layer, Dense):
            count += (before[-1] + 1) * layer.features
    return count


def _products(layer: object, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    if isinstance(layer, Conv):
        return math.prod(after) * layer.window**2 * before[-1] // layer.groups
    return before[-1] * after[-1] if isinstance(layer, Dense) else 0


def _with_shapes(net: Net) -> list[tuple]:
    found = shapes(net)
    return list(zip(net.layers, found[:-1], found[1:], strict=True))
