"""A convolution of 3 x 3 taps and stride 1, and its two gradients, with 16 products where there were 36: Winograd's.

Outputs are made in tiles of 2 x 2, each from 4 x 4 entries of the image. For a tile of one axis, with d four entries of
the image and w three taps, the two outputs are, * by entries,

    y = A^T (G w * B^T d)                                   (1)

    B^T = | 1  0 -1  0 |     G = |  1    0    0  |     A^T = | 1  1  1  0 |
          | 0  1  1  0 |         | 1/2  1/2  1/2 |           | 0  1 -1 -1 |
          | 0 -1  1  0 |         | 1/2 -1/2  1/2 |
          | 0  1  0 -1 |         |  0    0    1  |

and for both axes each matrix is applied twice. The sum over channels may be taken before A: so there are 16 products of
matrices (tiles, channels) @ (channels, outputs). (1) is linear in w, with the transpose

    w_bar = G^T (A y_bar * B^T d)                           (2)

whose sum over tiles and examples is taken before G^T, by 16 products (channels, tiles) @ (tiles, outputs). The gradient
by the image is a convolution with stride 1 again.

Sums of four entries are rounded before the product. So the error is small compared with the largest entry of a tile,
not with each output, and an infinity or NaN reaches all outputs of its tile. Images and cotangents are (N, *spatial,
channels).

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv:1509.09308, section 4.1.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from fnnet.core.geometry import Window
from fnnet.formulations import pieces
from fnnet.formulations.branches import in_a_branch, laid_out
from fnnet.formulations.canonical import exchanged

G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
BOTH_G = np.kron(G, G)  # along both axes: (16, 9)
TILES = 2048  # of a piece of the batch: fewer are slower, more do not fit into the cache
TILES_OF_BOTH = 1024  # in the kernel's gradient, both of whose factors are as large

Entries = list  # of arrays, along one axis of a tile
Grid = list  # of lists of arrays, along both


def output(images, kernel, *, window: Window):
    """(1), tile by tile."""
    starts = [lo for lo, _ in window.padding]
    return _convolution(images, kernel, starts, window.out)


def x_gradient(kernel, cotangents, *, window: Window):
    """The cotangent, convolved with the kernel flipped and its channels exchanged, by (1)."""
    starts = [2 - lo for lo, _ in window.padding]
    return _convolution(cotangents, jnp.flip(exchanged(kernel, 1), (0, 1)), starts, window.image)


def kernel_gradient(images, cotangents, *, window: Window):
    """(2), added up over all tiles."""
    tiles = _tiles(window.out)
    starts = [lo for lo, _ in window.padding]
    factors = _by_example if pieces.sharers() > 1 else _by_place

    def of_piece(images, cotangents):
        seen, given = factors(images, cotangents, starts, tiles)
        rows = zip(seen, given, strict=True)
        return jnp.stack([v @ q for row in rows for v, q in zip(*row, strict=True)])

    products = pieces.summed(of_piece, images, cotangents, _pieces(len(images), window.out, TILES_OF_BOTH))
    kernel_bar = BOTH_G.T.astype(products.dtype) @ products.reshape(16, -1)
    return kernel_bar.reshape(3, 3, *products.shape[1:])


def tiles_of_a_piece(examples: int, out: tuple[int, ...]) -> int:
    """The rows of each product."""
    return examples // _pieces(examples, out, TILES) * math.prod(_tiles(out))


def _convolution(images, kernel, starts, out):
    """With `starts` rows and columns of zeros before the image, as many outputs as asked for."""
    tiles = _tiles(out)
    weights = (BOTH_G.astype(kernel.dtype) @ kernel.reshape(9, -1)).reshape(4, 4, *kernel.shape[2:])

    def of_piece(images):
        seen = _twice(_bt, _grid(_framed(images, starts, [2 * t + 2 for t in tiles]), tiles, 4))
        products = [
            [(_rows(v) @ u).reshape(*v.shape[:-1], -1) for v, u in zip(*rows, strict=True)]
            for rows in zip(seen, weights, strict=True)
        ]
        y = jnp.stack([jnp.stack(row, 3) for row in _twice(_at, products)], 2)  # (N, tiles, 2, tiles, 2, outputs)
        return y.reshape(len(y), 2 * tiles[0], 2 * tiles[1], -1)[:, : out[0], : out[1]]

    return pieces.mapped(of_piece, images, _pieces(len(images), out, TILES))


def _pieces(examples: int, out: tuple[int, ...], most: int) -> int:
    return pieces.number(examples, most // math.prod(_tiles(out)))


def _tiles(out):
    return [-(-size // 2) for size in out]


def _framed(images, starts, sizes):
    """With zeros before each axis, and zeros after it, or less of it, so that it has the size."""
    edges = [(lo, size - lo - n, 0) for lo, size, n in zip(starts, sizes, images.shape[1:-1], strict=True)]
    return lax.pad(images, jnp.zeros((), images.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def _grid(images, tiles, size: int) -> Grid:
    """Every second entry from each of `size` starts along both axes: the entries of all tiles, by their place."""

    def entry(i: int, j: int):
        end = len(images), i + 2 * tiles[0] - 1, j + 2 * tiles[1] - 1, images.shape[-1]
        return lax.slice(images, (0, i, j, 0), end, (1, 2, 2, 1))

    return [[entry(i, j) for j in range(size)] for i in range(size)]


def _by_example(images, cotangents, starts, tiles):
    """The factors of (2), (channels, tiles) and (tiles, outputs), with the tiles of an example side by side.

    Devices may share the examples, and then share the tiles too.
    """
    seen = _twice(_bt, _grid(_framed(images, starts, [2 * t + 2 for t in tiles]), tiles, 4))
    given = _twice(_a, _grid(_framed(cotangents, (0, 0), [2 * t for t in tiles]), tiles, 2))
    return [[_rows(v).T for v in row] for row in seen], [[_rows(q) for q in row] for row in given]


def _by_place(images, cotangents, starts, tiles):
    """The same with the tiles in the order row, column, example, and each factor in the order that a product reads.

    A row of tiles is then contiguous in memory, and so are the operands of all sums along the other axis.
    """

    def along_columns(images):
        parts = _parted(_framed(images, starts, [2 * t + 2 for t in tiles])).transpose(2, 4, 5, 1, 3, 0)
        parts = laid_out(parts)  # (2, 2, channels, rows, columns, N)
        return jnp.stack(_bt([parts[:, j % 2, :, :, j // 2 : j // 2 + tiles[1]] for j in range(4)]))

    columns = in_a_branch(along_columns, images)
    columns = columns.reshape(*columns.shape[:3], -1)
    row = columns.shape[-1] // (tiles[0] + 1)

    def from_row(j: int, i: int):
        return columns[j, i % 2, :, i // 2 * row : (i // 2 + tiles[0]) * row]

    seen = zip(*(_bt([from_row(j, i) for i in range(4)]) for j in range(4)), strict=True)
    framed = in_a_branch(lambda cotangents: _framed(cotangents, (0, 0), [2 * t for t in tiles]), cotangents)
    parts = laid_out(_parted(framed).transpose(2, 4, 1, 3, 0, 5))  # (2, 2, rows, columns, N, outputs)
    given = _twice(_a, [[_rows(q) for q in row] for row in parts])
    return list(seen), given


def _parted(framed):
    """(N, rows, 2, columns, 2, channels)."""
    n, rows, columns, channels = framed.shape
    return framed.reshape(n, rows // 2, 2, columns // 2, 2, channels)


def _rows(entries):
    return entries.reshape(-1, entries.shape[-1])


def _twice(function: Callable[[Entries], Entries], grid: Grid) -> Grid:
    """Along both axes."""
    along_rows = [function(list(column)) for column in zip(*grid, strict=True)]
    return [function(list(row)) for row in zip(*along_rows, strict=True)]


def _bt(d: Entries) -> Entries:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _at(m: Entries) -> Entries:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _a(y: Entries) -> Entries:
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]
