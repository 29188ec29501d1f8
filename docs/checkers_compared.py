r"""The collection under the checkers in use: jax.test_util.check_grads and torch.autograd.gradcheck.

    python experiments/checker_on_collection.py --json runs/collection.jsonl
    python docs/checkers_compared.py --json runs/other_checkers.jsonl --beside runs/collection.jsonl \
        --docs docs/checkers_compared.md

Each checker gets a case as its manual shows: the example arguments, its own tolerances, no more. A line is kept for
each case and checker, and what the file has is skipped. Without torch its part is left out.

A rule of JAX under gradcheck is a `torch.autograd.Function` whose forward and backward call the case's own function and
its own pullback, in f64 through NumPy. That is a fair translation: gradcheck sees the rule's own numbers.
"""

import argparse
import functools
import importlib.util
import os
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}"
sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import jax
import numpy as np
from collection import FAMILIES, families
from collection.case import Case
from collection.derivatives import function, in_dtype, of_moving
from jax.test_util import check_grads
from records import Records, table

KEY = ("case", "checker")
OURS = "fnnet.check"


def example(case: Case, dtype: str) -> tuple[Callable, list[np.ndarray]]:
    """The case as a function of its floating arguments to its floating outputs, and those arguments.

    Compiled, for speed; not where compilation may hide the error.
    """
    f, leaves = of_moving(function(case), in_dtype(case.args(), dtype))
    return (f if case.caught_by & set("STX") else jax.jit(f)), [np.asarray(leaf) for leaf in leaves]


def by_jax(case: Case, dtype: str, order: int = 1, **options: Any) -> None:
    with jax.enable_x64(dtype == "float64"):
        f, leaves = example(case, dtype)
        check_grads(f, tuple(leaves), order, **options)


def by_torch(case: Case, fast: bool) -> None:
    import torch

    with jax.enable_x64(True):
        f, leaves = example(case, "float64")
        if any(leaf.dtype not in (np.float64, np.complex128) for leaf in leaves):
            raise NotImplementedError("gradcheck is for double precision; the rule's arguments are of a narrow dtype")
        compiled = hasattr(f, "lower")
        pulled = jax.jit(lambda inputs, bars: jax.vjp(f, *inputs)[1](bars))

        class Rule(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *inputs):
                arrays = [jax.numpy.asarray(x.detach().numpy()) for x in inputs]
                values, pull = (f(*arrays), partial(pulled, arrays)) if compiled else jax.vjp(f, *arrays)
                ctx.pull, ctx.dtypes = pull, [value.dtype for value in values]
                return tuple(tensor(value) for value in values)

            @staticmethod
            def backward(ctx, *output_bars):
                # PyTorch's cotangent of a complex number is the conjugate of JAX's.
                bars = [jax.numpy.asarray(b.numpy().conj(), d) for b, d in zip(output_bars, ctx.dtypes, strict=True)]
                return tuple(tensor(np.conj(bar)) for bar in ctx.pull(bars))

        def tensor(array: Any) -> Any:
            return torch.from_numpy(np.array(array))

        torch.autograd.gradcheck(Rule.apply, [tensor(leaf).requires_grad_() for leaf in leaves], fast_mode=fast)


CHECKERS: dict[str, Callable[[Case], None]] = {
    "check_grads, default modes, f32": partial(by_jax, dtype="float32"),
    "check_grads, default modes, f64": partial(by_jax, dtype="float64"),
    "check_grads, rev, f32": partial(by_jax, dtype="float32", modes=("rev",)),
    "check_grads, rev, f64": partial(by_jax, dtype="float64", modes=("rev",)),
    "check_grads, rev, order 2, f64": partial(by_jax, dtype="float64", order=2, modes=("rev",)),
    "gradcheck, f64": partial(by_torch, fast=False),
    "gradcheck, fast mode, f64": partial(by_torch, fast=True),
}


