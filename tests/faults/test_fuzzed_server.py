"""Bad input, from outside: Schemathesis reads the server's own OpenAPI document and sends every operation what it allows
and what it does not, and nothing may be a failure of the server's.

`HONE_FUZZED_CASES` says how many requests at least (2,500 unless it is given; `make faults` sends 50,000).
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hone.home import open_home
from runtime.access.roles import Role
from tests.faults.killed_server import Server
from tools.tenancy import acting

CASES = int(os.environ.get("HONE_FUZZED_CASES", "2500"))
OPERATIONS = 54
"""Fewer than that, and something is left out."""
SYSTEMATIC = 2_000
"""Requests that Schemathesis derives from the document whatever it is asked for: each boundary and each broken rule once."""
VARIED = 42
"""Operations that take enough for as many different requests as are wanted."""
SEED = 20261128


@pytest.mark.timeout(300 + CASES // 10)
def test_no_request_however_odd_is_answered_with_a_failure_of_the_server(tmp_path: Path) -> None:
    server = Server(tmp_path / "home", settings={"builtin_tools": True})
    with open_home(home=server.home) as here, acting(None):
        _, key = here.keys.create("fuzz", role=Role.OPERATOR, tenant="default")
    server.start()
    try:
        report = fuzz(f"{server.url}/openapi.json", key, tmp_path, examples=max(1, (CASES - SYSTEMATIC) // VARIED))
        ready = httpx2.get(f"{server.url}/readyz", timeout=10)
    finally:
        server.kill()
    assert report["failures"] == []
    assert report["errors"] == [], report["output"]
    assert report["complete"]
    assert report["operations"]["tested"] >= OPERATIONS
    assert report["test_cases"]["generated"] >= CASES
    assert ready.status_code == 200, ready.text
    print(f"\n{report['test_cases']['generated']} requests to {report['operations']['tested']} operations, no failure")


def fuzz(document: str, key: str, folder: Path, *, examples: int) -> dict[str, Any]:
    """Schemathesis' report. Args: examples: random requests to each operation, beside the systematic ones."""
    command = [Path(sys.executable).with_name("st"), "run", document, "--header", f"Authorization: Bearer {key}"]
    checked = ["--checks", "not_a_server_error", "--phases", "coverage,fuzzing", "--max-examples", str(examples)]
    # One worker: with two, Schemathesis now and then changes what its other thread is reading, and reports itself.
    run = ["--continue-on-failure", "--workers", "1", "--request-timeout", "30", "--seed", str(SEED), "--no-color"]
    written = ["--report", "json", "--report-dir", str(folder / "report")]
    done = subprocess.run([*command, *checked, *run, *written], cwd=folder, capture_output=True, text=True)
    reports = list((folder / "report").glob("*.json"))
    assert reports, done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads(reports[0].read_text()) | {"output": done.stdout[-4000:]}
