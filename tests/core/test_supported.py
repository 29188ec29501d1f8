"""The supported range of JAX: declared in one place, and a version outside it is told of once."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from fnnet.core import supported

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("version", ["0.10.2", "0.11.0", "0.12.0.1", "0.12.9", "0.12.0.dev20260101"])
def test_a_supported_version_is_silent(version):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        supported.warn_of(version)


@pytest.mark.parametrize("version", ["0.10.1", "0.4.38", "0.13.0", "1.0", "0.13.0.dev1", "unknown"])
def test_another_one_is_told_of(version):
    with pytest.warns(UserWarning, match=f"from 0.10.2 on and before 0.13; this is jax {re.escape(version)}$"):
        supported.warn_of(version)


def test_one_warning_a_process(users_environment):
    program = "import jax; jax.__version__ = '0.9.0'; import fnnet, fnnet.cli.command; import fnnet; fnnet.conv"
    done = subprocess.run([sys.executable, "-c", program], env=users_environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.count("this is jax 0.9.0") == 1


def test_the_package_and_the_readme_say_the_same():
    first, beyond = (".".join(map(str, bound)) for bound in (supported.FIRST, supported.BEYOND))
    assert f'"jax>={first}"' in (ROOT / "pyproject.toml").read_text()
    assert f"jax {first} and newer, before {beyond}" in (ROOT / "README.md").read_text()
