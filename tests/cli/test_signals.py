"""The request to stop: heard once, even while Python is held up; heard twice, the process ends."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from fnnet.cli import signals


@pytest.fixture
def handlers():
    """Python's own handlers; a shell's background jobs are started without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGTERM, before[1])


def heard(request):
    deadline = time.monotonic() + 20
    while request.number is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return request.number


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", signals.HANDLED)
def test_a_signal_is_a_request_and_afterwards_what_it_was(number, capsys):
    before = signal.getsignal(number)
    with signals.StopRequest() as request:
        assert request.number is None
        os.kill(os.getpid(), number)
        assert heard(request) == number
    assert signal.getsignal(number) is before
    assert signal.set_wakeup_fd(-1) == -1
    assert capsys.readouterr().err.startswith(f"fnnet: {signal.Signals(number).name}: saving and leaving")
    assert signals.Stopped(number, "x").status == 128 + number


@pytest.mark.usefixtures("handlers")
def test_what_the_shell_keeps_from_us_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals.StopRequest() as request:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        assert request.number is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_outside_the_main_thread_nothing_changes():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def other():
        with signals.StopRequest():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [before]


HELD_UP = """
import hashlib, signal
from fnnet.cli import signals
signal.signal(signal.SIGINT, signal.default_int_handler)
with signals.StopRequest():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # many minutes in which Python runs no handler of its own
"""


def test_a_second_signal_leaves_at_once(users_environment):
    with subprocess.Popen(
        [sys.executable, "-c", HELD_UP],
        env=users_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)  # it is in the long call now
        process.send_signal(signal.SIGINT)
        assert "once more" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
