"""One HTML page of a trace: markup, style, script and data in a single file that loads nothing else.

The three parts stand beside this module. Each array is embedded once, little-endian, in base64, in its own dtype if
JavaScript has it (bf16 and f16 as f32, which holds them exactly): the numbers on the page are exactly the array's.
"""

import base64
import hashlib
import html
import importlib.resources
import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fnnet.tracing.changes import change
from fnnet.tracing.explanation import Explanation
from fnnet.tracing.numbers import Numbers
from fnnet.tracing.page.drawing import about_inside, way_of_inside, way_of_leaf, way_of_value, which_entry
from fnnet.tracing.page.engine import FACTORS, Engines
from fnnet.tracing.page.glossary import GLOSSARY
from fnnet.tracing.page.mathml import mathml
from fnnet.tracing.page.sampling import most_shown, sample
from fnnet.tracing.page.words import answers, loss_in_words
from fnnet.tracing.records import Outgoing, Saved, Source, Step
from fnnet.tracing.rule_pages import Page

ALL = 48  # in a cotangent of so many entries each has its chain on the page
CHOSEN = 6  # of a larger one
TERMS = 12
STYLES = "page.css", "pictures.css"
SCRIPTS = (
    "arrays.js",
    "places.js",
    "painting.js",
    "overlay.js",
    "pictures.js",
    "engine_windows.js",
    "engine_entries.js",
    "engine_losses.js",
    "engine.js",
    "numbers.js",
    "panel.js",
    "ending.js",
    "layer.js",
    "touch.js",
    "follow.js",
    "player.js",
    "page.js",
)  # each uses those before it, and functions of those after it
KINDS = {"float64": "f64", "float32": "f32", "int32": "i32", "int8": "i8", "uint8": "u8", "int16": "i16", "bool": "u8"}


