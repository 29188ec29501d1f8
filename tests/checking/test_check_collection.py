"""The checker on the collection: one case of each sort by default, half of the collection with -m slow.

All of it, over several seeds: experiments/checker_on_collection.py.
"""

import dataclasses

import pytest
from collection import cases, short
from collection.case import CHECKS
from collection.judge import judge, judgements
from sampled import one_in

BY_NAME = {case.name: case for case in cases()}
# Of each check that alone sees some error, the quickest such case; and one of each other verdict.
SAMPLE = (
    "sine: returns the dtype it computed in",
    "product: zero for an argument declared constant",
    "product: clips the cotangent",
    "dense, one example: mean over the batch axes that vmap adds",
    "softplus: exponential overflows",
    "state of a causal convolution: wrong for sequences shorter than the window",
    "cosine: computed in f32 whatever the dtype",
    "tanh: second order lost: residual under stop_gradient",
    "sine with a memory: residual consumed",
    "reference: that rounds",
    "ReLU: slope 1 at 0",
    "product of all: with two zeros",
)


@pytest.mark.parametrize("name", one_in(2, SAMPLE))
def test_sample(name):
    judgement = judge(BY_NAME[name])
    assert judgement.problem == "", judgement.report


def test_sample_has_something_of_everything():
    sample = [BY_NAME[name] for name in SAMPLE]
    letters = {letter for case in sample for letter in case.caught_by}
    assert letters >= set(CHECKS) - set("PTMW")
    assert {"wrong", "right", "convention", "bad reference"} <= {case.verdict for case in sample}
    assert any(case.waiver for case in sample)


def test_judge_objects():
    """To a right rule that is failed, to an error that is missed, to one that other checks than the named ones see."""
    wrong, right = BY_NAME["product: zero for an argument declared constant"], BY_NAME["product of all: with two zeros"]
    failed = dataclasses.replace(BY_NAME["sine: returns the dtype it computed in"], verdict="right")
    assert judge(failed).problem == "the verdict is wrong, not right or convention differs"
    missed = judge(dataclasses.replace(right, verdict="wrong", caught_by=frozenset("RF")))
    assert missed.problem == "the verdict is right, not wrong"
    assert missed.missed == "FR"
    assert judge(dataclasses.replace(wrong, caught_by=frozenset("L"))).problem == "the verdict is right, not wrong"


def test_seeds_are_independent():
    """What is compiled is shared between seeds; what is drawn is not."""
    case = BY_NAME["product: clips the cotangent"]
    first, second = judgements(case, [0, 1])
    assert (first.seed, second.seed) == (0, 1)
    assert first.problem == second.problem == ""
    assert judge(case, 1).as_dict() | {"seconds": 0} == second.as_dict() | {"seconds": 0}


@pytest.mark.slow
@pytest.mark.parametrize("case", short(), ids=str)
def test_half_of_the_collection(case):
    judgement = judge(case)
    assert judgement.problem == "", judgement.report
