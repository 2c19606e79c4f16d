"""The loop with its real parts: a server process, the openai client, tools over HTTP and MCP, verdicts, training, a hot swap."""

import asyncio
import time
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from hone.cycle import judge
from hone.demo.play import play
from hone.demo.stage import city_service, hone_server, register_tools
from hone.demo.traffic import read_traffic
from hone.demo_command import visit_row
from hone.home import open_home
from learner.gate import GateReport
from learner.publisher import Publisher
from learner.settings import TrainingSettings
from learner.trainer import train
from runtime.policy.deployment import Channel
from runtime.prompt import Renderer
from runtime.settings import STARTER_MODEL
from runtime.traces.schema import VerdictOutcome

VISITS = 24


@pytest.mark.timeout(900)
async def test_the_running_server_answers_with_what_a_few_steps_learnt_and_rolls_back(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with city_service() as service, hone_server(home, str(STARTER_MODEL), service=service) as url:
        names = await asyncio.to_thread(register_tools, url, service)
        assert {"convert_time", "order_cake", "find_book"} <= set(names)
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", timeout=60) as client:
            visits = [v for v in read_traffic() if v.split == "live"][:VISITS]
            played = await play(client, visits)
            assert played.errors == []
            assert played.visits == VISITS
            with open_home(home=home) as here:
                swept = judge(here, window_s=0.0, final=True)
                assert swept.threads >= VISITS
                assert swept.outcomes.get(VerdictOutcome.VERIFIED, 0) > 0
                schemas = {spec.name: spec.openai() for spec in here.catalogue.list()}
                training = await asyncio.to_thread(
                    train,
                    [visit_row(v, schemas) for v in visits],
                    model=STARTER_MODEL,
                    renderer=Renderer.load(STARTER_MODEL),
                    out_dir=tmp_path / "candidate",
                    settings=TrainingSettings(strength=1.0, max_steps=3, prompts_per_step=4, learning_rate=3e-3),
                )
                publisher = Publisher(here.deployment, home / "adapters", base=STARTER_MODEL)
                word = GateReport(promote=True, reasons=("this test stands in for the gate",))
                published = publisher.publish(training, word, parent=None)
                assert published.promoted
                assert await _serves_within(client, published.name, 10)
                here.deployment.point(Channel.INCUMBENT, None, reason="test")
                assert await _serves_within(client, "<base>", 10)


async def _serves_within(client: AsyncOpenAI, policy: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        raw = await client.chat.completions.with_raw_response.create(
            model="hone", messages=[{"role": "user", "content": "hello"}], max_tokens=24
        )
        if raw.headers["x-hone-policy"] == policy:
            return True
    return False
