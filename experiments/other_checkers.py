"""The collection under the checkers in use: jax.test_util.check_grads and torch.autograd.gradcheck.

    python experiments/checker_on_collection.py --json runs/collection.jsonl
    python experiments/other_checkers.py --json runs/other_checkers.jsonl --beside runs/collection.jsonl --docs docs/checkers_compared.md

Each checker gets a case as its manual shows: the example arguments, its own tolerances, no more. It appends a line for
each case and checker and skips what the file has. torch is taken where it is installed.

A rule of JAX under gradcheck is a `torch.autograd.Function` whose forward and backward call the case's own jax function
and its own pullback, in f64 through NumPy. That is a fair translation: gradcheck sees the numbers of the rule itself.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import jax
import numpy as np
from collection import FAMILIES, families
from collection.case import Case
from collection.derivatives import function, in_dtype, of_moving
from jax.test_util import check_grads
from records import Records, table

KEY = ("case", "checker")


def example(case: Case, dtype: str) -> tuple[Callable, list]:
    """The case as a function of its floating arguments to its floating outputs, and those arguments.

    It is compiled, for speed, unless what is wrong with it shows outside jit only.
    """
    f, leaves = of_moving(function(case), in_dtype(case.args(), dtype))
    return (f if case.caught_by & set("STX") else jax.jit(f)), [jax.numpy.asarray(leaf) for leaf in leaves]


def by_jax(case: Case, dtype: str, order: int = 1, **options: Any) -> None:
    with jax.enable_x64(dtype == "float64"):
        f, leaves = example(case, dtype)
        check_grads(f, tuple(leaves), order, **options)


def by_torch(case: Case, fast: bool) -> None:
    import torch

    with jax.enable_x64(True):
        f, leaves = example(case, "float64")
        value, pulled = in_torch(f, leaves)

        class Rule(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *inputs):
                ctx.inputs = [as_jax(x) for x in inputs]
                ctx.pull = None if f is not value else jax.vjp(f, *ctx.inputs)[1]
                return tuple(as_torch(y) for y in value(*ctx.inputs))

            @staticmethod
            def backward(ctx, *output_bars):
                bars = [as_jax(bar).conj() for bar in output_bars]  # PyTorch's cotangents are conjugates of JAX's
                found = ctx.pull(bars) if ctx.pull else pulled(ctx.inputs, bars)
                return tuple(as_torch(bar.conj()) for bar in found)

        inputs = [as_torch(np.asarray(leaf)).requires_grad_() for leaf in leaves]
        torch.autograd.gradcheck(Rule.apply, inputs, fast_mode=fast)


def in_torch(f: Callable, leaves: list) -> tuple[Callable, Callable]:
    """The value, and pulled(inputs, bars), compiled where f is."""
    compiled = hasattr(f, "lower")
    return f, (jax.jit if compiled else lambda g: g)(lambda inputs, bars: jax.vjp(f, *inputs)[1](bars))
