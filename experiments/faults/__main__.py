"""`python experiments/faults`: every fault, and a table of what was tried, survived and lost."""

import argparse
import signal
import sys
import tempfile
import warnings
from pathlib import Path

if not __package__:  # run as a directory, which is then the first place of the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from records import table

from faults import damage, disks, epochs, kills

warnings.filterwarnings("ignore", message=".*fork", category=RuntimeWarning)
warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)

parser = argparse.ArgumentParser(prog="faults", description=__doc__)
parser.add_argument("--short", action="store_true", help="a few of each")
short = parser.parse_args().short
times = 2 if short else 20
every = 97 if short else 1
tests = (
    lambda run: kills.at_every_operation(run, times if short else 0),
    lambda run: kills.by_the_clock(run, times),
    lambda run: epochs.killed_in_epochs(run, 1 if short else times),
    *(() if short else (lambda run: epochs.asked_to_stop(run, (signal.SIGTERM, signal.SIGINT) * 3),)),
    lambda run: disks.disk_full(run, times),
    lambda run: disks.not_writable(run, times),
    lambda run: disks.two_at_once(run, times),
    lambda run: damage.cut_off(run, every),
    lambda run: damage.flipped(run, every),
)
rows, failures = [], []
for test in tests:
    with tempfile.TemporaryDirectory(prefix="fnnet-faults-") as run:
        fault, tried, failed = test(Path(run))
    rows.append((fault, tried, tried - len(failed), len(failed)))
    failures += [f"{fault}: {failure}" for failure in failed]
    print(f"{fault}: {tried} tried, {tried - len(failed)} survived", file=sys.stderr, flush=True)
print(table(("fault", "tried", "survived, nothing lost", "otherwise"), rows))
print("\n".join(failures[:20]))
sys.exit(1 if failures else 0)
