"""docs/conformance.md: the rows of a run as a page, and the page as it is committed."""

import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

from external.outcomes import Row

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
COMMAND = "python -m pytest tests/external --table docs/conformance.md"
PACKAGES = ("onnx", "torch")

# What each source is, in the order of the page.
SOURCES = {
    "ONNX: node": "Models of one node, with inputs and outputs that ONNX's own NumPy implementation gives.",
    "ONNX: node, inside another operator's body": (
        "Models in which the operator stands among others: the bodies of functions such as Attention (Softmax), "
        "LayerNormalization (Flatten) or SoftmaxCrossEntropyLoss (LogSoftmax). The others are run by ONNX's "
        "reference evaluator. A model with several of the operators counts once, for the first."
    ),
    "ONNX: pytorch-converted": "Modules of PyTorch exported to ONNX, with PyTorch's outputs.",
    "ONNX: pytorch-operator": "Small graphs of PyTorch exported to ONNX, with PyTorch's outputs.",
    "PyTorch: sample inputs": (
        "In double precision: the value, every gradient from a random cotangent, and, since torch gives second "
        "derivatives of all of them (but of native_layer_norm with a bias and no weight), the derivative of the "
        "gradients in random directions, by every tensor and by the cotangent; entry by entry within 1e-11 of torch's "
        "autograd (second derivatives of binary_cross_entropy within 1e-9, since torch adds 1e-12 to p (1 - p) "
        "there). Of the adaptive poolings the samples with one place, which is global pooling."
    ),
    "PyTorch: error inputs": (
        "Passed: fnnet raises a ValueError or TypeError that begins with its function's name. Not supported: there is "
        "no error, since fnnet gives the arguments a meaning."
    ),
}
HEAD = "| operator | cases | passed | not supported | why |\n|---|---|---|---|---|"

INTRODUCTION = """# Conformance: test cases of ONNX and PyTorch

For anyone who asks whether fnnet's functions mean what ONNX's and PyTorch's mean. The test cases that these projects
wrote for themselves are run with fnnet's functions. fnnet supports nearly all of them, and gives a right answer in
every case that it supports.

Made by `{command}`, with {versions}.
The tests in `tests/external` compare each row with this page and fail if a case fails. The operators are those of ONNX
that fnnet has functions for, and the same operators of PyTorch. No case of theirs is left out: the cases are all that
`onnx.backend.test.loader` returns, and the `sample_inputs` and `error_inputs` of
`torch.testing._internal.common_methods_invocations.op_db`.

A case is supported if public functions of fnnet give the answer, together with what `jax.numpy` does before and after
them: channels moved last, a weight multiplied, a sum taken. These few lines per operator are
[tests/external/onnx_operators.py](../tests/external/onnx_operators.py),
[tests/external/onnx_sequences.py](../tests/external/onnx_sequences.py) and
[tests/external/torch_operators.py](../tests/external/torch_operators.py). A case of ONNX belongs to an operator by the
nodes of its model, not by its name: {bodies} models that spell out one of these operators in terms of others (a Softmax
by Exp, ReduceSum and Div) have nothing of fnnet to run, and are not counted. Tolerances are the cases' own. Where bf16
and f16 cases require the same bits, two roundings are allowed.
"""


def page(rows: Iterable[Row], bodies: int) -> str:
    """The page in Markdown."""
    found = sorted(rows, key=lambda row: row.operator)
    parts = [INTRODUCTION.format(command=COMMAND, versions=versions(), bodies=bodies), summary(found)]
    for source, words in SOURCES.items():
        lines = [row.line() for row in found if row.source == source]
        parts.append("\n".join([f"## {source}\n\n{words}\n\n{HEAD}", *lines]) + "\n")
    return "\n".join(parts)


def versions() -> str:
    """The packages that the cases come from, as installed, without what a build of torch adds to its version."""
    installed = {package: importlib.metadata.version(package).split("+")[0] for package in PACKAGES}
    return " and ".join(f"{package} {version}" for package, version in installed.items())


def summary(rows: list[Row]) -> str:
    """The sums; also without the samples of max-pooling, which are most of all cases and differ by little."""
    lines = ["| source | cases | passed | not supported | share |", "|---|---|---|---|---|"]
    parts = {source: [row for row in rows if row.source == source] for source in SOURCES}
    parts["all"] = rows
    parts["all without PyTorch's samples of max-pooling"] = [
        row for row in rows if row.source != "PyTorch: sample inputs" or "max_pool" not in row.operator
    ]
    for part, of in parts.items():
        cases, unsupported = sum(row.cases for row in of), sum(row.reasons.total() for row in of)
        share = f"{unsupported / cases:.1%}" if cases else "-"
        lines.append(f"| {part} | {cases} | {sum(row.passed for row in of)} | {unsupported} | {share} |")
    return "\n".join(lines) + "\n"


def committed() -> dict[tuple[str, str], str]:
    """The page's lines, by source and operator."""
    lines, source = {}, ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            source = line.removeprefix("## ")
        elif source and line.startswith("| ") and line not in HEAD:
            lines[source, line.split(" | ")[0].removeprefix("| ")] = line
    return lines


def read(source: str, operator: str, line: str) -> Row:
    """The row that a line of the page stands for, with its reasons as one."""
    _, cases, passed, unsupported, *_ = (cell.strip() for cell in line.strip("|").split("|"))
    row = Row(source, operator, int(cases), int(passed))
    row.reasons["as the page says"] = int(unsupported)
    return row
