"""Every rule through the contract of its proof, on drawn configurations whose coverage is asserted."""

import collections

import pytest

import fnnet
from fnnet.checking import contract
from fnnet.proofs import own

PROOFS = own()
DRAWN = 250
# Of each check how many cases of a heavy rule and of another are run: in every run, and in all with the slow ones.
COUNTS = {
    contract.values_and_gradients: ((40, DRAWN), (100, DRAWN)),
    contract.structure: ((5, DRAWN), (3, DRAWN)),
    contract.low_precision: ((4, 60), (5, DRAWN)),
    contract.mapped: ((4, 40), (4, 40)),
    contract.second_order: ((8, 80), (6, 80)),
}


def runs_of_cases() -> list:
    """Runs of cases of each rule under each check, the later ones slow."""
    found = []
    for check, counts in COUNTS.items():
        for proof in PROOFS.values():
            quick, total = counts[0 if proof.is_heavy else 1]
            step = 10 if proof.is_heavy else 50
            starts = [*range(0, quick, step), *range(quick, total, step)]
            for start, stop in zip(starts, [*starts[1:], total], strict=True):
                marks = [pytest.mark.slow] if start >= quick else []
                name = f"{check.__name__}-{proof.name}-{start}"
                found.append(pytest.param(check, proof, range(start, stop), id=name, marks=marks))
    return found


@pytest.mark.parametrize(("check", "proof", "indices"), runs_of_cases())
def test_drawn_cases(check, proof, indices):
    wrong = contract.wrong_cases(check, proof, indices)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("proof", PROOFS.values(), ids=list(PROOFS))
def test_hessians_agree_with_the_reference(proof):
    findings = contract.hessians(proof.tiny_case())
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize("proof", PROOFS.values(), ids=list(PROOFS))
def test_the_drawn_configurations_cover_what_they_should(proof):
    features = [proof.case(index).configuration.features for index in range(DRAWN)]
    counts = collections.Counter(feature for found in features for feature in found)
    assert {feature: counts[feature] for feature in proof.covers if counts[feature] < 5} == {}
    quick, _ = COUNTS[contract.values_and_gradients][0 if proof.is_heavy else 1]
    assert proof.covers <= set().union(*features[:quick])


def test_every_public_rule_has_a_proof():
    modules = {name: getattr(value, "__module__", "") for name, value in vars(fnnet).items()}
    without_gradient = {"max_pool_indices"}  # integers: test_pooling.py
    public = {name for name, module in modules.items() if module.startswith("fnnet.rules.")}
    assert public - without_gradient == set(PROOFS)
    assert all(getattr(fnnet, name) is proof.function for name, proof in PROOFS.items())
