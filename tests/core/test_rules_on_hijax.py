"""docs/rules_on_hijax.py: what works there is autodiff's, and the kernel's gradient is one product."""

import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "docs" / "rules_on_hijax.py"
# What each JAX is known not to do on hijax: forward mode is refused as by custom_vjp, 0.10 has no linearize_from_jvp.
MISSING = {"forward mode", "linearize"}


def output_of(code, environment):
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout


@pytest.mark.slow
def test_the_rule_on_hijax(users_environment):
    out = output_of(f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')", users_environment)
    if "nothing to try" in out:
        pytest.skip(out)
    _, *rows, ours, on_hijax = out.splitlines()
    assert len(rows) == 16
    assert "DIFFERS" not in out
    not_autodiffs = {row[:28].strip() for row in rows if row.count("as autodiff") < 2}
    assert not_autodiffs - MISSING == set()
    assert ours.endswith("tensor<8x3xf32>, tensor<3x4xf32>; tensor<3x8xf32>, tensor<8x4xf32>")
    assert on_hijax.endswith("tensor<8x3xf32>, tensor<3x4xf32>; tensor<3x8xf32>, tensor<8x4xf32>")


def test_without_hijax_it_says_so(users_environment):
    absent = "import runpy, sys; sys.modules['jax.experimental.hijax'] = None"
    out = output_of(f"{absent}; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')", users_environment)
    assert "has no HiPrim" in out
