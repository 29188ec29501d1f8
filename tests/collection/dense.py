"""The dense layer, y = x W + b, and what can go wrong in three short lines."""

import jax.numpy as jnp

from collection.case import Case, Layer
from collection.circumstances import At, Mapped, Structure
from collection.draws import normal, zeros


def primal(x, kernel, bias):
    return x @ kernel + bias


def forward(x, kernel, bias):
    return primal(x, kernel, bias), (x, kernel)


def args(examples=4, inputs=3, outputs=2):
    return lambda: (normal(0, examples, inputs), normal(1, inputs, outputs), normal(2, outputs))


def transposed_to_fit(x, kernel, g):
    kernel_bar = g.T @ x
    return g @ kernel.T, kernel_bar if kernel_bar.shape == kernel.shape else kernel_bar.T, g.sum(0)


def per_example(x, kernel, g):
    """Of one example, or of one with batch axes in front: as a rule with x batched has to be."""
    rows, cols = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    return g @ kernel.T, rows.T @ cols, cols.mean(0)


dense = Layer("dense", primal, forward, args())
single = Layer("dense, one example", primal, forward, lambda: (normal(0, 3), normal(1, 3, 2), normal(2, 2)))
product = Layer("product", lambda a, b: a * b, lambda a, b: (a * b, (a, b)), lambda: (normal(3, 4, 3), normal(4, 4, 3)))

LINEAR = "RFL"  # what sees a backward that is not linear in its cotangent

