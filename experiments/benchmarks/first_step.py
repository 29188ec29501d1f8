"""A fresh process: import a contestant's library, draw a network's parameters, take one step, print its loss."""

import sys

from benchmarks.contestants import load
from benchmarks.inputs import batches
from benchmarks.nets import NETS


def main() -> None:
    contestant, name, batch = sys.argv[1:]
    net = NETS[name]
    (xs,), (ys,) = batches(net, 1, int(batch))
    print(f"mark {load(contestant).first_step(net, xs, ys)}", flush=True)


if __name__ == "__main__":
    main()
