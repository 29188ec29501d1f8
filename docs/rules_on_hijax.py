"""fnnet's dense rule as a primitive of `jax.experimental.hijax`, beside that of fnnet/core/primitives.py.

    python docs/rules_on_hijax.py

JAX is building `custom_vjp` anew on primitives whose class has a method `batch`. That method can call the same rule
with the mapped axis in front, so that the backward gets the whole batch: this is what fnnet's rules ask of vmap. The
script makes such a primitive of the forward and backward in fnnet/rules/dense.py, takes it and `fnnet.dense` through
the transformations, and prints for each whether the result is autodiff's or what JAX says. Then it prints the products
in the program for the gradient of a mini-batch: the kernel's gradient must be one product of all examples.

The class is called VJPHiPrimitive in jax 0.10 and HiPrim in 0.12. Where there is neither, the script says so.
docs/rules.md tells what follows.
"""

import contextlib
import importlib
import io
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import print_saved_residuals
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import fnnet
from fnnet.core import primitives
from fnnet.rules.dense import dense_bwd, dense_fwd

RNG = np.random.default_rng(0)
XS, W, B = (RNG.normal(size=shape).astype(np.float32) for shape in ((8, 3), (3, 4), (4,)))
WS = np.stack([W, 2 * W])


def primitive_class(hijax):
    return getattr(hijax, "HiPrim", getattr(hijax, "VJPHiPrimitive", None))


def dense_on(hijax):
    """The dense rule as a primitive of that module."""

    class Dense(primitive_class(hijax)):
        """y = x W + b, or several of these, each with its own W and b, along the first `lanes` axes."""

        def __init__(self, *avals, lanes):
            self.in_avals, self.params = avals, {"lanes": lanes}
            self.out_aval = jax.make_jaxpr(self.expand)(*avals).out_avals[0]
            super().__init__()

        def forward(self, *args):
            return self.laned(dense_fwd)(*args)

        def backward(self, residuals, y_bar):
            bars = self.laned(lambda residuals, y_bar: list(dense_bwd(residuals, y_bar)))
            return tuple(primitives.with_shardings(bars, (residuals, y_bar), [a.sharding.spec for a in self.in_avals]))

        def laned(self, function):
            for _ in range(self.params["lanes"]):
                function = jax.vmap(function)
            return function

        # What JAX calls.

        def expand(self, *args):
            return self.forward(*args)[0]

        def vjp_fwd(self, nonzeros, *args):
            return self.forward(*args)

        def vjp_bwd_retval(self, residuals, y_bar):
            return self.backward(residuals, hijax.instantiate_zeros(y_bar))

        def jvp(self, primals, tangents):  # jax.checkpoint asks for it, then finds the backward in the custom_vjp
            function = jax.custom_vjp(self.expand)
            function.defvjp(self.forward, self.backward)
            return jax.jvp(function, primals, tuple(map(hijax.instantiate_zeros, tangents)))

        if hasattr(hijax, "linearize_from_jvp"):
            lin, linearized = hijax.linearize_from_jvp

        def batch(self, axis_data, args, dims):
            lanes, size = self.params["lanes"], axis_data.size
            if dims[1] is dims[2] is None:  # a mini-batch: all of it in one call
                return dense(primitives.to_axis(args[0], dims[0], size, lanes), *args[1:], lanes=lanes), lanes
            moved = (primitives.to_axis(a, dim, size, 0) for a, dim in zip(args, dims, strict=True))
            return dense(*moved, lanes=lanes + 1), 0

    def dense(*args, lanes=0):
        args = primitives.same_varying([jnp.asarray(a) for a in args])
        return Dense(*map(jax.typeof, args), lanes=lanes)(*args)

    return dense


def one(f):
    return lambda w, x: jnp.sum(jnp.tanh(f(x, w, B)) ** 2)


def mean(f):
    return lambda w, xs=XS: jax.vmap(one(f), (None, 0))(w, xs).mean()


def scanned(f, checkpoint):
    step = checkpoint(lambda total, w, x: total + one(f)(w, x))
    return lambda w: lax.scan(lambda total, x: (step(total, w, x), None), 0.0, XS)[0]


def mapped_over_devices(f):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    loss = jax.shard_map(
        lambda w, xs: lax.pmean(mean(f)(w, xs), "data"), mesh=mesh, in_specs=(P(), P("data")), out_specs=P()
    )
    return jax.jit(jax.grad(loss))(W, XS)


def on_explicit_axes(f):
    with jax.set_mesh(jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))):
        return jax.jit(jax.grad(mean(f)))(jax.device_put(W, P()), jax.device_put(XS, P("data")))


def saved_products(f):
    """How many arrays besides its arguments a checkpoint keeps that saves products."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        print_saved_residuals(jax.checkpoint(mean(f), policy=jax.checkpoint_policies.dots_saveable), W)
    return printed.getvalue().count("output of")


FORMULAS = {
    "value": lambda f: f(XS, W, B),
    "jit": lambda f: jax.jit(f)(XS, W, B),
    "grad": lambda f: jax.grad(one(f))(W, XS[0]),
    "vmap": lambda f: jax.vmap(f, (0, None, None))(XS, W, B),
    "grad of vmap": lambda f: jax.grad(mean(f))(W),
    "vmap of grad": lambda f: jax.vmap(jax.grad(one(f)), (None, 0))(W, XS),
    "grad of an ensemble": lambda f: jax.grad(lambda ws: jax.vmap(mean(f))(ws).sum())(WS),
    "hessian": lambda f: jax.hessian(mean(f))(W),
    "scan": lambda f: jax.grad(scanned(f, lambda step: step))(W),
    "scan of checkpoint": lambda f: jax.grad(scanned(f, jax.checkpoint))(W),
    "hessian of checkpoint": lambda f: jax.hessian(jax.checkpoint(mean(f)))(W),
    "products saved by a policy": saved_products,
    "shard_map": mapped_over_devices,
    "explicit axes": on_explicit_axes,
    "linearize": lambda f: jax.linear_transpose(jax.linearize(mean(f), W)[1], W)(np.float32(1)),
    "forward mode": lambda f: jax.jvp(mean(f), (W,), (W,)),
}


def judged(formula, f):
    try:
        ours = formula(f)
    except (TypeError, ValueError, NotImplementedError) as error:
        return f"{type(error).__name__}: {error}"[:58]
    expected = formula(lambda x, kernel, bias: x @ kernel + bias)
    return "as autodiff" if np.allclose(ours, expected, rtol=1e-4, atol=1e-5) else "DIFFERS from autodiff"


def products(f):
    text = jax.jit(jax.grad(mean(f))).lower(W).as_text()
    return re.findall(r"dot_general.*: \((.*)\) ->", text)


def main():
    try:
        hijax = importlib.import_module("jax.experimental.hijax")
    except ImportError:
        hijax = None
    if primitive_class(hijax) is None:
        print(f"jax {jax.__version__} has no HiPrim or VJPHiPrimitive in jax.experimental.hijax: nothing to try")
        return
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    layers = {"fnnet.dense": fnnet.dense, f"on {primitive_class(hijax).__name__}": dense_on(hijax)}
    print(f"{'jax ' + jax.__version__:28}{'{:60}{}'.format(*layers)}")
    for name, formula in FORMULAS.items():
        print(f"{name:28}{'{:60}{}'.format(*(judged(formula, f) for f in layers.values()))}")
    for name, f in layers.items():
        print(f"products in grad of vmap, {name}:", "; ".join(products(f)))


if __name__ == "__main__":
    main()
