"""Matrices: products, solves, factorisations; and complex numbers, whose cotangents JAX does not conjugate."""

import functools

import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jax import lax

from collection.case import Case, saving_all
from collection.draws import normal


def invertible(seed, n=3):
    return np.eye(n, dtype=np.float32) * 2 + 0.5 * normal(seed, n, n)


def positive(seed, n=3):
    a = normal(seed, n, n)
    return a @ a.T + np.eye(n, dtype=np.float32)


def lower_solve(a, b):
    return jsl.solve_triangular(a, b, lower=True)


def half_diagonal(a):
    return jnp.tril(a) - jnp.diag(jnp.diag(a)) / 2


def cholesky_bar(a, y, g, half=half_diagonal, symmetric=True, flip=False):
    """Murray 2016, "Differentiation of the Cholesky decomposition", (10)."""
    inner = half(y.T @ g)
    first = jsl.solve_triangular(y, inner.T, lower=True, trans=0 if flip else 1)
    bar = jsl.solve_triangular(y, first.T, lower=True, trans=0 if flip else 1)
    return ((bar + bar.T) / 2 if symmetric else bar,)


def quadratic(a, x):
    return x @ a @ x


def batched(x, w):
    """x (2, 4, 3), w (3, 5): one w for the batch."""
    return jnp.einsum("bni,io->bno", x, w)


def times(z, w):
    return z * w


def size_squared(z):
    return (z * jnp.conj(z)).real


def argument(z):
    return jnp.angle(z)


def complexes(seed, n=4):
    return (normal(seed, n) + 1j * normal(seed + 1, n)).astype(np.complex64)


def wide(g, z):
    return lax.complex(g, jnp.zeros_like(g)).astype(z.dtype)


solve = saving_all("solve", jnp.linalg.solve, lambda: (invertible(0), normal(1, 3)))
triangular = saving_all(
    "triangular solve", lower_solve, lambda: (np.tril(invertible(0)), normal(1, 3)), reference=lower_solve
)
inverse = saving_all("inverse", jnp.linalg.inv, lambda: (invertible(0),))
cholesky = saving_all("Cholesky factor", lambda a: jnp.linalg.cholesky(a), lambda: (positive(0),))
log_determinant = saving_all("log-determinant", lambda a: jnp.linalg.slogdet(a)[1], lambda: (invertible(0),))
determinant = saving_all("determinant", lambda a: jnp.linalg.det(a), lambda: (invertible(0),))
form = saving_all("quadratic form", quadratic, lambda: (normal(0, 3, 3), normal(1, 3)))
matmul = saving_all("batched product", batched, lambda: (normal(0, 2, 4, 3), normal(1, 3, 5)))
eigenvalues = saving_all("eigenvalues", lambda a: jnp.linalg.eigvalsh(a), lambda: (positive(0),))
complex_product = saving_all("complex product", times, lambda: (complexes(0), complexes(2)))
modulus = saving_all("squared modulus", size_squared, lambda: (complexes(0),))
angle = saving_all("angle", argument, lambda: (complexes(0),))


def solve_bars(a, b, x, g, transposed=True, order=jnp.outer, sign=-1):
    b_bar = jnp.linalg.solve(a.T if transposed else a, g)
    return sign * order(b_bar, x), b_bar


def by_vectors(a, g, vectors):
    v = jnp.linalg.eigh(a)[1]
    return (vectors(v, g),)


