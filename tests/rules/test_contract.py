"""The contract table: every public rule through every check, on drawn configurations whose coverage is asserted."""

import collections
from collections.abc import Callable

import pytest
from contract import contracts
from contract.cases import Case, Row
from contract.rows import ROWS

import fnnet

DRAWN = 250
SHOWN = 5  # wrong cases told in one message
# For each check how many cases of a heavy row and of another row are run: in every run, and in all with the slow ones.
COUNTS = {
    "reference": ((40, DRAWN), (100, DRAWN)),
    "structure": ((5, DRAWN), (3, DRAWN)),
    "low_precision": ((4, 60), (5, DRAWN)),
    "mapped": ((4, 40), (4, 40)),
    "second_order": ((8, 80), (6, 80)),
}


def pieces(check: str) -> list:
    """Runs of cases of each row, the later ones slow."""
    found = []
    for row in ROWS.values():
        quick, total = COUNTS[check][0 if row.heavy else 1]
        step = 10 if row.heavy else 50
        starts = [*range(0, quick, step), *range(quick, total, step)]
        for start, stop in zip(starts, [*starts[1:], total], strict=True):
            marks = [pytest.mark.slow] if start >= quick else []
            found.append(pytest.param(row, range(start, stop), id=f"{row.name}-{start}", marks=marks))
    return found


def run(check: Callable[[Case], list[str]], row: Row, indices: range) -> None:
    """Runs the check on these cases of the row, and tells what it finds first in each of the first wrong ones."""
    told = []
    for index in indices:
        case = row.case(index)
        try:
            findings = check(case)
        except Exception as error:
            error.add_note(f"in {case}")
            raise
        if findings:
            told.append(f"{case}\n    {findings[0]}" + f"\n    and {len(findings) - 1} more" * (len(findings) > 1))
    assert not told, "\n".join([f"{len(told)} of {len(indices)} cases are wrong:", *told[:SHOWN]])


@pytest.mark.parametrize(("row", "indices"), pieces("reference"))
def test_values_and_gradients_agree_with_the_reference(row, indices):
    run(contracts.reference, row, indices)


@pytest.mark.parametrize(("row", "indices"), pieces("structure"))
def test_cotangents_have_the_shapes_and_dtypes_of_their_primals(row, indices):
    run(contracts.structure, row, indices)


@pytest.mark.parametrize(("row", "indices"), pieces("low_precision"))
def test_bfloat16_and_float16_agree_with_the_reference(row, indices):
    run(contracts.low_precision, row, indices)


@pytest.mark.parametrize(("row", "indices"), pieces("mapped"))
def test_vmap_over_every_subset_of_arguments_is_a_loop(row, indices):
    run(contracts.mapped, row, indices)


@pytest.mark.parametrize(("row", "indices"), pieces("second_order"))
def test_second_derivatives_agree_with_the_reference(row, indices):
    run(contracts.second_order, row, indices)


@pytest.mark.parametrize("row", list(ROWS.values()), ids=list(ROWS))
def test_hessians_agree_with_the_reference(row):
    findings = contracts.hessian(row.tiny_case())
    assert not findings, "\n".join(map(str, findings))


@pytest.mark.parametrize("row", list(ROWS.values()), ids=list(ROWS))
def test_the_drawn_configurations_cover_what_they_should(row):
    counts = collections.Counter(feature for index in range(DRAWN) for feature in row.case(index).draw.features)
    assert {feature: counts[feature] for feature in row.covers if counts[feature] < 5} == {}
    quick, _ = COUNTS["reference"][0 if row.heavy else 1]
    in_every_run = set().union(*(row.case(index).draw.features for index in range(quick)))
    assert row.covers <= in_every_run


def test_every_public_rule_has_a_row():
    modules = {name: getattr(value, "__module__", "") for name, value in vars(fnnet).items()}
    without_gradient = {"max_pool_indices"}  # integers: test_pooling.py
    public = {name for name, module in modules.items() if module.startswith("fnnet.rules.")}
    assert public - without_gradient == set(ROWS)
