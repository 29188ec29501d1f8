"""Run every block of these pages as a reader would paste it: `python .ci/blocks.py README.md ...`, in any environment.

The Python blocks of a page run one after the other in one process, then its shell blocks, in an empty folder. Blocks
below a comment such as `<!-- test -->` make environments; `.ci/run` runs them.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BLOCK = re.compile(r"^(?P<mark><!-- \w+ -->\n)?^```(?P<kind>python|sh)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """(kind, code) of each block that runs here; all Python of the page is one block."""
    found = [(match["kind"], match["code"]) for match in BLOCK.finditer(page.read_text()) if not match["mark"]]
    python = "\n".join(code for kind, code in found if kind == "python")
    return [("python", python)] * bool(python) + [block for block in found if block[0] == "sh"]


def run(kind: str, code: str, folder: str) -> None:
    """Run one block; CalledProcessError if it fails."""
    commands = Path(sys.executable).parent  # where `fnnet` and `python` of this environment are
    environment = os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-c", code] if kind == "python" else ["bash", "-euxo", "pipefail", "-c", code]
    subprocess.run(command, cwd=folder, env=environment, check=True)


def main() -> None:
    """All pages in turn."""
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            for kind, code in blocks(Path(name)):
                begin = time.perf_counter()
                run(kind, code, folder)
                print(
                    f"{name}: {kind}, {len(code.splitlines())} lines, {time.perf_counter() - begin:.0f} s", flush=True
                )


if __name__ == "__main__":
    main()