CASES: list[Case] = [
    solve.right("its rule", solve_bars),
    triangular.right(
        "its rule",
        lambda a, b, x, g: (
            -jnp.tril(jnp.outer(jsl.solve_triangular(a, g, lower=True, trans=1), x)),
            jsl.solve_triangular(a, g, lower=True, trans=1),
        ),
    ),
    inverse.right("its rule", lambda a, y, g: (-y.T @ g @ y.T,)),
    cholesky.right("its rule", cholesky_bar, "the symmetric gradient, as in JAX"),
    log_determinant.right("its rule", lambda a, y, g: (g * jnp.linalg.inv(a).T,)),
    form.right("its rule", lambda a, x, y, g: (g * jnp.outer(x, x), g * (a @ x + a.T @ x))),
    eigenvalues.right("its rule", lambda a, y, g: by_vectors(a, g, lambda v, g: (v * g) @ v.T)),
    complex_product.right("its rule", lambda z, w, y, g: (g * w, g * z), "no conjugate, as in JAX"),
    solve.wrong("matrix not transposed", functools.partial(solve_bars, transposed=False), "solves with A, not A^T"),
    solve.wrong(
        "outer product the other way round",
        functools.partial(solve_bars, order=lambda u, x: jnp.outer(x, u)),
        "x u^T for u x^T",
    ),
    solve.wrong("minus forgotten", functools.partial(solve_bars, sign=1), "A_bar negated"),
    triangular.wrong(
        "matrix not transposed",
        lambda a, b, x, g: (-jnp.tril(jnp.outer(lower_solve(a, g), x)), lower_solve(a, g)),
        "solves downwards again",
    ),
    triangular.wrong(
        "gradient above the diagonal",
        lambda a, b, x, g: (
            -jnp.outer(jsl.solve_triangular(a, g, lower=True, trans=1), x),
            jsl.solve_triangular(a, g, lower=True, trans=1),
        ),
        "entries that are not read",
    ),
    inverse.wrong("minus forgotten", lambda a, y, g: (y.T @ g @ y.T,), "A_bar negated"),
    inverse.wrong("factors not transposed", lambda a, y, g: (-y @ g @ y,), "A^-1 for A^-T"),
    inverse.wrong("one factor only", lambda a, y, g: (-y.T @ g,), "as for a number"),
    cholesky.wrong(
        "diagonal not halved", lambda a, y, g: cholesky_bar(a, y, g, half=jnp.tril), "twice too large on the diagonal"
    ),
    cholesky.wrong(
        "lower triangle not taken", lambda a, y, g: cholesky_bar(a, y, g, half=lambda m: m / 2), "half of everything"
    ),
    cholesky.wrong(
        "solved with the wrong side",
        lambda a, y, g: cholesky_bar(a, y, g, flip=True),
        "L^-1 for L^-T",
    ),
    log_determinant.wrong(
        "inverse not transposed", lambda a, y, g: (g * jnp.linalg.inv(a),), "right for symmetric matrices"
    ),
    determinant.wrong(
        "factor det A forgotten", lambda a, y, g: (g * jnp.linalg.inv(a).T,), "the log-determinant's gradient"
    ),
    form.wrong("right only for symmetric matrices", lambda a, x, y, g: (g * jnp.outer(x, x), 2 * g * a @ x), "2 A x"),
    form.wrong("one of two terms", lambda a, x, y, g: (g * jnp.outer(x, x), g * a @ x), "A x"),
    matmul.wrong("batch not summed", lambda x, w, y, g: (g @ w.T, x[0].T @ g[0]), "w_bar of the first"),
    matmul.wrong(
        "batch averaged", lambda x, w, y, g: (g @ w.T, jnp.einsum("bni,bno->io", x, g) / len(x)), "w_bar divided by two"
    ),
    eigenvalues.wrong(
        "eigenvectors transposed", lambda a, y, g: by_vectors(a, g, lambda v, g: (v.T * g) @ v), "rows for columns"
    ),
    complex_product.wrong(
        "conjugated", lambda z, w, y, g: (g * jnp.conj(w), g * jnp.conj(z)), "PyTorch's convention, not JAX's"
    ),
    complex_product.wrong("imaginary part dropped", lambda z, w, y, g: (wide((g * w).real, z), g * z), "z_bar is real"),
    modulus.wrong("conjugate missing", lambda z, y, g: (2 * wide(g, z) * z,), "2 z for 2 conj(z)"),
    angle.wrong(
        "as for a real number",
        lambda z, y, g: (wide(g, z) * z / wide(size_squared(z), z),),
        "z / |z|^2: neither turned by i nor conjugated",
        source="https://github.com/pytorch/pytorch/pull/44444",
    ),
]