def outcome(checker: Callable[[Case], None], case: Case) -> tuple[str, str]:
    """("passes" | "fails" | "refuses" | "left out", what was raised)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            checker(case)
        except NotImplementedError as reason:
            return "left out", str(reason)
        except Exception as problem:
            said = f"{type(problem).__name__}: {problem}".splitlines()[0][:200]
            return "refuses" if isinstance(problem, TypeError) and "forward-mode" in str(problem) else "fails", said
    return "passes", ""


def run(records: Records, names: Iterable[str], checkers: Iterable[str]) -> None:
    for name in names:
        for case in families()[name]:
            for checker in checkers:
                if case.verdict not in ("wrong", "right") or (case.name, checker) in records:
                    continue
                begin = time.perf_counter()
                seen, said = outcome(CHECKERS[checker], case)
                line = {"family": name, "case": case.name, "expected": case.verdict, "checker": checker}
                line |= {"caught_by": "".join(sorted(case.caught_by)), "outcome": seen, "said": said}
                line |= {"versions": versions(), "seconds": round(time.perf_counter() - begin, 2)}
                records.add(line)
                print(f"{line['seconds']:6.1f} s  {case}, {checker}: {case.verdict}, {seen}", flush=True)
            jax.clear_caches()


def versions() -> str:
    found = [f"jax {jax.__version__}"]
    if importlib.util.find_spec("torch"):
        import torch

        found.append(f"torch {torch.__version__}")
    return ", ".join(found)


def with_ours(records: Records, beside: Path | None) -> list[dict]:
    """All lines, and those of fnnet.check on the same version of JAX, seed 0, as lines of one more checker."""
    lines = list(records)
    judged = {line["case"]: line for line in Records(beside, ("jax", "seed", "case"))
              if line["seed"] == 0 and line["jax"] == jax.__version__}  # fmt: skip
    for line in {line["case"]: line for line in lines}.values():
        if line["case"] in judged:
            rightly = not judged[line["case"]]["problem"]
            seen = "fails" if (line["expected"] == "wrong") == rightly else "passes"
            lines.append(line | {"checker": OURS, "outcome": seen})
    return lines


def cell(lines: list[dict]) -> str:
    """How many of the lines fail, of how many; and how many were refused or left out."""
    seen = [line["outcome"] for line in lines]
    more = [f"{seen.count(name)} {name}" for name in ("refuses", "left out") if name in seen]
    text = str(seen.count("fails")) if seen.count("fails") or "passes" in seen else ""
    return "; ".join([text, *more] if text else more).replace("refuses", "refused")


def counted(lines: list[dict], rows: dict[str, Callable[[dict], bool]], what: str) -> str:
    """A row for each selection, a column for each checker: how many fail."""
    checkers = [name for name in (OURS, *CHECKERS) if any(line["checker"] == name for line in lines)]
    body = []
    for name, chosen in rows.items():
        group = [line for line in lines if chosen(line)]
        if group:
            count = len({line["case"] for line in group})
            body.append([name, count, *(cell([g for g in group if g["checker"] == c]) for c in checkers)])
    return table((what, "rules", *checkers), body)


def by_family() -> dict[str, Callable[[dict], bool]]:
    return {name: lambda line, name=name: line["family"] == name for name in FAMILIES} | {"all": lambda line: True}


WHERE = {
    "at the example itself": set("RF"),
    "in the structure": set("S"),
    "in the value": set("P"),
    "under vmap": set("V"),
    "under other transformations, or from call to call": set("TX"),
    "at edge values": set("E"),
    "at other shapes": set("B"),
    "in another dtype": set("D"),
    "in the second order": set("2"),
}


def by_place() -> dict[str, Callable[[dict], bool]]:
    """Where an error shows: each line has one place, the first that fits."""

    def is_there(name: str, line: dict) -> bool:
        return name == next(name for name, letters in WHERE.items() if letters & set(line["caught_by"]))

    return {name: functools.partial(is_there, name) for name in WHERE}


def page(lines: list[dict], command: str) -> str:
    wrong = [line for line in lines if line["expected"] == "wrong"]
    right = [line for line in lines if line["expected"] == "right"]
    at_example = [line for line in wrong if set("RF") & set(line["caught_by"])]
    used = {line["checker"] for line in lines}
    strongest = "gradcheck, f64" if "gradcheck, f64" in used else "check_grads, rev, f64"
    missed = [line["case"] for line in at_example if line["checker"] == strongest and line["outcome"] == "passes"]
    failed = [f"{line['case']} ({line['said']})" for line in right
              if line["checker"] == strongest and line["outcome"] == "fails"]  # fmt: skip
    return PAGE.format(
        command=command,
        versions="; ".join(sorted({line["versions"] for line in lines})),
        wrong=len({line["case"] for line in wrong}),
        right=len({line["case"] for line in right}),
        found=counted(wrong, by_family(), "family"),
        places=counted(wrong, by_place(), "where the error shows"),
        failed=counted(right, by_family(), "family"),
        strongest=strongest,
        missed="\n".join(f"- {name}" for name in missed) or "None.",
        failed_names="\n".join(f"- {name}" for name in failed) or "None.",
    )


PAGE = """# Gradient checkers, compared

<!-- Made by the command below; edit docs/checkers_compared.py, not this page. -->

{wrong} wrong rules and {right} right ones, each put to `fnnet.check`, to `jax.test_util.check_grads` and to
`torch.autograd.gradcheck`. The rules are those of `tests/collection`; its own tests prove that each is what it says.

```sh
{command}
```

{versions}

- Each checker gets the example arguments of the rule and nothing else, with the tolerances that it has by default.
- `check_grads` in its default modes also asks for forward mode, which every `jax.custom_vjp` refuses.
- `gradcheck` gets a rule of JAX as a `torch.autograd.Function` whose forward and backward call the rule's own forward
  and its own pullback in f64. It sees the rule's own numbers. Rules whose arguments are bf16 or f16 are left out.
- Most other checkers look at the example alone. An error that shows elsewhere (under `vmap`, at another shape, at
  a tie) they cannot find, and the second table keeps these apart.
- `fnnet.check` ran, on a wrong rule, only the checks that ought to see it: more checks find more, never less. On
  a right rule it ran all of them.

## Errors found

{found}

The same by where the error shows:

{places}

## Right rules that were failed

{failed}

## Errors at the example itself that `{strongest}` misses

{missed}

## Right rules that `{strongest}` fails

{failed_names}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="the file of lines; without it nothing is kept")
    parser.add_argument("--family", choices=FAMILIES, nargs="+", default=FAMILIES)
    parser.add_argument("--beside", type=Path, help="the lines of checker_on_collection.py")
    parser.add_argument("--docs", type=Path, help="where to write the page")
    parser.add_argument("--table", action="store_true", help="only write the page")
    options = parser.parse_args()
    records = Records(options.json, KEY)
    torch = importlib.util.find_spec("torch") is not None
    if not options.table:
        run(records, options.family, [name for name in CHECKERS if torch or not name.startswith("gradcheck")])
    text = page(with_ours(records, options.beside), textwrap.dedent(__doc__.split("\n\n")[1]))
    if options.docs:
        options.docs.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
