"""`check`: whether a hand-written backward is right."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fnnet.checking.report import Report


def check(
    f: Any,
    *args: Any,
    reference: Callable | None = None,
    static: Mapping[str, Any] | None = None,
    checks: Iterable[str] | None = None,
    dtypes: Iterable[str] | None = None,
    mapped: Iterable[str] | None = None,
    second_order: bool | None = None,
    ties: str = "any",
    waive: Mapping[str, str] | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Report:
    """Whether a hand-written backward is right; if not, where and how it is wrong.

    Every cotangent is compared, entry by entry, with autodiff of a reference in double precision, and with finite
    differences, at the example, at edge values, at other shapes and dtypes, and under the transformations of JAX.

    Args:
        f: An `fnnet.rule`, a `jax.custom_vjp`, any function that has one inside, or a pair (forward, backward):
            forward(*args, **static) -> (output, residuals), backward(residuals, output_bar, **static) -> cotangents.
        *args: Example arguments: arrays, pytrees of arrays, integers, None. Their shapes and values seed the sweeps.
        reference: A plain JAX function of the same signature; by default f without its custom backward.
        static: Values of keyword arguments that are not arrays.
        checks: Which checks to run, by letter or name; by default all. See docs/checking.md.
        dtypes: Which dtypes check D tries, by default f64, f32, bf16 and f16.
        mapped: Names of the arguments that vmap may map; by default all.
        second_order: False: the rule need not be differentiable twice. True: it must not refuse. By default it may
            refuse, but not be wrong.
        ties: "any": at a kink or tie every value within the subdifferential passes, and the report says which;
            "reference": only the reference's value passes.
        waive: Checks that may fail, by letter or name, each with the reason, which is printed.
        seed: The seed of the random cotangents and directions.
        name: What the report calls the rule.

    Returns:
        A Report: `ok`, `verdict`, `failures`, `notes`, `not_run`; `str(report)` is all of it.

    Raises:
        ValueError: f has no floating argument or output, an option is unknown, or a waiver has no reason.
        TypeError: f is no function or pair of functions, an example argument is missing or is no array, or `check` is
            called inside `jax.jit`, `jax.grad` or `jax.vmap`.
        Exception: Whatever f itself raises at the example.

    Example:
        >>> import jax, jax.numpy as jnp, fnnet
        >>> square = fnnet.rule(lambda x: (x * x, x), lambda x, y_bar: (2 * x * y_bar,))
        >>> fnnet.check(square, jnp.arange(3.0), checks="SPRLF").verdict
        'right'
    """
    from fnnet.checking.runner import run  # fifty modules, which `import fnnet` leaves out

    begun = run(
        f,
        *args,
        reference=reference,
        static=static,
        checks=checks,
        dtypes=dtypes,
        mapped=mapped,
        second_order=second_order,
        ties=ties,
        waive=waive,
        seed=seed,
        name=name,
    )
    for letter in begun.chosen:
        begun.line(letter)
    return begun.report()
