"""`hone learn` killed at different moments: the server goes on, the database is whole, and running it again finishes the work."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from hone.demo.play import play
from hone.demo.stage import city_service, hone_server, register_tools
from hone.demo.traffic import read_traffic
from hone.home import open_home
from learner.row_files import write_rows
from learner.synth.rows import generate_rows
from runtime.policy.manifest import verify_adapter
from runtime.settings import STARTER_MODEL

VISITS = 32
QUICK = {
    "HONE_LEARN_TRAINING__IMITATION_STEPS": "2",
    "HONE_LEARN_TRAINING__MAX_STEPS": "3",
    "HONE_LEARN_TRAINING__PROMPTS_PER_STEP": "4",
    "HONE_LEARN_SELECTION__MIN_ROWS": "4",
}


def learn(home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hone", "learn", "--once", "--window", "0", "--home", str(home)]
    with (home / "learn.log").open("w") as out:
        return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **QUICK}, text=True)


def kill_when(process: subprocess.Popen[str], moment: Callable[[], bool], *, within_s: float = 240.0) -> None:
    deadline = time.monotonic() + within_s
    while not moment():
        assert process.poll() is None, f"it ended with {process.returncode} before the moment came"
        assert time.monotonic() < deadline, "the moment did not come"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.timeout(900)
async def test_a_killed_learner_harms_nothing_and_the_next_run_finishes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    write_rows(home / "evaluation.jsonl", generate_rows(5, "eval", 60))
    with city_service() as service, hone_server(home, str(STARTER_MODEL), service=service) as url:
        await asyncio.to_thread(register_tools, url, service)
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", timeout=60) as client:
            visits = [v for v in read_traffic() if v.split == "live"][:VISITS]
            assert (await play(client, visits)).errors == []

            async def is_unharmed() -> None:
                assert (await play(client, visits[:2])).errors == []
                with closing(sqlite3.connect(home / "hone.db")) as database:
                    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
                with open_home(home=home) as here:
                    assert here.deployment.current() is None
                    assert here.deployment.list() == []

            lock, work = home / "learner.lock", home / "work"
            moments: dict[str, Callable[[], bool]] = {
                "as it begins": lambda: lock.exists(),
                "while it trains": lambda: work.exists(),
                "while it measures": lambda: any(work.glob("candidate/adapter_model.safetensors")),
            }
            for moment in moments.values():
                process = learn(home)
                await asyncio.to_thread(kill_when, process, moment)
                await is_unharmed()

            process = learn(home)
            code = await asyncio.to_thread(process.wait, 400)
            said = (home / "learn.log").read_text()
            assert code == 0, said
            with open_home(home=home) as here:
                (record,) = here.deployment.list()
                assert verify_adapter(Path(record.path)).name == record.name
            assert list((home / "adapters").iterdir()) == [Path(record.path)]
            assert not work.exists()
            assert (await play(client, visits[:2])).errors == []
