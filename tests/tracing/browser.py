"""A headless Chromium, driven through its DevTools pipe: a command is JSON and a zero byte, and so is its answer."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

WAIT = 60.0  # seconds, at the most, for an answer
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page in one browser; a context manager."""

    def __init__(self, profile: Path, width: int = 1280, height: int = 1000, dark: bool = False):
        """Starts it, without network, on an empty page."""
        assert CHROMIUM is not None
        read_commands, self._commands = os.pipe()
        self._answers, write_answers = os.pipe()
        # Chromium reads from descriptor 3 and writes to 4; a shell puts the two there.
        start = f'exec "$0" "$@" 3<&{read_commands} 4>&{write_answers}'
        flags = [
            "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={profile}", f"--window-size={width},{height}",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ["bash", "-c", start, CHROMIUM, *flags, "about:blank"],
            pass_fds=(read_commands, write_answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_answers)
        os.set_blocking(self._answers, False)
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session = None
        self.requests: list[str] = []
        self.errors: list[str] = []
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        self.send("Page.enable")
        self.send("Runtime.enable")
        self.send("Network.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            self._session = None
            self.send("Browser.close")
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired, TimeoutError):
            self._process.kill()
            self._process.wait(10)
        finally:
            os.close(self._commands)
            os.close(self._answers)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command's result; RuntimeError if the browser refuses it."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            answer = self._next()
            if answer is None:
                time.sleep(0.005)
            elif answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            elif answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            elif answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"]))
        raise TimeoutError(method)

    def _next(self) -> dict[str, Any] | None:
        """The next message, if a whole one is there."""
        if b"\0" not in self._buffer:
            try:
                self._buffer += os.read(self._answers, 1 << 20)
            except BlockingIOError:
                return None
        message, found, rest = self._buffer.partition(b"\0")
        if not found:
            return None
        self._buffer = rest
        return json.loads(message)

    def open(self, file: Path, address: str = "") -> None:
        """A page from a file, until it says that it is drawn; `address` is what stands behind its name, "#..."."""
        self.send("Page.navigate", url="about:blank")  # the same page with another address is not opened anew
        self.send("Page.navigate", url=file.resolve().as_uri() + address)
        deadline = time.monotonic() + WAIT
        while not self.run("Boolean(document.body && document.body.dataset.ready)"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{file} is not drawn; errors: {self.errors}")
            time.sleep(0.02)

    def run(self, code: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{code}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """A click of the mouse at a place of an element, from 0 to 1 of its width and height."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{element}.scrollIntoView({{block: 'center', inline: 'center'}})")
        box = self.run(f"(b => [b.left, b.top, b.width, b.height])({element}.getBoundingClientRect())")
        at = {"x": box[0] + x * box[2], "y": box[1] + y * box[3], "button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type="mousePressed", **at)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", **at)

    def press(self, key: str) -> None:
        """A key, on the element that has the focus."""
        # What a key does by itself, such as Tab and Enter, hangs on its code and its text.
        known = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " ")}
        code, text = known.get(key, (0, ""))
        by_itself = {"windowsVirtualKeyCode": code, "text": text} if code else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, **by_itself)

    def picture(self, file: Path, clip: dict[str, float] | None = None) -> None:
        """A PNG of what is seen, or of a rectangle of the page."""
        options = {} if clip is None else {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True}
        result = self.send("Page.captureScreenshot", format="png", **options)
        file.write_bytes(base64.b64decode(result["data"]))
