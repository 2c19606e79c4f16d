"""Runs a client of another environment against a server, and takes what it prints."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent


def javascript(url: str) -> dict[str, Any]:
    assert (TESTS / "js" / "node_modules" / "openai").exists(), "no client: run bash tests/js_environment.sh"
    return _run(["node", str(TESTS / "js" / "client.mjs"), url])


def python(environment: str, url: str) -> dict[str, Any]:
    """The script `tests/clients/<environment>_client.py`."""
    interpreter = ROOT / ".venv-clients" / environment / "bin" / "python"
    assert interpreter.exists(), f"no {interpreter}: run bash tests/clients_environment.sh"
    return _run([str(interpreter), str(TESTS / "clients" / f"{environment}_client.py"), url])


def _run(command: Sequence[str]) -> dict[str, Any]:
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, env={**keep, **quiet}, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])
