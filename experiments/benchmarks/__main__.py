"""Entry: `python experiments/benchmarks`, or `python -m benchmarks` within experiments/."""

import sys
from pathlib import Path

if not __package__:  # run as a directory, which is then the first place of the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.command import main

if __name__ == "__main__":
    sys.exit(main())
