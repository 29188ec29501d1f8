"""What is wrong with the examples: a next token that is seen, padding that counts, a batch of one, strange tokens."""

from typing import Any

import numpy as np

from fnnet.checking.errors import RaisedError
from fnnet.checking.leaves import largest, replaced, rms, widened
from fnnet.layers.protocol import Layer
from fnnet.tracing.numbers import share
from fnnet.tracing.problems.problem import Kind, Problem
from fnnet.tracing.records import Step

FEW = 8  # tokens or examples: of fewer, all may be alike by chance
NEXT = 0.95  # of the labels, the next token of their example
ROUNDING = 1e-9  # of the largest change of an output, in double precision
WIDE = 16  # a vocabulary that is not meant for bits
BITS = 256  # tokens; of so many that are all 0 or 1 ...
NOUGHTS = 0.8  # ... this share is 0 if they were cast from numbers between 0 and 1


def leak(trace: Any, steps: list[Step]) -> Problem | None:
    """The last layer whose output at a token changes with later tokens, where the labels are the next tokens."""
    tokens, labels, counted = trace.x.array, trace.y.array, _counted(trace)
    if counted is None or labels.shape != tokens.shape or labels.dtype.kind not in "iu":
        return None
    at = counted[..., :-1]
    same = labels[..., :-1][at] == tokens[..., 1:][at]
    if same.size < FEW or share(same) < NEXT or (tokens == tokens.flat[0]).all():
        return None
    after = counted[..., 1:]
    if share(labels[..., 1:][after] == tokens[..., :-1][after]) >= NEXT:
        return None  # in text that alternates they may as well be the tokens before, which a tagger may see
    for step in reversed(steps[:-1]):
        length = tokens.shape[-1]
        for place in (length - 1, length // 2):
            later = np.arange(length) >= place
            if _changes(step, later | np.zeros_like(counted), counted & ~later):
                return Problem(
                    step.name,
                    Kind.LEAK,
                    f"{step.name}: later tokens leak: the labels are the next tokens, and its output at a token "
                    f"changes with the tokens after it: {_without_later(step.layer)}.",
                )
    return None


def _without_later(layer: Any) -> str:
    if getattr(layer, "causal", None) is False:
        return "use causal=True"
    if getattr(layer, "reverse", False):
        return "use reverse=False"
    return "use layers that see earlier tokens alone, such as Attention(..., causal=True)"


def padding(trace: Any, steps: list[Step]) -> Problem | None:
    """The last layer that could leave out padding, and whose outputs at other tokens change with it."""
    tokens, counted = trace.x.array, _counted(trace)
    if counted is None or trace.batch is None:
        return None
    filler = _filler(tokens, counted)
    if filler is None:
        return None
    padded = tokens == filler
    for step in reversed(steps[:-1]):
        length = tokens.shape[-1]
        leaves_out = isinstance(step.layer, Layer) and step.layer.with_length(length, length) is not step.layer
        if leaves_out and step.inputs.array.dtype.kind not in "iu" and _changes(step, padded, counted):
            return Problem(
                step.name,
                Kind.PADDING,
                f"{step.name}: padding counts: token {filler} only fills sequences up, and the loss ignores it there, "
                f"but the outputs of other tokens change with it: use fnnet.Padded(net, index={filler}).",
            )
    return None


def _counted(trace: Any) -> np.ndarray | None:
    """Where the loss reads the output of a token, of integer sequences with an output for each token; else None."""
    tokens, outputs = trace.x.array, trace.outputs
    sequences = 1 if trace.batch is None else 2
    if tokens.dtype.kind not in "iu" or tokens.ndim != sequences or outputs.shape[:-1] != tokens.shape:
        return None
    return (trace.steps[-1].outgoing[0].numbers.wide != 0).any(-1)


def _filler(tokens: np.ndarray, counted: np.ndarray) -> int | None:
    """A token that only stands at the ends of sequences, more or less often, and whose labels the loss ignores."""
    for token in np.unique(tokens[:, -1]):
        is_token = tokens == token
        lengths = np.logical_and.accumulate(is_token[:, ::-1], axis=1).sum(1)
        only_at_ends = lengths.sum() == is_token.sum()
        if only_at_ends and lengths.max() > max(1, lengths.min()) and not counted[is_token].any() and counted.any():
            return int(token)
    return None


def _changes(step: Step, where: np.ndarray, seen: np.ndarray) -> bool:
    """Whether a layer's outputs at the tokens `seen` change with its inputs at the tokens `where`."""
    compared, x, y = step.comparison, step.inputs.array, step.value.array
    if compared is None or compared.problem or not compared.programs.wide or compared.programs.trains:
        return False
    if x.shape[: where.ndim] != where.shape or y.shape[: where.ndim] != where.shape:
        return False
    others = where.reshape(*where.shape, *(1,) * (x.ndim - where.ndim))
    if x.dtype.kind in "iu":
        moved = np.where(others, np.roll(np.unique(x), 1)[np.searchsorted(np.unique(x), x)], x)
    else:
        noise = np.random.default_rng(0).normal(size=x.shape) * (rms(step.inputs.wide) or 1.0)
        moved = np.where(others, step.inputs.wide + noise, step.inputs.wide)
    leaves = widened(compared.leaves)
    try:
        before, after = (compared.programs.values(*replaced(leaves, [0], [v])) for v in (leaves[0], moved))
    except RaisedError:
        return False
    apart = np.abs(after - before)
    return largest(apart[seen]) > ROUNDING * largest(apart)


def batch_of_one(trace: Any, steps: list[Step]) -> Problem | None:
    """The last layer that takes statistics of a mini-batch, of one example."""
    if trace.batch != 1:
        return None
    for step in reversed(steps[:-1]):
        if not _takes_statistics(step):
            continue
        why = (
            "every number minus its own mean is 0, so that no gradient passes"
            if step.value.array.ndim == 2
            else "the example is normalised by itself, unlike in evaluation"
        )
        return Problem(
            step.name,
            Kind.BATCH_OF_ONE,
            f"{step.name}: the statistics of a batch are those of one example: {why}: train with larger batches, use "
            "LayerNorm or GroupNorm, or trace without a key.",
        )
    return None


def _takes_statistics(step: Step) -> bool:
    of_batch = isinstance(step.layer, Layer) and step.layer.of_batch
    return of_batch and step.comparison is not None and step.comparison.programs.trains


def tokens(trace: Any, steps: list[Step]) -> Problem | None:
    """Tokens that no table has, or that touch next to no row of it, or that are the same for every example."""
    found = next((s for s in steps if any(_is_table(s, one) for one in s.parameters)), None)
    if found is None:
        return None
    name, x = found.name, found.inputs.array
    rows = next(one.value.shape[0] for one in found.parameters if _is_table(found, one))
    outside = (x < 0) | (x >= rows)
    if outside.any():
        sentence = (
            f"{int(outside.sum())} of {x.size} tokens have no row, such as {int(x[outside][0])}, which makes the loss "
            f"NaN: the table has the rows 0 to {rows - 1}."
        )
    elif trace.batch is None or x.size < FEW or rows < 2:
        return None
    elif (x == x.flat[0]).all():
        sentence = (
            f"all {x.size} tokens of the batch are {int(x.flat[0])}, so that 1 of {rows} rows learns and all examples "
            "look the same, which is right for start tokens alone: were they cast from numbers between 0 and 1, or "
            "read from another column?"
        )
    elif rows >= WIDE and x.size >= BITS and x.max() == 1 and share(x == 0) >= NOUGHTS:
        sentence = (
            f"of {x.size} tokens {100 * share(x == 0):.0f} % are 0 and the others 1, so that 2 of {rows} rows learn: "
            "were they cast from numbers between 0 and 1?"
        )
    elif trace.batch >= FEW and (x == x[:1]).all() and (trace.y.array != trace.y.array[:1]).any():
        sentence = (
            f"all {trace.batch} examples have the same tokens, though their labels differ: are the tokens positions, "
            "or read from another column?"
        )
    else:
        return None
    return Problem(name, Kind.TOKENS, f"{name}: {sentence}")


def _is_table(step: Step, one: Any) -> bool:
    return one.of.split("/")[-1] == "embedding" and step.inputs.array.dtype.kind in "iu"
