"""SIGINT (Ctrl-C) and SIGTERM during a training: the first asks it to stop between two calls, a second ends it at once.

Python runs its own handlers only between two steps of the interpreter. A call into XLA is one step, and lasts seconds
while it compiles. Therefore a thread reads the bytes that the C handler writes at once (`signal.set_wakeup_fd`).
"""

import os
import signal
import sys
import threading
from types import TracebackType
from typing import Any

HANDLED = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """A training ended by a signal. `status` is the exit status that a shell expects."""

    def __init__(self, number: int, message: str):
        """The message says what became of the training."""
        super().__init__(f"{signal.Signals(number).name}: {message}")
        self.status = 128 + number


def line_start() -> str:
    """What a message begins with so that it stands on a line of its own, behind a progress bar and the echoed ^C."""
    return "\n" if sys.stderr.isatty() else ""


class StopRequest:
    """While it is entered, `number` is the signal that asked to stop, or None. It works in the main thread alone."""

    number: int | None = None

    def __enter__(self) -> "StopRequest":
        """Listen to the signals that the shell did not tell us to ignore."""
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            wanted = [number for number in HANDLED if signal.getsignal(number) is not signal.SIG_IGN]
            reading, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            threading.Thread(target=self._listen, args=(reading,), daemon=True).start()
            self._former = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
            self._before = {number: signal.signal(number, lambda *_: None) for number in wanted}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if hasattr(self, "_writing"):
            signal.set_wakeup_fd(self._former)
            os.close(self._writing)

    def _listen(self, reading: int) -> None:
        with os.fdopen(reading, "rb", buffering=0) as heard:
            while byte := heard.read(1):
                number = byte[0]
                if number not in HANDLED:
                    continue
                if self.number is not None:
                    os._exit(128 + number)
                self.number = number
                name = signal.Signals(number).name
                message = f"fnnet: {name}: saving and leaving; once more: leaving at once"
                print(f"{line_start()}{message}", file=sys.stderr, flush=True)
