"""How long a training step will take on devices that are not there, from its costs and from what they can do.

    computing   sum over layers of max(FLOPs / (a F), (bytes - copied) / (b B))                     (1)
    gathering   sent along "parameters" / (b L) + (number of collectives) log2(p) t                 (2)
    summing     2 S (g - 1) / g / (b L) + 2 (S / g) (m - 1) / m / (b N) + 2 log2(d) t               (3)

F, B, L, N are the device's peak, and the bandwidths of its memory, its link and its network. S are the bytes of a
device's gradients; they are summed over the links within a group first, g devices along "data" in each, then over the
network between m groups, each device its g-th part. Gradients of all layers go in one all-reduce.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from fnnet.costs.accelerators import Accelerator
from fnnet.costs.training_step import StepCost


class Assumptions(NamedTuple):
    """What is assumed of devices besides their data sheets.

    Attributes:
        peak: a, the share of the peak that products reach.
        bandwidth: b, the share of each bandwidth.
        latency: t, seconds of one hop of a collective.
    """

    peak: float = 0.5
    bandwidth: float = 0.8
    latency: float = 5e-6


@dataclass(frozen=True)
class Forecast:
    """Seconds of one step.

    Attributes:
        computing: (1).
        communicating: (2) and (3).
        batch: Examples of a step, of all devices.
        fits: Whether what is held fits into a device's memory.
    """

    computing: float
    communicating: float
    batch: int
    fits: bool

    @property
    def in_turn(self) -> float:
        """Of a step in which nothing is sent while something is computed."""
        return self.computing + self.communicating

    @property
    def overlapped(self) -> float:
        """Of a step in which all that is sent is sent while something is computed."""
        return max(self.computing, self.communicating)


def forecast(cost: StepCost, device: Accelerator, assumed: Assumptions | None = None) -> Forecast:
    """The step on such devices. Raises ValueError where the device's peak in the step's dtype is not known."""
    assumed = Assumptions() if assumed is None else assumed
    peak = device.bf16 if cost.dtype == "bfloat16" else device.f32
    if peak is None or cost.dtype not in ("bfloat16", "float32"):
        raise ValueError(f"forecast: the peak of {device.name} in {cost.dtype} is not known")
    rate, memory = assumed.peak * peak, assumed.bandwidth * device.memory
    computing = sum(max(row.flops / rate, (row.bytes - row.copied) / memory) for row in cost.rows)
    communicating = _gathering(cost, device, assumed) + _summing(cost, device, assumed)
    return Forecast(computing, communicating, cost.batch, cost.held_bytes <= device.memory_bytes)


def _gathering(cost: StepCost, device: Accelerator, assumed: Assumptions) -> float:
    p = cost.devices["parameters"]
    rate = device.link if p <= device.group else device.network
    collectives = sum(row.collectives for row in cost.rows)
    return cost.sent["parameters"] / (assumed.bandwidth * rate) + collectives * math.log2(p) * assumed.latency


def _summing(cost: StepCost, device: Accelerator, assumed: Assumptions) -> float:
    d = cost.devices["data"]
    if d == 1:
        return 0.0
    gradients = cost.sent["data"] * d / (2 * (d - 1))
    within = min(d, max(1, device.group // cost.devices["parameters"]))
    groups = math.ceil(d / within)
    link, network = assumed.bandwidth * device.link, assumed.bandwidth * device.network
    near = 2 * gradients * (within - 1) / within / link
    far = 2 * gradients / within * (groups - 1) / groups / network
    return near + far + 2 * math.log2(d) * assumed.latency
