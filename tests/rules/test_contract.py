"""Every rule through the contract of its proof, on drawn configurations whose coverage is asserted."""

import collections

import pytest

from fnnet.checking import contract
from fnnet.proofs import own

PROOFS = own()
STEP = 50  # cases of a slow test
# Of each check how many cases are run always, and in all with the slow ones of a heavy rule and of another.
COUNTS = {
    contract.values_and_gradients: (contract.DRAWN, contract.DRAWN, contract.DRAWN),
    contract.structure: (1, contract.DRAWN, contract.DRAWN),
    contract.low_precision: (1, 60, contract.DRAWN),
    contract.mapped: (1, 40, 40),
    contract.second_order: (1, 80, 80),
}


FIRST = {proof.page: proof for proof in reversed(PROOFS.values())}


def marks_of(proof) -> list:
    """Of the rules of a page, which are made alike, the first runs by default."""
    return [] if FIRST[proof.page] is proof else [pytest.mark.slow]


def marks_of_hessians(proof) -> list:
    """A scan is long to differentiate twice; `second_order` does so by default."""
    return [pytest.mark.slow] if proof.page in ("lstm", "gru") else marks_of(proof)


def cost(case) -> tuple[bool, float]:
    """Of a check of one case: its programs are of one or some of the arguments, and long where blocks are many."""
    entries = sum(array.size for array in case.arrays.values())
    is_empty = any(not array.size for array in case.arrays.values())
    return is_empty, len(case.arrays) * (1 + entries / 1000)


def runs_of_cases() -> list:
    """For each rule and check: first cases that show all that the proof covers, and the others, which are slow."""
    found = []
    for proof in PROOFS.values():
        covering = contract.covering(proof)
        for check, (quick, heavy, light) in COUNTS.items():
            chosen = covering[:quick] if quick > 1 else [min(covering, key=lambda number: cost(proof.case(number)))]
            others = [number for number in range(heavy if proof.is_heavy else light) if number not in chosen]
            marks = [] if check is contract.values_and_gradients else marks_of(proof)
            if proof.is_heavy and check in (contract.mapped, contract.second_order):
                marks = [pytest.mark.slow]  # up to 20 s for one case, and other tests map and differentiate these rules
            found.append(pytest.param(check, proof, chosen, id=f"{check.__name__}-{proof.name}", marks=marks))
            for start in range(0, len(others), STEP):
                name = f"{check.__name__}-{proof.name}-{start}"
                found.append(pytest.param(check, proof, others[start : start + STEP], id=name, marks=pytest.mark.slow))
    return found


@pytest.mark.parametrize(("check", "proof", "numbers"), runs_of_cases())
def test_drawn_cases(check, proof, numbers):
    wrong = contract.wrong_cases(check, proof, numbers)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("proof", [pytest.param(p, id=p.name, marks=marks_of_hessians(p)) for p in PROOFS.values()])
def test_hessians_agree_with_the_reference(proof):
    findings = contract.hessians(proof.tiny_case())
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize("proof", PROOFS.values(), ids=list(PROOFS))
def test_the_drawn_configurations_cover_what_they_should(proof):
    features = [proof.case(index).configuration.features for index in range(contract.DRAWN)]
    counts = collections.Counter(feature for found in features for feature in found)
    assert {feature: counts[feature] for feature in proof.covers if counts[feature] < 5} == {}
