"""`keep_memory` in processes of its own: page faults with and without, and when it comes too late."""

import subprocess
import sys

import pytest

from fnnet.core import allocator

pytestmark = pytest.mark.cpu

PROGRAM = """
import resource, sys, fnnet, jax, jax.numpy as jnp
if {late}:
    (jnp.ones((512, 512)) @ jnp.ones((512, 512))).block_until_ready()  # JAX's threads have begun and want memory
kept = {call}
if {late}:
    sys.exit(print(kept, 0))
f, x = jax.jit(lambda x: x + 1), jnp.zeros((16, 1024, 1024))  # 64 MB
for _ in range(40):  # until the heap has grown
    f(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    f(x).block_until_ready()
print(kept, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 8)
"""


def run(environment, late=False, call="fnnet.keep_memory()"):
    program = [sys.executable, "-c", PROGRAM.format(late=late, call=call)]
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=environment)
    kept, faults = done.stdout.split()
    return kept, float(faults)


@pytest.fixture(scope="module")
def faults_without():
    """Page faults a call as they are: where there are none, there is nothing to end."""
    import os

    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    _, faults = run(clean, call="None")
    if faults < 1000:
        pytest.skip("this C library keeps its memory of itself")
    return clean, faults


@pytest.mark.slow
def test_page_faults_end(faults_without):
    environment, faults = faults_without
    kept, left = run(environment)
    if kept == "False":
        pytest.skip("not glibc")
    assert left < faults / 4


def test_too_late_is_said(faults_without):
    environment, _ = faults_without
    kept, _ = run(environment, late=True)
    assert kept == "False"


@pytest.mark.parametrize(("platform", "libc"), [("win32", None), ("darwin", object()), ("linux", object())])
def test_elsewhere_it_does_nothing(platform, libc, monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", platform)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: libc)
    assert allocator.keep_memory() is False
