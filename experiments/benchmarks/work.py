"""What a training step cannot do without, counted: the products of the direct method, and the traffic with memory.

Both are floors of usual implementations, not of all: Winograd's convolution needs fewer products, and a small batch's
arrays stay in the cache.
"""

import math

from benchmarks.nets import Activation, Attention, Conv, Dense, Embedding, Flatten, Net, Norm, leaves

BYTES = 4  # of one f32


def step_flops(net: Net, batch: int) -> int:
    """Additions and multiplications of convolutions, dense layers and attention: output and both gradients.

    The first layer of images needs no input gradient. Products with padding and with later tokens count: the direct
    method makes them.
    """
    products = [_products(layer, before, after) for layer, before, after in _with_shapes(net)]
    products = [count for count in products if count]
    return 2 * batch * (3 * sum(products) - (products[0] if net.vocabulary is None else 0))


def step_bytes(net: Net, batch: int) -> int:
    """Bytes to and from memory if each layer read its input and wrote its output once, activations being fused.

    Forward an input is read and an output written; backward an input and an output's cotangent are read, and, but for
    the first layer, an input's cotangent is written. A parameter is read twice and its gradient written; Adam reads
    parameter, gradient and two moments, and writes all but the gradient.
    """
    layers = [entry for entry in _with_shapes(net) if not isinstance(entry[0], Activation | Flatten)]
    numbers = sum(3 * math.prod(before) + 2 * math.prod(after) for _, before, after in layers)
    numbers -= math.prod(layers[0][1])
    return BYTES * (batch * numbers + 10 * parameters(net))


def parameters(net: Net) -> int:
    """How many parameters there are, without a batch norm's statistics."""
    count = 0
    for layer, before, _ in _with_shapes(net):
        if isinstance(layer, Conv):
            count += (layer.window**2 * before[-1] // layer.groups + layer.bias) * layer.features
        elif isinstance(layer, Dense):
            count += (before[-1] + 1) * layer.features
        elif isinstance(layer, Norm):
            count += 2 * before[-1]
        elif isinstance(layer, Embedding):
            count += layer.rows * layer.features
        elif isinstance(layer, Attention):
            count += 4 * (before[-1] + 1) * before[-1]
    return count


def _products(layer: object, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    if isinstance(layer, Conv):
        return math.prod(after) * layer.window**2 * before[-1] // layer.groups
    if isinstance(layer, Attention):
        length, features = before
        return 4 * length * features**2 + 2 * length**2 * features
    return math.prod(before) * after[-1] if isinstance(layer, Dense) else 0


def _with_shapes(net: Net) -> list[tuple]:
    return list(leaves(net.layers, net.shape))
