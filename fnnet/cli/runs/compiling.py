"""What a training says of its first step, which takes long because it is compiled."""

import sys
import time


class Compiling:
    """Says that the first step is being compiled, and once it has been taken, how long that took."""

    _began: float | None = None

    def begin(self) -> None:
        """Say it, unless a progress bar does."""
        self._began = time.perf_counter()
        if not sys.stderr.isatty():
            print("compiling", flush=True)

    def end(self) -> None:
        """Say how long it took, the first time that a step has been taken."""
        if self._began is None:
            return
        from tqdm import tqdm

        tqdm.write(f"compiled in {time.perf_counter() - self._began:.1f} s")  # above the progress bar, if there is one
        sys.stdout.flush()
        self._began = None
