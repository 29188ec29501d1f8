"""What the cost model predicts for 8, 256 and 4,096 accelerators: the tables of docs/scale.md.

    python docs/scale_on_paper.py [--write docs/scale.md]

Nothing is measured here, and no accelerator is needed.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))

import jax.numpy as jnp
from records import table

from fnnet import AvgPool, Conv, Dense, Flatten, MaxPool, Residual, Sequential, relu
from fnnet.cli import presets
from fnnet.costs.accelerators import A100, H100, V5E
from fnnet.costs.forecast import Assumptions, Forecast, forecast
from fnnet.layers.protocol import Layer

BEGIN, END = "<!-- docs/scale_on_paper.py -->", "<!-- end -->"
NUMBERS = (8, 256, 4096)


def residual() -> Sequential:
    """He et al. (2016), the 34 layers of table 1, without normalisation."""
    layers: list[Layer | Callable] = [Conv(64, 7, stride=2), relu, MaxPool(3, stride=2, padding=1)]
    for group, (features, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            step = 2 if group and not block else 1
            shortcut = Conv(features, 1, stride=2) if step == 2 else None
            layers += [Residual(Conv(features, 3, stride=step), relu, Conv(features, 3), shortcut=shortcut), relu]
    return Sequential(*layers, AvgPool(7), Flatten(), Dense(1000), compute_dtype=jnp.bfloat16)


def wide() -> Sequential:
    """Four dense layers of 16,384: their state is 17 GB, too much for one TPU v5e."""
    hidden: list[Layer | Callable] = [layer for _ in range(3) for layer in (Dense(16384), relu)]
    return Sequential(*hidden, Dense(16384), compute_dtype=jnp.bfloat16)


def cnn() -> Sequential:
    """The command line's network for MNIST."""
    return Sequential(*presets.cnn(10, (28, 28, 1)).layers, compute_dtype=jnp.bfloat16)


SYSTEMS = {  # network, shape of an example, examples on each device, devices that share the parameters
    "the cnn on 28x28, 128 images a device": (cnn, (28, 28, 1), 128, 1),
    "the 34 residual layers on 224x224, 64 images a device": (residual, (224, 224, 3), 64, 1),
    "four dense layers of 16,384, 1,024 examples a device, parameters shared by 8": (wide, (16384,), 1024, 8),
}


def layers() -> str:
    """The cost of each layer of the smallest system on 8 devices, as `net.summary` prints it."""
    return f"```text\n{cnn().summary((28, 28, 1), batch=8 * 128, devices=8)}\n```"


def predictions() -> str:
    """A table for each system."""
    parts = []
    for name, (make, shape, each, sharing) in SYSTEMS.items():
        net, rows = make(), []
        for number in NUMBERS:
            mesh = {"data": number // sharing, "parameters": sharing}
            cost = net.summary(shape, batch=number * each, devices=mesh)
            for device in (H100, A100, V5E):
                rows.append((f"{number:,}", device.name, *_shown(forecast(cost, device))))
        sent, copied = cost.sent, sum(row.copied for row in cost.rows)
        text = (
            f"On one device a step is {cost.flops / 1e9:,.1f} GFLOPs and, without copies, "
            f"{(cost.bytes - copied) / 1e9:,.2f} GB of traffic with memory; it holds {cost.held_bytes / 1e9:,.2f} GB. "
            f"Of {number:,} devices each sends "
            f"{sent['data'] / 1e6:,.1f} MB along data and {sent['parameters'] / 1e6:,.1f} MB along parameters."
        )
        head = ("devices", "kind", "computing, ms", "communicating, ms", "examples/s, in turn", "overlapped",
                "efficiency, in turn", "overlapped", "fits")  # fmt: skip
        parts += [f"### {name[0].upper()}{name[1:]}", text, table(head, rows)]
    return "\n\n".join(parts)


def _shown(found: Forecast) -> tuple[str, ...]:
    return (
        f"{1e3 * found.computing:.3g}",
        f"{1e3 * found.communicating:.3g}",
        f"{found.batch / found.in_turn:,.0f}",
        f"{found.batch / found.overlapped:,.0f}",
        f"{100 * found.computing / found.in_turn:.0f} %",
        f"{100 * found.computing / found.overlapped:.0f} %",
        "yes" if found.fits else "no",
    )


def assumptions() -> str:
    """Of devices and of the model."""
    rows = [
        (
            device.name,
            f"{device.bf16 / 1e12:.0f}",
            f"{device.memory / 1e9:,.0f}",
            f"{device.link / 1e9:.0f}",
            device.group,
            f"{device.network / 1e9:.3g}",
            device.source,
        )
        for device in (H100, A100, V5E)
    ]
    head = ("kind", "bf16, TFLOP/s", "memory, GB/s", "link, GB/s", "devices of a group", "network, GB/s", "source")
    found = Assumptions()
    text = (
        f"Products reach {100 * found.peak:.0f} % of the peak, bytes {100 * found.bandwidth:.0f} % of each bandwidth; "
        f"a hop of a collective takes {1e6 * found.latency:.0f} microseconds."
    )
    return f"{table(head, rows)}\n\n{text}"


def page() -> str:
    """What stands between the markers."""
    return "\n\n".join(
        (BEGIN, "## A step, layer by layer", layers(), "## What is assumed of the devices", assumptions(),
         "## What is predicted", predictions(), END)
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="put the tables between the page's markers")
    file = parser.parse_args().write
    if file is None:
        print(page())
        return
    before, rest = file.read_text().split(BEGIN)
    file.write_text(before + page() + rest.split(END)[1])


if __name__ == "__main__":
    main()
