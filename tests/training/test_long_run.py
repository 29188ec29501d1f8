"""A thousand epochs: nothing grows. The short form is fewer epochs of the same program."""

import jax
import long_run
import pytest


@pytest.mark.slow
def test_a_thousand_epochs_grow_nothing(tmp_path):
    with jax.numpy_dtype_promotion("standard"):
        found = long_run.looks(tmp_path / "run", 1000, 10)
    assert [look.epoch for look in found] == list(range(100, 1001, 100))
    assert long_run.grew(found) == []


def test_growth_is_seen():
    look = long_run.Look(100, 10**8, 20, 9, 12)
    assert long_run.grew([look, look, look]) == []
    worse = [{"resident": 2 * 10**8}, {"compilations": 21}, {"files": 30}, {"log_lines": 1000}]
    for change, name in zip(worse, ("memory", "compilations", "files", "lines printed"), strict=True):
        (fault,) = long_run.grew([look, look, look._replace(**change)])
        assert fault.startswith(name)