def webpage(trace: Any, title: str, moments: Mapping[str, Any] | None = None) -> str:
    """The page as text; with the traces of earlier moments of a training, under their labels, for its slider."""
    shown = list({id(one): one for one in (*(moments or {}).values(), trace)}.values())
    arrays = _Arrays(most_shown(shown), FACTORS // len(shown))
    earlier = {label: one for label, one in (moments or {}).items() if one is not trace}
    last = next((label for label, one in (moments or {}).items() if one is trace), "now")
    first = next(iter(earlier.items()), None)
    data = {
        "title": title or "A backward pass",
        "jax": jax.__version__,
        "glossary": GLOSSARY,
        "moments": [_moment(one, label, first, arrays) for label, one in earlier.items()],
        **_moment(trace, last, first, arrays),
        "place": list(moments or {}).index(last) if last in (moments or {}) else len(earlier),
        "arrays": arrays.found,
    }
    parts = importlib.resources.files("fnnet.tracing") / "page"

    def read(*names: str) -> str:
        return "\n".join((parts / name).read_text(encoding="utf-8") for name in names)

    text = read("page.html")
    pieces = {
        "{{title}}": html.escape(data["title"]),
        "{{style}}": read(*STYLES),
        "{{table}}": html.escape(str(trace)),
        "{{data}}": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "{{script}}": f'"use strict";\n{read(*SCRIPTS)}',
    }
    for mark, piece in pieces.items():
        before, _, after = text.partition(mark)
        text = before + piece + after
    return text


def _moment(trace: Any, label: str, first: tuple[str, Any] | None, arrays: "_Arrays") -> dict[str, Any]:
    """One trace; `first` is the first moment of the training, if there are several."""
    shown = answers(trace)
    engines = Engines(trace, arrays.factors, arrays.add)
    examples = range(1 + max((answer["example"] or 0 for answer in shown), default=0))
    return {
        "label": label,
        "loss": _number(trace.loss),
        "lossAfter": None if trace.loss_after is None else _number(trace.loss_after),
        "batch": trace.batch,
        "sameBits": trace.same_bits,
        "problem": _problem(trace),
        "graph": trace.graph,
        "whole": arrays.whole,
        "live": engines.are_live,
        "x": _tensor(trace.x, arrays, **way_of_value(None, trace.x, trace.batch is not None)),
        "y": _tensor(trace.y, arrays, **way_of_value(None, trace.y, trace.batch is not None)),
        "answers": shown,
        "lossWords": [loss_in_words(trace, example) for example in examples],
        "changes": None if first is None or first[1] is trace else _changes(first, trace),
        "steps": [
            _step(trace, step, arrays, engine) for step, engine in zip(trace.steps, engines.of_steps, strict=True)
        ],
    }


def _changes(first: tuple[str, Any], trace: Any) -> dict[str, Any]:
    """What training has changed since the first moment, a row an array."""
    since, then = first
    rows = change(then, trace).rows
    return {
        "since": since,
        "rows": [
            [row.layer, row.of, *map(_number, (*row.value, row.moved, *row.gradient, row.cosine))] for row in rows
        ],
    }


class _Arrays:
    """The arrays of a page, each under the hash of its bytes.

    Args:
        most: How many entries of each are shown; None: all.
        factors: How many factors the derivatives of a trace may have, if all are shown.
    """

    def __init__(self, most: int | None, factors: int) -> None:
        self.most, self.whole = most, most is None
        self.factors = factors if self.whole else 0
        self.found: dict[str, dict[str, str]] = {}

    def add(self, array: np.ndarray) -> str:
        kind = KINDS.get(array.dtype.name)
        if kind is None:
            kind = "f32" if array.dtype.itemsize < 4 and array.dtype.kind not in "iu" else "f64"
        types = {"f64": "<f8", "f32": "<f4", "i32": "<i4", "i16": "<i2", "i8": "i1", "u8": "u1"}
        raw = np.ascontiguousarray(array.astype(types[kind])).tobytes()
        key = hashlib.sha256(kind.encode() + raw).hexdigest()[:12]
        self.found.setdefault(key, {"kind": kind, "base64": base64.b64encode(raw).decode()})
        return key


def _problem(trace: Any) -> dict[str, str] | None:
    found = trace.first_problem()
    return None if found is None else {"layer": found.layer, "sentence": found.sentence}


def _step(trace: Any, step: Step, arrays: _Arrays, engine: dict[str, Any]) -> dict[str, Any]:
    batched = trace.batch is not None
    is_computed = arrays.whole and any(engine.values())  # then the page makes each chain itself

    def chains(one: Outgoing) -> list[dict[str, Any]]:
        return [] if is_computed else [_chain(chain) for chain in _chains(trace, step, one, arrays.most)]

    return {
        "name": step.name,
        "text": step.text,
        "nested": step.is_nested,
        "source": step.source,
        "parts": list(step.parts),
        "pages": [_page(page) for page in step.pages],
        "inputs": _tensor(step.inputs, arrays, **way_of_value(step.layer, step.inputs, batched)),
        "value": _tensor(
            step.value, arrays, which_entry(step, batched), **way_of_value(step.layer, step.value, batched)
        ),
        "insides": [_inside(step, one, arrays, batched) for one in step.insides],
        "saved": [_saved(one, arrays, batched, step) for one in step.saved],
        "savedBytes": step.saved_bytes,
        "incoming": _tensor(step.incoming, arrays, **way_of_value(step.layer, step.incoming, batched)),
        "outgoing": [_outgoing(trace, step, one, arrays, batched) | {"chains": chains(one)} for one in step.outgoing],
        **engine,
    }


def _inside(step: Step, one: Numbers, arrays: _Arrays, batched: bool) -> dict[str, Any]:
    return _tensor(one, arrays, **way_of_inside(step.layer, one, batched)) | {"about": about_inside(step.layer, one)}


def _page(page: Page) -> dict[str, Any]:
    return {
        "rule": page.rule,
        "title": page.title,
        "sources": page.sources,
        "forward": page.forward,
        "backward": page.backward,
        "equations": [
            {
                "number": e.number,
                "side": e.side,
                "mathml": mathml(e.formula),
                "formula": e.formula,
                "remark": e.remark,
                "code": list(e.code),
            }
            for e in page.equations
        ],
    }


def _saved(one: Saved, arrays: _Arrays, batched: bool, step: Step) -> dict[str, Any]:
    is_parameter = one.source == Source.PARAMETER and bool(step.parameters)  # the loss has labels instead
    way: dict[str, Any] = {"is_kernel": True} if is_parameter else {"batched": batched}
    tensor = _tensor(one.numbers, arrays, **way)
    return {"what": one.what, "there": one.is_there_anyway, "tensor": tensor}


def _outgoing(trace: Any, step: Step, one: Outgoing, arrays: _Arrays, batched: bool) -> dict[str, Any]:
    way = way_of_leaf(step, one, batched)
    beside, slope = one.agreement, one.slope
    return {
        "of": one.of,
        "value": _tensor(one.value, arrays, **way),
        "cotangent": _tensor(one.numbers, arrays, **way),
        "update": None if one.update is None else _tensor(one.update, arrays, **way),
        "ratio": None if one.update is None else _number(one.ratio),
        "agreement": None
        if beside is None
        else {
            "against": beside.against,
            "largest": _number(beside.largest),
            "at": list(beside.at),
            "ours": _number(beside.ours),
            "theirs": _number(beside.theirs),
            "wrong": beside.wrong,
            "kinks": beside.kinks,
            "looks": "" if beside.looks is None else beside.looks.text,
        },
        "slope": None
        if slope is None
        else {
            "ours": _number(slope.rule),
            "theirs": _number(slope.difference.value),
            "entries": slope.moved,
            "conclusive": slope.difference.conclusive,
            "wrong": slope.is_wrong,
        },
    }


def _chains(trace: Any, step: Step, one: Outgoing, most: int | None) -> list[Explanation]:
    """The chains of chosen entries: the largest, some by chance, the first."""
    if step.comparison is None or step.comparison.problem:
        return []
    sizes = np.abs(one.numbers.wide).ravel()
    if sizes.size <= ALL:
        chosen = np.arange(sizes.size)
    else:
        shown = sample(one.numbers.shape, **way_of_leaf(step, one, trace.batch is not None), most=most)
        flat = np.arange(sizes.size).reshape(one.numbers.shape)
        seen = shown.of(flat).ravel()  # entries that the picture shows
        order = seen[np.argsort(-sizes[seen], kind="stable")]
        chosen = np.unique([*order[: CHOSEN - 2], order[len(order) // 4], seen[0]])
    found = []
    for flat_index in chosen:
        index = tuple(map(int, np.unravel_index(flat_index, one.numbers.shape)))
        found.append(trace.explain(step.name, one.of, index, most=TERMS))
    return sorted(found, key=lambda chain: -abs(chain.value)) if sizes.size > ALL else found


def _chain(chain: Explanation) -> dict[str, Any]:
    return {
        "index": list(chain.index),
        "total": _number(chain.total),
        "count": chain.count,
        "terms": [
            {"output": list(t.output), "factor": _number(t.factor), "incoming": _number(t.incoming), "name": t.name}
            for t in chain.terms
        ],
    }


def _tensor(one: Numbers, arrays: _Arrays, note: str = "", **way: Any) -> dict[str, Any]:
    shown = sample(one.shape, **way, most=arrays.most)
    return {
        "name": one.name,
        "shape": list(one.shape),
        "dtype": one.dtype,
        "bytes": one.bytes,
        "rms": _number(one.rms),
        "low": _number(one.low),
        "high": _number(one.high),
        "zeros": one.zeros,
        "nans": one.nans,
        "infinities": one.infinities,
        "array": arrays.add(shown.of(one.array)),
        "places": [_indices(at, n) for at, n in zip(shown.indices, one.shape, strict=True)],
        "roles": shown.roles,
        "said": shown.said,
        "draw": shown.draw,
        "read": way.get("rows"),
        "note": note,
    }


def _indices(at: np.ndarray, size: int) -> list[int] | int:
    """The chosen indices of an axis; its size if all are."""
    return size if len(at) == size else at.tolist()


def _number(value: float) -> float | str:
    """JSON has no NaN and no infinity: these as words."""
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "infinite" if value > 0 else "-infinite"
