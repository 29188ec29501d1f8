"""How many errors, put into the backwards of fnnet's own rules, their contract sees: a mutation score.

    python experiments/power_of_the_tests.py [RULE ...] [--cases N] [--json FILE]

Each backward is made wrong, one edit at a time (`fnnet.checking.mutation`), and each mutant is put to the contract's
check of values and gradients in f64, at drawn configurations of the rule. An edit is the same in every
configuration in which it has the same place. One that no configuration shows is listed, unless it changes nothing at
random inputs either.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import numpy as np

from fnnet.checking import contract
from fnnet.checking.checks.power import power_of_backward
from fnnet.checking.leaves import as_wide
from fnnet.checking.mutation.power import PowerReport
from fnnet.checking.runner import run
from fnnet.proofs import Case, Proof, own


def main() -> None:
    """Print a line each rule, and the survivors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rules", nargs="*", metavar="RULE", help=f"usually all: {', '.join(own())}")
    parser.add_argument("--cases", type=int, help="the first N configurations of each rule; usually those of every run")
    parser.add_argument("--json", type=Path, help="where to write the result too")
    arguments = parser.parse_args()
    unknown = set(arguments.rules) - own().keys()
    if unknown:
        parser.error(f"no rule {', '.join(sorted(unknown))}; there are {', '.join(own())}")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    cases = f"the first {arguments.cases}" if arguments.cases else "those that tests/rules/test_contract.py always runs"
    print(f"jax {jax.__version__}; configurations of each rule: {cases}")
    results: dict[str, tuple[int, list[str]]] = {}
    for name in arguments.rules or own():
        numbers = range(arguments.cases) if arguments.cases else contract.covering(own()[name])
        seen, unseen = score(own()[name], numbers)
        results[name] = len(seen), sorted(unseen)
        print(f"{name:30} {len(seen):4} of {len(seen) + len(unseen):4} errors seen", flush=True)
        for mutant in sorted(unseen):
            print(f"    not seen: {mutant}", flush=True)
    seen_of_all = sum(seen for seen, _ in results.values())
    of_all = seen_of_all + sum(len(unseen) for _, unseen in results.values())
    print(f"{'all':30} {seen_of_all:4} of {of_all:4} errors seen: {100 * seen_of_all / max(of_all, 1):.1f} %")
    if arguments.json:
        table = {name: {"seen": seen, "not seen": unseen} for name, (seen, unseen) in results.items()}
        arguments.json.write_text(json.dumps(table, indent=2))


def score(proof: Proof, cases: Iterable[int]) -> tuple[set[str], set[str]]:
    """The mutants that some configuration shows, and those that none does though some input would."""
    seen: set[str] = set()
    survived: set[str] = set()
    for index in cases:
        report = power(proof.case(index))
        if report is not None:
            seen |= set(map(_key, report.killed))
            survived |= {_key(survivor.mutant) for survivor in report.survived}
    return seen, survived - seen


def power(case: Case) -> PowerReport | None:
    """The mutants of the rule's backward in this configuration; None where nothing has a gradient."""
    if not case.differentiated:
        return None
    session = run(case.function, *case.variables.values(), reference=case.reference, name=case.proof.name).session
    leaves = session.working
    bars = [contract.cotangent(case, number) for number in range(contract.COTANGENTS)]
    expected = [[as_wide(bar) for bar in session.reference_program(leaves, [bar])[1]] for bar in bars]

    def passes(number: int, ours: Sequence) -> bool:
        rounding = contract.rounding(case, "float64", bars[number])
        tolerance = contract.TOLERANCE["float64"]
        return not any(
            contract.compare("", np.asarray(a), b, tolerance, rounding)
            for a, b in zip(ours, expected[number], strict=True)
        )

    return power_of_backward(session, leaves, [[bar] for bar in bars], passes)


def _key(mutant: str) -> str:
    """The mutant without the shapes and the line."""
    return mutant.split(" (of ")[0]


if __name__ == "__main__":
    main()
