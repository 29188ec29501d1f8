"""All systems of the five sources at small settings, and one table of them.

    python experiments/sources [--pictures DIR]

It takes less than three minutes. The largest difference is that between the gradients of the sources' loops, corrected,
of fnnet's rules and of jax.grad of the plain form, in double precision, relative to |b| + rms(b).
"""

import argparse
import time
from pathlib import Path

import categorical_cross_entropy
import mini_batches_of_images
import one_at_a_time
import relu_neuron
import reported_network
import sigmoid_cross_entropy
import sigmoid_recursion
from three_ways import outcomes

SYSTEMS = {
    relu_neuron: {},
    categorical_cross_entropy: {"epochs": 5},
    sigmoid_recursion: {"epochs": 5},
    sigmoid_cross_entropy: {"epochs": 10},
    one_at_a_time: {"epochs": 3},
    mini_batches_of_images: {"epochs": 5},
    reported_network: {"epochs": 5, "rate": 1.0},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, help="a directory for a picture of each system")
    pictures = parser.parse_args().pictures
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    start, found = time.perf_counter(), []
    for system, settings in SYSTEMS.items():
        print(f"\n{system.__name__}")
        picture = None if pictures is None else pictures / f"{system.__name__}.png"
        found.append(system.run(picture=picture, **settings))
    print(f"\n{outcomes(found)}\n\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
