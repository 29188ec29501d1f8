"""The ONNX backend's cases of fnnet's operators, as `onnx.backend.test.loader` returns them.

A case belongs to an operator by its model, not by its name: "test_relu_expanded_ver18" has no Relu in it, but a Max;
"test_attention_3d_expanded" has a Softmax. Operators that are not fnnet's are run by ONNX's reference evaluator.
"""

import functools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from external import onnx_operators, onnx_sequences
from external.outcomes import NotSupportedError

OPERATORS = onnx_operators.OPERATORS | onnx_sequences.OPERATORS
KINDS = ("node", "pytorch-converted", "pytorch-operator")
NODE, BODY = "ONNX: node", "ONNX: node, inside another operator's body"


@functools.cache
def by_row() -> dict[tuple[str, str], list[Any]]:
    """The cases of each (source, operator); a case with several of the operators counts as one of the first."""
    rows: dict[tuple[str, str], list[Any]] = {}
    for kind in KINDS:
        for case in load(kind):
            types = list(operator_types(model_of(case).graph))
            ours = [name for name in types if name in OPERATORS]
            if ours:
                source = f"ONNX: {kind}" if kind != "node" else NODE if len(types) == 1 else BODY
                rows.setdefault((source, ours[0]), []).append(case)
    return rows


@functools.cache
def bodies_of_other_operators() -> int:
    """How many models spell out one of fnnet's operators in terms of others alone."""
    counted = {case.name for cases in by_row().values() for case in cases}
    names = (case.name.split("_expanded") for case in load("node") if case.name not in counted)
    return sum(len(parts) > 1 and parts[0] in counted for parts in names)


def load(kind: str) -> list[Any]:
    """The loader's cases of a kind, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making its own data, ONNX overflows and divides by 0
        return sorted(load_model_tests(kind=kind), key=lambda case: case.name)


def model_of(case: Any) -> Any:
    """The case's model, in memory or on disk."""
    return case.model or onnx.load(Path(case.model_dir) / "model.onnx")


def operator_types(graph: Any) -> Iterator[str]:
    """The operators of a graph, in order, those of the graphs in its attributes too."""
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from operator_types(attribute.g)


def check(case: Any) -> str | None:
    """Runs the model with fnnet's operators, and says where its outputs differ, by the case's own tolerances."""
    wrong = difference(case, list(OPERATORS.values()))
    if wrong and difference(case, []):
        raise NotSupportedError("ONNX's own evaluator, which runs the operators around it, fails this case too")
    return wrong


def difference(case: Any, operators: list[type[OpRun]]) -> str | None:
    """Where the outputs of the model, run with these operators, differ from the expected ones."""
    model = model_of(case)
    with warnings.catch_warnings(), jax.enable_x64(True):
        warnings.simplefilter("ignore")
        for inputs, expected in data_sets(case, model):
            outputs = ReferenceEvaluator(model, new_ops=operators).run(None, inputs)
            for output, reference in zip(outputs, expected, strict=True):
                wrong = entries_apart(np.asarray(output), np.asarray(reference), case.rtol, case.atol)
                if wrong:
                    return wrong
    return None


def data_sets(case: Any, model: Any) -> Iterator[tuple[dict[str, Any], list]]:
    """Inputs by name, and expected outputs."""
    constants = {constant.name for constant in model.graph.initializer}
    names = [given.name for given in model.graph.input if given.name not in constants]
    if case.data_sets is not None:
        for inputs, outputs in case.data_sets:
            yield dict(zip(names, inputs, strict=True)), outputs
        return
    for folder in sorted(Path(case.model_dir).glob("test_data_set_*")):
        yield (
            {name: tensor(folder / f"input_{number}.pb") for number, name in enumerate(names)},
            [tensor(folder / f"output_{number}.pb") for number in range(len(model.graph.output))],
        )


def tensor(path: Path) -> np.ndarray:
    """A tensor on disk."""
    return onnx.numpy_helper.to_array(onnx.load_tensor(path))


def entries_apart(output: np.ndarray, reference: np.ndarray, rtol: float, atol: float) -> str | None:
    """What numpy.testing says, and shape and dtype.

    In bf16 and f16 two roundings are allowed, which the usual rtol of 1e-3 does not: it asks for the same bits.
    """
    if (output.shape, output.dtype) != (reference.shape, reference.dtype):
        return f"{output.dtype}{list(output.shape)}, expected {reference.dtype}{list(reference.shape)}"
    if output.dtype in (jnp.bfloat16, np.float16):
        rtol = max(rtol, 2 * float(jnp.finfo(output.dtype).eps))
        output, reference = output.astype(np.float32), reference.astype(np.float32)
    try:
        np.testing.assert_allclose(output, reference, rtol, atol)
    except AssertionError as error:
        return " ".join(str(error).split())[:300]
    return None
