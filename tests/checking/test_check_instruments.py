"""The instruments of `check`, each alone: tolerance, finite differences, diagnosis, sweeps over shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnnet.checking import differences, tolerance
from fnnet.checking.checks.shapes import axis_groups
from fnnet.checking.diagnosis.hypotheses import Evidence, diagnose
from fnnet.checking.preparation import prepared
from fnnet.checking.programs import LARGE, Program, Programs
from fnnet.checking.session import Options
from fnnet.checking.subject import subject_of

RNG = np.random.default_rng(3)
A = RNG.normal(size=(3, 4, 4))


# Finite differences.


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("f", [np.sin, np.exp, lambda t: t**5 - t, lambda t: np.cos(40 * t)])
def test_difference_of_a_smooth_function(f, scale):
    at = 0.3
    slope = f(at + 1e-20j).imag / 1e-20  # the complex step
    found = differences.along(lambda t: [np.array(scale * f(at + t))], [np.array(1.0)])
    assert found.conclusive
    assert not found.kink
    assert abs(found.value - scale * slope) <= found.uncertainty
    assert found.uncertainty <= 1e-6 * scale * abs(slope)


def test_difference_at_a_kink():
    found = differences.along(lambda t: [np.maximum(np.array([t, -t]), 0)], [np.array([2.0, 3.0])])
    assert found.kink
    assert not found.conclusive
    assert (found.left, found.right) == (-3.0, 2.0)
    assert found.contains(0.0, 0.0)
    assert found.contains(-1.0, 0.0)
    assert not found.contains(2.1, 1e-3)
    assert found.side(2.0, 1e-9) == "the slope from the right"


def test_difference_of_noise():
    found = differences.along(lambda t: [np.sin(1e16 * np.array([0.3 + t]))], [np.ones(1)])
    assert not found.conclusive
    assert not found.kink


def test_difference_beside_the_domain():
    found = differences.along(lambda t: [np.log(np.array([1e-3 + t]))], [np.ones(1)])
    assert found.agrees(1e3, 1e-6)


def test_difference_of_a_function_in_single_precision():
    """Steps that it cannot take say nothing: neither of its slope nor of a kink."""
    at = np.float32(0.7)
    found = differences.along(lambda t: [np.sin(at + np.float32(t)).astype(float)], [np.ones(1)], float(2**-23))
    assert not found.kink
    assert abs(found.value - np.cos(0.7)) <= found.uncertainty
    assert found.uncertainty <= 0.02


# Tolerance.


def pull(f):
    def run(leaves, bars):
        out, back = jax.vjp(f, *leaves)
        return [out], list(back(jnp.asarray(bars[0])))

    return run


def test_half_ulp():
    for dtype in (np.float32, jnp.bfloat16, np.float16):
        x = np.array([1.0, 1.5, -3.0, 0.0, -np.inf, 1e-3]).astype(dtype)
        moved = tolerance.half_ulp(x, np.random.default_rng(0))
        ulp = np.spacing(np.abs(x[:3]).astype(np.float32)) * float(jnp.finfo(dtype).eps) / 2.0**-23
        np.testing.assert_allclose(np.abs(moved[:3] - x[:3].astype(float)), ulp / 2)
        assert moved[3] == 0
        assert moved[4] == -np.inf


def test_tolerance_follows_the_conditioning(x64):
    calm, steep = (
        tolerance.expected(
            pull(f), [np.ones(3, np.float32)], [np.ones(3, np.float32)], np.random.default_rng(0)
        ).bar_allowed[0]
        for f in (jnp.sin, lambda x: jnp.sin(1e4 * x))
    )
    assert calm < 1e-5
    assert steep > 1e3 * calm


def test_jumps_are_left_out_of_the_tolerance(x64):
    x = np.array([0.0, 1.0, 2.0], np.float32)
    found = tolerance.expected(pull(lambda x: jnp.abs(x)), [x], [np.ones(3, np.float32)], np.random.default_rng(0))
    assert found.jumps[0].tolist() == [True, False, False]
    assert found.bar_allowed[0] < 1e-5


@pytest.mark.parametrize("seed", range(8))
def test_ties_are_left_out_of_the_tolerance(x64, seed):
    """Whichever way the perturbations move two equal entries."""
    x = np.linspace(0.5, 2, 4).astype(np.float32)
    for f in (jnp.maximum, lambda a, b: jnp.where(a < b, a, b)):
        rng = np.random.default_rng(seed)
        found = tolerance.expected(pull(f), [x, x.copy()], [np.ones(4, np.float32)], rng)
        assert max(found.bar_allowed) < 1e-5


def test_wrong_entries():
    theirs = np.array([1.0, np.nan, 3.0, 1e300])
    entries = tolerance.compared(np.array([1.1, 0.0, np.nan, 0.0]), theirs, 0.2, np.float32)
    assert entries.wrong.tolist() == [False, False, True, False]
    assert (entries.are_wrong, entries.count, entries.worst()) == (True, 1, (2,))


def test_the_worst_entries_come_first():
    entries = tolerance.compared(np.array([3.0, 0.0, np.nan, 9.0, 1.0]), np.zeros(5), 0.5)
    assert entries.by_size(4) == [(2,), (3,), (0,), (4,)]
    assert entries.by_size(2) == [(2,), (4,)]
    assert entries.multiple((3,)) == 18


# Diagnosis.

OTHER = RNG.normal(size=A.shape)
SIZES = {"the batch size": 3, "the size of axis 1 of x": 4}
MUTATED = {
    "is zero": lambda a: 0 * a,
    "has the opposite sign of the reference": lambda a: -a,
    "is the reference divided by 3 (the batch size)": lambda a: a / 3,
    "is minus the reference times 4 (the size of axis 1 of x)": lambda a: -4 * a,
    "is the reference divided by 2": lambda a: a / 2,
    "is the reference times 1.001": lambda a: 1.001 * a,
    "is NaN at 2 of 48 entries": lambda a: np.where(np.arange(48).reshape(a.shape) < 2, np.nan, a),
    "equals the reference with axes (1, 2) flipped": lambda a: a[:, ::-1, ::-1],
    "equals the reference with axes (1, 2) transposed": lambda a: a.swapaxes(1, 2),
    "equals the reference with axis 0 flipped, and the opposite sign": lambda a: -a[::-1],
    "equals the reference rolled by 1 along axis 2": lambda a: np.roll(a, 1, 2),
    "equals the reference shifted by 1 along axes (1, 2), apart from the border": lambda a: np.concatenate(
        [OTHER[:, :1], np.concatenate([OTHER[:, 1:, :1], a[:, :-1, :-1]], 2)], 1
    ),
    "equals the reference in absolute value": np.abs,
    "equals the reference averaged over axis 1": lambda a: np.broadcast_to(a.mean(1, keepdims=True), a.shape),
    "equals the reference centred along axis 2": lambda a: a - a.mean(2, keepdims=True),
    "is the cotangent of y: two cotangents are exchanged": lambda a: OTHER,
    "is the reference plus 0.01": lambda a: a + 0.01,
    "is the reference plus 0.1 times x itself": lambda a: a + 0.1 * (OTHER + 1),
    "is right except at index 1 of axis 0: zero there": lambda a: a * np.array([1, 0, 1])[:, None, None],
    "is right except at index 3 (the last) of axis 2: wrong there": lambda a: np.concatenate(
        [a[..., :3], a[..., 3:] ** 2], 2
    ),
    "is right except at indices 0, 1 of axis 1: there it is the reference times 1.5": lambda a: (
        a * np.array([1.5, 1.5, 1, 1])[:, None]
    ),
    "is the reference times 1.5 at 3 of 48 entries, and right at the others": lambda a: (
        a * (1 + 0.5 * (np.arange(48) % 19 == 5).reshape(a.shape))
    ),
    "is scaled along axis 1: the reference times 1, 2, 3, 4": lambda a: a * np.arange(1, 5)[:, None],
    "is the reference up to a relative error of": lambda a: a * (1 + 1e-4 * np.sin(1e3 * a)),
    "is the reference up to a relative error of 1": lambda a: np.where(a > 0, a * (1 + 2e-8), a),
    "is like no simple change": lambda a: np.sin(7 * OTHER),
}


@pytest.mark.parametrize("words", MUTATED)
def test_diagnosis(words):
    evidence = Evidence(np.array(MUTATED[words](A)), A, 1e-9, SIZES, {"the cotangent of y": OTHER}, {"x": OTHER + 1})
    assert diagnose(evidence).text.startswith(words)


# Shapes.


def groups(f, *args):
    subject = subject_of(f, args, None, None, None)
    session = prepared(subject, Options(), Programs(subject))
    return [{(subject.paths[leaf], axis) for leaf, axis in group} for group in axis_groups(session)]


def test_axes_that_change_together():
    def dense(x, w, b):
        return x @ w + b

    f = jax.custom_vjp(dense)
    f.defvjp(lambda x, w, b: (dense(x, w, b), (x, w)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g, g.sum(0)))
    for shapes in (((4, 3), (3, 2), (2,)), ((3, 3), (3, 3), (3,))):
        args = [np.ones(shape, np.float32) for shape in shapes]
        assert groups(f, *args) == [{("x", 0)}, {("x", 1), ("w", 0)}, {("w", 1), ("b", 0)}]


# Programs.


def test_a_program_is_optimised_for_large_arguments_alone():
    program = Program(lambda a: a.sum(), wide=False, by_size=True)
    runs = []
    for name in ("compiled", "optimised"):
        own = getattr(program, name)
        setattr(program, name, lambda a, own=own, name=name: runs.append(name) or own(a))
    for size in (LARGE, LARGE + 1):
        assert program(np.ones(size, np.float32)) == size
    assert runs == ["compiled", "optimised"]
    usual = Program(lambda a: a.sum(), wide=False)
    assert usual.optimised is usual.compiled
