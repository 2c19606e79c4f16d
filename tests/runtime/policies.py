"""The policies under contract: the one in process, and a real vLLM server built for CPU, both on the starter model."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "models" / "starter"
VLLM_PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
UP_WITHIN_S = 240.0


@contextmanager
def vllm_server(log: Path, *, seats: int = 16, eager: bool = True) -> Iterator[str]:
    """Base URL of a vLLM server of its own, ended with all its processes.

    Args:
        seats: requests that it decodes at once.
        eager: whether it is up sooner, and slower.
    """
    assert VLLM_PYTHON.exists(), f"no vLLM at {VLLM_PYTHON}: run `make vllm`"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    limits = ["--max-model-len", "512", "--max-loras", "4", "--max-lora-rank", "16", "--max-num-seqs", str(seats)]
    command = [
        str(VLLM_PYTHON),
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(STARTER),
        "--dtype",
        "float32",
    ]
    command += ["--enable-lora", *limits, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--enforce-eager"] if eager else []
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("VIRTUAL_ENV", "PYTHON"))} | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx2.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.5)
    raise AssertionError(
        f"vLLM was not up within {UP_WITHIN_S:.0f} s (exit code {process.poll()}):\n{log.read_text()[-3000:]}"
    )
