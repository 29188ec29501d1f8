"""What a test of drawn configurations asserts, and hypothesis's settings for it: always the same ones."""

import itertools

import jax
from hypothesis import HealthCheck, settings

from drawn import by_taps, by_torch
from drawn.configuration import Configuration

drawn = itertools.count()
KEPT = 200  # the most compiled programs kept

always = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

ORACLES = {"": None, "by_taps": by_taps.pulled, "by_torch": by_torch.pulled}


def agree(configuration: Configuration, oracle: str = "") -> None:
    """Fails where the configuration disagrees with the oracle, or with autodiff of the plain form."""
    if next(drawn) % KEPT == KEPT - 1:
        jax.clear_caches()
    try:
        findings = configuration.findings(ORACLES[oracle])
    except Exception as error:
        error.add_note(configuration.line(oracle))
        raise
    if findings:
        raise AssertionError("\n".join([*map(str, findings), configuration.line(oracle)]))
