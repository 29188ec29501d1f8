"""The collection is honest: every wrong rule is wrong, every right one right, and there are enough of both.

Nothing here is a checker: `collection.proof` differentiates a rule and its reference side by side, under the
circumstance that a case names.
"""

import collections
import dataclasses
import re

import jax
import pytest
from collection import cases, derivatives, proof, short
from collection.case import CHECKS, VERDICTS
from collection.circumstances import Kink
from sampled import one_in

CASES = cases()
OF = {verdict: [case for case in CASES if case.verdict == verdict] for verdict in VERDICTS}


def each(verdict, number=1):
    return pytest.mark.parametrize("case", one_in(number, OF[verdict], str))


@each("wrong", 8)
def test_wrong_is_wrong(case):
    assert proof.shows(case)


@each("right", 8)
def test_right_is_right(case):
    dtype = derivatives.dtype_of(case)
    assert proof.gradient_error(case, case.args, dtype) <= proof.RIGHT[dtype]


@pytest.mark.parametrize("case", one_in(8, [case for case in OF["right"] if derivatives.parts(case)], str))
def test_right_has_the_right_structure(case):
    dtype = derivatives.dtype_of(case)
    assert proof.structure_faults(case, "float32" if dtype == "float64" else dtype) == ""


@each("convention")
def test_convention_differs_only_at_its_kink(case):
    assert proof.gradient_error(case, case.args) <= proof.RIGHT["float64"]
    assert isinstance(case.exposed_by, Kink)
    from_reference, from_around = proof.kink_errors(case, case.exposed_by)
    assert from_reference > proof.WRONG["float64"]
    assert from_around <= 1e-3


@each("bad reference")
def test_reference_is_bad_and_rule_right(case):
    assert proof.shows(case)
    assert proof.finite_difference_error(case) <= 1e-8


@each("trap")
def test_trap_is_right_until_mapped(case):
    assert proof.gradient_error(case, case.args) <= proof.RIGHT["float64"]
    assert proof.shows(case)


@each("inconclusive")
def test_inconclusive_has_no_stable_digit(case):
    assert proof.instability(case) > 0.1


@pytest.mark.slow
@each("right")
def test_right_stays_right_when_mapped_and_differentiated_again(case):
    args = case.args()
    if any(derivatives.is_moving(leaf) for leaf in derivatives.split(args)[0]) and "second order" not in case.note:
        assert proof.second_order_error(case, args) <= 1e-8
    present = [bool(derivatives.split((arg,))[0]) for arg in args]
    for i in range(len(args)):
        mapped = tuple(present[j] if i == len(args) else j == i and present[j] for j in range(len(args)))
        if any(mapped):
            assert proof.mapped_error(case, mapped) <= 1e-8, mapped


@pytest.mark.parametrize("chosen", [CASES, short()], ids=["all", "short"])
def test_counts(chosen):
    wrong = [case for case in chosen if case.verdict == "wrong"]
    assert len({case.kind for case in wrong}) >= 85
    assert sum(case.verdict == "right" for case in chosen) >= 65
    assert len({case.source for case in wrong} - {""}) >= 20
    assert {case.verdict for case in chosen} == set(VERDICTS)
    assert sum(bool(case.waiver) for case in wrong) >= 8
    assert all(case.kind and case.caught_by for case in wrong)


def test_every_check_is_needed_by_some_case():
    """Of each check that can fail, a wrong rule that no other is expected to see."""
    alone = {next(iter(case.caught_by)) for case in OF["wrong"] + OF["trap"] if len(case.caught_by) == 1}
    assert alone >= set("SPVEBD2X")
    assert {letter for case in CASES for letter in case.caught_by} == set(CHECKS) - set("MW")


@pytest.mark.parametrize(
    "kind", sorted({type(case.exposed_by) for case in OF["wrong"]}, key=str), ids=lambda k: k.__name__
)
def test_circumstance_shows_nothing_of_a_right_rule(kind):
    siblings = {(case.name.split(":")[0], str(case.static)): case for case in OF["right"]}
    of_kind = [case for case in OF["wrong"] if type(case.exposed_by) is kind]
    pairs = [(case, siblings.get((case.name.split(":")[0], str(case.static)))) for case in of_kind]
    wrong, right = next((wrong, right) for wrong, right in pairs if right)
    assert proof.shows(wrong)
    assert proof.shows(dataclasses.replace(right, exposed_by=wrong.exposed_by)) == ""


def test_names_are_unique():
    assert [name for name, count in collections.Counter(case.name for case in CASES).items() if count > 1] == []


def test_sources_are_links_to_reports():
    link = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+")
    assert [case.source for case in CASES if case.source and not link.fullmatch(case.source)] == []


def test_arguments_are_always_the_same():
    for case in CASES:
        first, second = (jax.tree.leaves(case.args()) for _ in range(2))
        assert all((a == b).all() for a, b in zip(first, second, strict=True)), case
