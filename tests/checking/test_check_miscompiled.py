"""`fnnet.check` and the compiler: a right rule is never called wrong because of XLA, and a wrong one still is."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from miscompiled.rules import CRASHES, RULES
from sampled import one_in

import fnnet
from fnnet.checking import programs
from fnnet.checking.compilation import first_difference, usual_options
from fnnet.checking.output import STATUS

pytestmark = pytest.mark.cpu
HERE = jax.__version__
X = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)


def square(slope):
    f = jax.custom_vjp(lambda x: (x * x).sum(-1))
    f.defvjp(lambda x: ((x * x).sum(-1), x), lambda x, g: (slope * x * g[:, None],))
    return f


@pytest.mark.parametrize("row", one_in(3, ((row,) for row in RULES), lambda row: row[0][0]))
def test_ten_right_rules_that_xla_miscompiles(row):
    name, rule, reference, args, versions, what = row
    report = fnnet.check(rule, *args, reference=reference, checks="SPR", name=name)
    assert report.verdict == ("miscompiled" if HERE in versions else "right"), report
    if HERE in versions:
        assert not report.ok
        assert {f.check for f in report.failures} == {{"value": "P", "gradient": "R"}[what]}
        assert {f.blame for f in report.failures} == {"compiler"}
        said = report.failures[0].diagnosis
        assert "XLA miscompiles it: the first of " in said
        assert "compiler_options=fnnet.safe_options() avoids it" in said
        assert "like the known fault " in said
        assert json.loads(report.to_json())["verdict"] == "miscompiled"
        assert STATUS[report.verdict] == 3


@pytest.mark.parametrize("row", CRASHES, ids=[row[0] for row in CRASHES])
def test_what_would_end_the_process_is_not_run(row):
    name, rule, reference, args, versions, _ = row
    report = fnnet.check(rule, *args, reference=reference, checks="SPR", name=name)
    assert report.verdict == ("miscompiled" if HERE in versions else "right"), report
    if HERE in versions:
        said = report.failures[0].diagnosis
        assert "XLA crashes on the sum of a product of shape (3, 1, 2, 2, 8, 8, 8) over axis 3; like the known" in said


@pytest.fixture
def broken_compiler(monkeypatch):
    """XLA as it would be if it computed every square wrongly: what is compiled is another function."""

    known = programs.compiler_options(False)

    def compile_wrongly(which):
        def jit(function, **options):
            def wrong(*args):
                return jax.tree.map(lambda a: a * 1.5 + 1 if a.dtype == np.float32 else a, function(*args))

            usual = options.get("compiler_options") == known
            return jax.jit(wrong if usual or which == "both" else function, **options)

        class Broken:
            def __getattr__(self, name):
                return jit if name == "jit" else getattr(jax, name)

        monkeypatch.setattr(programs, "jax", Broken())

    return compile_wrongly


def test_a_right_rule_under_a_compiler_that_is_wrong_with_its_usual_options(broken_compiler):
    broken_compiler("usual")
    report = fnnet.check(square(2), X, checks="SPRL")
    assert report.verdict == "miscompiled", report
    assert [(f.check, f.blame) for f in report.failures] == [("P", "compiler"), ("R", "compiler")]
    assert "no operation by itself shows it" in report.failures[0].diagnosis


def test_a_right_rule_under_a_compiler_that_is_wrong_with_all_options(broken_compiler):
    """Case C's kind: the checker's own programs are wrong, and it finds out operation by operation."""
    broken_compiler("both")
    report = fnnet.check(square(2), X, checks="SPRLFE")
    assert report.verdict == "miscompiled", report
    assert {f.blame for f in report.failures} == {"compiler"}
    assert "the check passes operation by operation, and fails as compiled" in report.failures[0].diagnosis
    assert [line.status for line in report.checks][2:] == ["passed"] * 4


@pytest.mark.parametrize("which", ["usual", "both"])
def test_a_wrong_rule_stays_wrong_whatever_the_compiler(broken_compiler, which):
    broken_compiler(which)
    report = fnnet.check(square(3), X, checks="SPRLF")
    assert report.verdict == "wrong", report
    (failure,) = (f for f in report.failures if f.check == "R" and f.blame == "rule")
    assert failure.rule == pytest.approx(1.5 * failure.reference, rel=1e-4)


@pytest.mark.slow
def test_a_convolution_that_crops_is_computed_rightly_operation_by_operation():
    """openxla/xla#48713: with jaxlib 0.10.2 it is wrong with all options, and by itself."""
    x = np.random.default_rng(1).normal(size=(1, 15, 6, 8)).astype(np.float32)
    kernel = np.random.default_rng(2).normal(size=(1, 1, 8, 8)).astype(np.float32)

    def cropped(x, kernel):
        y = jnp.concatenate([x[:, :, 5:], jnp.zeros_like(x[:, :, :1])], 2)
        return jnp.einsum("nhwi,io->nhwo", y, kernel[0, 0])

    def by_xla(x, kernel):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (1, 1), ((0, 0), (-5, 1)), dimension_numbers=dimensions)

    f = jax.custom_vjp(by_xla)
    f.defvjp(lambda x, k: (by_xla(x, k), (x, k)), lambda kept, g: jax.vjp(cropped, *kept)[1](g))
    report = fnnet.check(f, x, kernel, reference=cropped, checks="SPRF")
    assert report.verdict == ("miscompiled" if HERE == "0.10.2" else "right"), report


def test_bisection_names_the_operation():
    def steps(x):
        y = jnp.sin(x) + 1
        return (jnp.exp(y) * x).sum()

    assert first_difference.first_difference(steps, False, (X,), safe=True) is None
    assert first_difference.differs(1.0 + 1e-5, np.float32(1.0)).sum() == 0
    assert first_difference.differs(1.0 + 1e-2, np.float32(1.0)).sum() == 1
    assert usual_options.RANK == 7
