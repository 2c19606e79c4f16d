"""A server in a process of its own, to be killed, whose policy says what a test wrote down.

    python -m tests.runtime.scripted_server HOME PORT MODEL LINES

MODEL is the folder of the tiny model, LINES a JSON list of what the policy says.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2

from hone.serving import run
from runtime.app import create_app
from runtime.prompt import Renderer
from runtime.settings import Settings
from tests.runtime.scripted_policy import ScriptedPolicy

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 240.0


@contextmanager
def scripted_server(
    home: Path, port: int, model: Path, script: Sequence[str], variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The process, once it is ready; killed when the block ends, if nobody did before. `variables`: of its environment."""
    command = [sys.executable, "-m", __name__, str(home), str(port), str(model), json.dumps(list(script))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HONE_ALLOWED_NETWORKS": "127.0.0.0/8", **(variables or {})}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server died at its start"
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/livez", timeout=5).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the server did not start")


def main(home: str, port: str, model: str, lines: str) -> None:
    renderer = Renderer.load(model)
    settings = Settings(home=Path(home), port=int(port), builtin_tools=False, retrieval="words")
    app = create_app(settings, policy=ScriptedPolicy(renderer.tokenizer, json.loads(lines)), renderer=renderer)
    run(app, settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
