"""Accelerators by the name that JAX gives them (`device_kind`): what each can do at most, and who says so.

Peaks are those of dense products. bf16 products are summed in f32. f32 is what
`jax.default_matmul_precision("highest")` computes with on a GPU, not TF32; a TPU has no f32 products of its own, and
none is stated. A link's rate counts one direction: what one device can send to the others of its group while it
receives as much. Beyond the group is the network between machines, with the share of one device.
"""

from typing import NamedTuple

NVIDIA = "nvidia.com, data sheets of"
GOOGLE = "cloud.google.com/tpu/docs,"
AMD = "amd.com, data sheet of"


class Accelerator(NamedTuple):
    """One device; rates a second."""

    name: str
    bf16: float  # FLOPs
    f32: float | None  # FLOPs
    memory: float  # bytes to and from its memory
    memory_bytes: float
    link: float  # bytes to the devices of its group
    group: int  # devices that are linked so
    network: float  # bytes to devices of other groups
    source: str


H100 = Accelerator(
    *("H100 SXM", 989.4e12, 66.9e12, 3.35e12, 80e9, 450e9, 8, 50e9),
    f"{NVIDIA} H100 SXM5 and DGX H100: NVLink 900 GB/s both ways, 400 Gb/s a GPU between machines",
)
A100 = Accelerator(
    *("A100 SXM 80 GB", 312e12, 19.5e12, 2.039e12, 80e9, 300e9, 8, 25e9),
    f"{NVIDIA} A100 and DGX A100: NVLink 600 GB/s both ways, 200 Gb/s a GPU between machines",
)
V5E = Accelerator(
    *("TPU v5e", 197e12, None, 819e9, 16e9, 200e9, 256, 3.125e9),
    f"{GOOGLE} v5e: links 400 GB/s both ways, a pod of 256, 6.4 Tb/s a pod between pods",
)
KNOWN = {
    "NVIDIA H100 80GB HBM3": H100,
    "NVIDIA H200": H100._replace(
        name="H200 SXM", memory=4.8e12, memory_bytes=141e9, source=f"{NVIDIA} H200 and DGX H200: links as of H100"
    ),
    "NVIDIA A100-SXM4-80GB": A100,
    "NVIDIA A100-SXM4-40GB": A100._replace(name="A100 SXM 40 GB", memory=1.555e12, memory_bytes=40e9),
    "AMD Instinct MI300X": Accelerator(
        *("MI300X", 1307.4e12, 163.4e12, 5.3e12, 192e9, 448e9, 8, 50e9),
        f"{AMD} MI300X: Infinity Fabric 7 x 128 GB/s both ways; 400 Gb/s a GPU between machines is an assumption",
    ),
    "TPU v5 lite": V5E,
    "TPU v5e": V5E,
}


def known(device_kind: str) -> Accelerator | None:
    """The device of that name, or None."""
    return KNOWN.get(device_kind)
