"""`fnnet check`: whether hand-written backward passes are right."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fnnet.checking.catalogue import NAMES, with_name
from fnnet.cli.parsing import Command, Parser, commas, one_of, whole


def add_to(commands: Any) -> None:
    """Add the sub-parser."""
    about = """Is a hand-written backward right? Without a RULE all of fnnet's own are checked; with names such as conv,
        those; with package.module:function or path/file.py:function a rule of yours, at the arguments of --arg; with a
        module alone, such as package.proofs, all proofs that it registers. Exit status: 0 right, 1 wrong (also where
        the reference is), 2 inconclusive or unusable, 3 miscompiled by XLA. More is in docs/checking.md."""
    all_checks = ", ".join(map(with_name, NAMES))
    parser: Parser = commands.add_parser("check", help="check backward passes", description=about)
    add = parser.add_argument
    which = "conv, dense, ..., or a module of proofs, or one package.module:function or file.py:function"
    add("rules", nargs="*", metavar="RULE", help=which)
    add("--reference", metavar="MODULE:FUNCTION", help="the same in plain JAX; default: the rule's own forward")
    add("--arg", action="append", default=[], metavar="NAME=VALUE", help="such as x=f32[2,5] or labels=i32[4]<10")
    add("--static", action="append", default=[], metavar="NAME=VALUE", help="what is no array, such as stride=2")
    add("--checks", help=f"letters of checks, such as SPRLF; default: all, {all_checks}")
    add("--dtypes", type=commas, help="some of f64,f32,bf16,f16; default: all")
    add("--mapped", type=commas, metavar="NAMES", help="the arguments that vmap may map; default: all")
    twice = "whether it must be differentiable twice; default: it may refuse, but not be wrong"
    add("--second-order", action=argparse.BooleanOptionalAction, help=twice)
    ties = one_of("choice for --ties", ("any", "reference"))
    kinks = "at a kink or tie: any slope between, or the reference's; default: any"
    add("--ties", type=ties, default="any", help=kinks)
    add("--waive", action="append", default=[], metavar="CHECK=REASON", help="a check that may fail, and why")
    add("--seed", type=whole(0, 2**32 - 1), default=0, help="of the random numbers; default: 0")
    add("--compiler", action="store_true", help="look for the known faults of XLA on this machine instead")
    add("--jobs", type=whole(1), metavar="N", help="processes that check own rules; default: one for each core")
    add("--json", type=Path, metavar="FILE", help="write the report for programs")
    add("--plot", type=Path, metavar="FILE.png", help="draw the wrong cotangents")
    parser.set_defaults(command=Command(parser, check))


def check(*, rules: Sequence[str], **options: Any) -> int:
    """Check and print; returns the exit status."""
    from fnnet.checking import console  # thirty modules, which no other command needs

    return console.check(rules, **options)
