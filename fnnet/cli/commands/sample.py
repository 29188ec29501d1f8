"""`fnnet sample`: text that goes on from a prompt, as a run of a text has learnt it."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from fnnet.cli import runs
from fnnet.cli.parsing import Command, Parser, at_least_zero, whole
from fnnet.cli.subjects import CONTEXT, TEXT
from fnnet.layers.generation import generate


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    about = f"""Text that a network draws byte by byte, each from its probabilities after the bytes before. It has
        learnt from windows of {CONTEXT} bytes: beyond that a transformer gets worse."""
    parser: Parser = commands.add_parser("sample", help="draw text from a run of a text", description=about)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a run directory")
    add("--prompt", default="The ", metavar="TEXT", help='what it goes on from; default: "The "')
    add("--length", type=whole(1), default=200, metavar="BYTES", help="how many bytes; default: 200")
    add("--temperature", type=at_least_zero, default=0.8, help="0 takes the most probable byte each time; default: 0.8")
    add("--top-k", type=whole(1), metavar="N", help="draw from the N most probable bytes; default: from all")
    add("--seed", type=whole(0, 2**32 - 1), default=0, help="the same draws the same text; default: 0")
    parser.set_defaults(command=Command(parser, sample))


def sample(*, run: Path, prompt: str, length: int, temperature: float, top_k: int | None, seed: int) -> None:
    """Print the prompt and what follows."""
    trained = runs.load(run)
    if trained.subject is not TEXT:
        raise ValueError(f"sample: {run} is of {trained.subject.examples}, not of a text; see fnnet predict")
    known = prompt.encode()
    if not known:
        raise ValueError("sample: --prompt must have one character or more")
    key = jax.random.key(seed)
    tokens = generate(trained.net, trained.params, list(known), length, key=key, temperature=temperature, top_k=top_k)
    print((known + bytes(np.asarray(tokens, np.uint8))).decode(errors="replace"))
