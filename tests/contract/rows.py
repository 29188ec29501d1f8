"""The table: a row a public rule."""

import numpy as np

import fnnet
from contract import oracles, window_samplers
from contract.cases import Draw, Row

WINDOWED = {"rank 1", "rank 2", "rank 3", "0 leading axes", "1 leading axes", "2 leading axes", "empty leading axis"} | {
    "SAME", "VALID", "padding in numbers", "padding", "uneven padding", "stride does not divide", "even window",
    "size-1 axis", "overlapping", "gaps",
}


def _dense(rng: np.random.Generator) -> Draw:
    lead = window_samplers.LEADING[rng.integers(len(window_samplers.LEADING))]
    inputs, outputs, biased = int(rng.choice([1, 2, 5])), int(rng.choice([1, 3, 4])), bool(rng.integers(2))

    def arrays(rng):
        shapes = {"x": (*lead, inputs), "kernel": (inputs, outputs)} | ({"bias": (outputs,)} if biased else {})
        return {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return Draw({}, arrays)

def _normal(**shapes):
    return lambda rng: {name: rng.normal(size=shape) for name, shape in shapes.items()}

ROWS = {row.name: row for row in [
    Row("dense", fnnet.dense, oracles.dense, _dense, ("x", "kernel", "bias"), Draw({}, _normal(x=(2, 3), kernel=(3, 2), bias=(2,))), heavy=True),
    Row("conv", fnnet.conv, oracles.conv, window_samplers.conv, ("x", "kernel", "bias"), Draw({"stride":2, "groups": 2, "padding":((1,0),(0,1))}, _normal(x=(2, 4, 3, 2), kernel=(2,2,1,2), bias=(2,))), frozenset(WINDOWED|{"dilation", "groups", "depthwise", "bias"}), heavy=True),
    Row("max_pool", fnnet.max_pool, oracles.max_pool, window_samplers.max_pool, ("x",), Draw({"window":(3,2), "stride": (2,1)}, _normal(x=(2, 5, 3, 1))), frozenset(WINDOWED|{"dilation", "ties", "stride None", "ceil_mode adds a window", "many taps"}), heavy=True),
    Row("avg_pool", fnnet.avg_pool, oracles.avg_pool, window_samplers.avg_pool, ("x",), Draw({"window":(3,2), "stride": (2,1), "padding":1}, _normal(x=(2, 5, 3, 1))), frozenset(WINDOWED|{"stride None", "ceil_mode adds a window", "many taps", "padding counts"}), heavy=True),
]}