CASES: list[Case] = [
    dense.right("its rule", lambda x, w, g: (g @ w.T, x.T @ g, g.sum(0))),
    dense.right("its rule as a raw pair", lambda x, w, g: (g @ w.T, x.T @ g, g.sum(0)), form="pair"),
    single.right(
        "its rule with x batched",
        lambda x, w, g: (g @ w.T, x.reshape(-1, 3).T @ g.reshape(-1, 2), g.reshape(-1, 2).sum(0)),
        form="rule with x batched",
    ),
    product.right("its rule", lambda a, b, g: (g * b, g * a)),
    # Scale, sign, transpose.
    dense.wrong(
        "divided by the batch size", lambda x, w, g: (g @ w.T, x.T @ g / len(x), g.sum(0)), "mean instead of sum"
    ),
    dense.wrong("sign", lambda x, w, g: (-g @ w.T, x.T @ g, g.sum(0)), "x_bar negated"),
    dense.wrong("twice too large", lambda x, w, g: (g @ w.T, x.T @ g, 2 * g.sum(0)), "bias_bar doubled"),
    dense.wrong(
        "wrong by one in a thousand", lambda x, w, g: (g @ w.T, 1.001 * (x.T @ g), g.sum(0)), "kernel_bar times 1.001"
    ),
    dense.wrong(
        "kernel not transposed",
        lambda x, w, g: (g @ w, x.T @ g, g.sum(0)),
        "g W, not g W^T; the shapes agree",
        args=args(4, 3, 3),
    ),
    dense.wrong(
        "gradient transposed",
        lambda x, w, g: (g @ w.T, g.T @ x, g.sum(0)),
        "kernel_bar transposed",
        args=args(4, 3, 3),
        form="pair",
    ),
    dense.wrong(
        "one wrong entry in 300",
        lambda x, w, g: (g @ w.T, (x.T @ g).at[7, 3].set(0), g.sum(0)),
        "kernel_bar[7, 3] is zero",
        args=args(4, 20, 15),
    ),
    # Sums.
    dense.wrong(
        "first example only", lambda x, w, g: (g @ w.T, jnp.outer(x[0], g[0]), g.sum(0)), "kernel_bar of x[0] alone"
    ),
    dense.wrong("missing sum over the batch", lambda x, w, g: (g @ w.T, x.T @ g, g[0]), "bias_bar is g[0]"),
    dense.wrong(
        "last example dropped", lambda x, w, g: (g @ w.T, x[:-1].T @ g[:-1], g.sum(0)), "a loop that ends one early"
    ),
    # Right at some shapes only.
    dense.wrong(
        "right only for batch 1",
        lambda x, w, g: (g @ w.T, jnp.outer(x[0], g[0]), g.sum(0)),
        "kernel_bar of x[0] alone, tried with one example",
        "B",
        args=args(1),
        exposed_by=At(args(2)),
    ),
    dense.wrong(
        "wrong only for square kernels",
        transposed_to_fit,
        "kernel_bar is transposed until its shape fits",
        "B",
        exposed_by=At(args(4, 3, 3)),
    ),
    dense.wrong(
        "right only for square kernels",
        lambda x, w, g: (g @ w.T * (w.shape[0] / w.shape[1]), x.T @ g, g.sum(0)),
        "x_bar scaled by inputs / outputs",
        "B",
        args=args(4, 3, 3),
        exposed_by=At(args(4, 3, 2)),
    ),
    # The wrong argument.
    product.wrong("two cotangents exchanged", lambda a, b, g: (g * a, g * b), "a's and b's"),
    product.wrong("zero for an argument", lambda a, b, g: (g * b, jnp.zeros_like(b)), "b is taken for a constant"),
    product.wrong(
        "zero for an argument declared constant",
        lambda a, b, g: (g * b, None),
        "None means zero: whatever is in front of b in a chain gets no gradient",
        "RFS",
        source="https://github.com/jax-ml/jax/issues/17496",
    ),
    # Not linear in the cotangent.
    product.wrong("squares the cotangent", lambda a, b, g: (g * g * b, g * a), "g twice", LINEAR),
    product.wrong("absolute value of the cotangent", lambda a, b, g: (jnp.abs(g) * b, g * a), "|g|", LINEAR),
    product.wrong("normalises the cotangent", lambda a, b, g: (g / jnp.linalg.norm(g) * b, g * a), "g / |g|", LINEAR),
    product.wrong(
        "clips the cotangent",
        lambda a, b, g: (jnp.clip(g, -1, 1) * b, g * a),
        "gradient clipping inside the rule",
        LINEAR,
        waiver="clipping a cotangent is a known way to tame a recurrent network",
    ),
    product.wrong("adds a constant", lambda a, b, g: (g * b + 1e-2, g * a), "affine in g", LINEAR),
    product.wrong(
        "adds noise of a fixed size", lambda a, b, g: (g * b + 1e-4 * jnp.sin(1e3 * a), g * a), "affine in g", LINEAR
    ),
    dense.wrong(
        "adds weight decay",
        lambda x, w, g: (g @ w.T, x.T @ g + 0.1 * w, g.sum(0)),
        "affine in g; under vmap with W unmapped, W's term is not summed over the batch either",
        LINEAR + "V",
    ),
    dense.wrong(
        "ones in place of the cotangent",
        lambda x, w, g: (jnp.ones_like(g) @ w.T, x.T @ jnp.ones_like(g), jnp.ones_like(g).sum(0)),
        "the incoming gradient is not used: right for a plain sum of the output only",
        LINEAR,
        source="https://github.com/mindspore-lab/mindone/pull/1438",
    ),
    product.wrong("only the cotangent's first entry", lambda a, b, g: (g[0, 0] * b, g * a), "g[0, 0] for all of g"),
    product.wrong("cotangent averaged", lambda a, b, g: (g.mean() * b, g * a), "mean(g) for all of g"),
    # Structure, on raw pairs where JAX itself would refuse.
    dense.wrong(
        "cotangent not reduced to its argument's shape",
        lambda x, w, g: (g @ w.T, x.T @ g, g),
        "bias_bar keeps the batch axis",
        "S",
        form="pair",
        exposed_by=Structure(),
        source="https://github.com/deeplearning4j/nd4j/issues/2424",
    ),
    dense.wrong(
        "one cotangent short",
        lambda x, w, g: (g @ w.T, x.T @ g),
        "none for the bias",
        "S",
        form="pair",
        exposed_by=Structure(),
    ),
    dense.wrong(
        "one cotangent too many",
        lambda x, w, g: (g @ w.T, x.T @ g, g.sum(0), g),
        "g itself",
        "S",
        form="pair",
        exposed_by=Structure(),
    ),
    dense.wrong(
        "keeps an axis of size 1",
        lambda x, w, g: (g @ w.T, x.T @ g, g.sum(0, keepdims=True)),
        "(1, 2) for (2,)",
        "S",
        form="pair",
        exposed_by=Structure(),
    ),
    dense.wrong(
        "None for a float argument",
        lambda x, w, g: (None, x.T @ g, g.sum(0)),
        "x_bar is None, which JAX takes for zero",
        "SRF",
        form="pair",
    ),
    # In a rule with batch axes, what vmap adds in front.
    single.wrong(
        "mean over the batch axes that vmap adds",
        per_example,
        "bias_bar is a mean over leading axes: right for one example",
        "V",
        form="rule with x batched",
        exposed_by=Mapped((True, False, False)),
    ),
    single.wrong(
        "first of the batch that vmap adds",
        lambda x, w, g: (g @ w.T, jnp.outer(x.reshape(-1, 3)[0], g.reshape(-1, 2)[0]), g.reshape(-1, 2).sum(0)),
        "kernel_bar of the first example: right for one",
        "V",
        form="rule with x batched",
        exposed_by=Mapped((True, False, False)),
    ),
    dense.right("with an empty batch", lambda x, w, g: (g @ w.T, x.T @ g, g.sum(0)), "no examples", args=args(0)),
    dense.right(
        "at zero",
        lambda x, w, g: (g @ w.T, x.T @ g, g.sum(0)),
        "x = 0",
        args=lambda: (zeros(4, 3), normal(1, 3, 2), zeros(2)),
    ),
]
