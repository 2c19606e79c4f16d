"""`hone demo`: the whole loop on this machine, from first request to a better adapter that serves."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from openai import AsyncOpenAI

from hone.cycle import RULES_FILE, bars, judge, run_cycle
from hone.demo.figures import FORBIDDEN, as_json
from hone.demo.figures import show as show_figures
from hone.demo.play import Played, play
from hone.demo.stage import city_service, hone_server, own_database, register_tools
from hone.demo.traffic import Visit, read_traffic
from hone.home import Home, load_policy, load_renderer, open_home
from hone.output import JsonOption, console, write_json
from learner.evaluation import EvaluationReport, evaluate
from learner.rows import ExpectedCall, GroundTruth, RewardModel, Row
from learner.serving_order import in_serving_order
from learner.settings import LearnerSettings, TrainingSettings
from runtime.policy.base import Policy
from runtime.prompt import Renderer
from runtime.settings import STARTER_MODEL
from tools.retrieval import open_retriever

SWAP_WITHIN_S = 30.0


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="End when done, instead of leaving the server up.")] = False,
    json: JsonOption = None,
    seed: Annotated[int, typer.Option(help="Of training.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="GRPO steps, after the imitation.")] = 40,
    users: Annotated[int, typer.Option(min=1, help="Who come to chat; at most as many as the traffic file has.")] = 600,
    model: Annotated[str, typer.Option(help="Folder of the base model.")] = str(STARTER_MODEL),
    home: Annotated[Path, typer.Option(help="Made anew for each demo.")] = Path(".hone/demo"),
    port: Annotated[int, typer.Option(help="Of the server; 0 takes any free one.")] = 0,
) -> None:
    """Serve, chat, verify, learn, gate, swap, and measure on tools that learning never sees."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "demo" / "rules.json", home / RULES_FILE)
    # without cases from schemas, so that the figures say what live traffic teaches
    settings = LearnerSettings(training=TrainingSettings(seed=seed, max_steps=steps), curriculum=0)
    with city_service() as service, hone_server(home, model, port=port, service=service) as url:
        names = register_tools(url, service)
        console.print(f"hone on {url} with {len(names)} tools: {', '.join(names)}")
        with open_home(home=home, model=model, database_url=own_database(home)) as here:
            figures = asyncio.run(_run(here, url, users, settings))
        if json:
            write_json(figures, json)
        if not leave:
            console.print(f"\nThe server stays up: chat at [bold]{url}[/] (Ctrl-C ends it)")
            _wait_for_interrupt()


async def _run(here: Home, url: str, users: int, settings: LearnerSettings) -> dict[str, Any]:
    clock = _Stopwatch()
    visits = {split: [v for v in read_traffic() if v.split == split] for split in ("live", "gate", "held_out")}
    schemas = {spec.name: spec.openai() for spec in here.catalogue.list()}
    policy = load_policy(here.settings)
    renderer, retriever = load_renderer(here.settings), open_retriever(here.settings.retrieval)
    held_out = in_serving_order([visit_row(v, schemas) for v in visits["held_out"]], retriever)
    try:
        before = await _measure("measure before", policy, renderer, held_out, None)
        clock.lap("measure_before")
        played = await _play(url, visits["live"][:users])
        clock.lap("traffic")
        swept = judge(here, window_s=0.0, final=True)
        console.print(f"verdicts: {', '.join(f'{k.value} {n}' for k, n in swept.outcomes.items())}")
        clock.lap("verify")
        gate_rows = [visit_row(v, schemas) for v in visits["gate"]]
        cycle = await run_cycle(here, policy, renderer, retriever, gate_rows, settings=settings)
        clock.lap("learn")
        console.print(f"{cycle.outcome.value}: {cycle.reason}")
        swap_s = await _see_the_swap(url, here) if cycle.published and cycle.published.promoted else None
        clock.lap("swap")
        serving = here.deployment.current()
        if serving is not None and serving.name not in await policy.adapters():
            await policy.load_adapter(serving.name, serving.path)
        after = await _measure("measure after", policy, renderer, held_out, serving.name if serving else None)
        clock.lap("measure_after")
    finally:
        await policy.close()
    figures = as_json(
        before=before,
        after=after,
        played=played,
        cycle=cycle,
        policy_after=serving.name if serving else None,
        swap_s=swap_s,
        verdicts={"outcomes": dict(swept.outcomes), "reasons": dict(swept.reasons), "spans": swept.spans},
        seeds={"traffic": 7, "training": settings.training.seed},
        seconds=clock.laps,
    )
    show_figures(console, figures, before, after)
    return figures


class _Stopwatch:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 2)
        self._last = now


def visit_row(visit: Visit, schemas: dict[str, dict[str, Any]]) -> Row:
    """A visit's first request as a dataset row."""
    if visit.wants == "execute":
        assert visit.tool is not None
        truth = GroundTruth(
            decision="execute", tool_calls=(ExpectedCall(name=visit.tool, arguments=dict(visit.arguments)),)
        )
    elif visit.wants == "clarify":
        assert visit.tool is not None
        missing = tuple({"tool": visit.tool, "parameter": name} for name in visit.missing)
        truth = GroundTruth(decision="clarify", missing=missing)
    else:
        truth = GroundTruth(decision="refuse", category=visit.category)
    return Row(
        data_source=FORBIDDEN if visit.forbidden else f"demo/{visit.split}",
        prompt=({"role": "user", "content": visit.opening},),
        tools=tuple(schemas[name] for name in visit.shown),
        reward_model=RewardModel(ground_truth=truth),
        extra_info={"id": visit.id, "split": "eval", "tool_ids": list(visit.shown)},
    )


async def _measure(
    title: str, policy: Policy, renderer: Renderer, rows: list[Row], adapter: str | None
) -> EvaluationReport:
    with bars() as progress:
        task = progress.add_task(title, total=len(rows))
        return await evaluate(
            policy,
            renderer,
            rows,
            adapter=adapter,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


async def _play(url: str, visits: list[Visit]) -> Played:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", timeout=120) as client:
        with bars() as progress:
            task = progress.add_task("live traffic", total=len(visits))
            played = await play(client, visits, progress=lambda done, total: progress.update(task, completed=done))
    console.print(
        f"{played.visits} users, {played.turns} turns, {played.first_time} served at once, {played.satisfied} in the end; "
        f"{len(played.errors)} failed requests"
    )
    return played


async def _see_the_swap(url: str, here: Home) -> float:
    """Seconds until the running server answers with the promoted adapter, as its own header says."""
    promoted = here.deployment.current()
    assert promoted is not None
    started = time.monotonic()
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", timeout=60) as client:
        while time.monotonic() - started < SWAP_WITHIN_S:
            raw = await client.chat.completions.with_raw_response.create(
                model="hone", messages=[{"role": "user", "content": "hello"}], max_tokens=24
            )
            if raw.headers.get("x-hone-policy") == promoted.name:
                took = time.monotonic() - started
                console.print(f"the running server answers with {promoted.name} after {took:.2f} s, without a restart")
                return took
            await asyncio.sleep(0.05)
    raise TimeoutError(
        f"the server did not serve {promoted.name} within {SWAP_WITHIN_S:.0f} s: see {here.settings.home}/server.log"
    )


def _wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("bye")
