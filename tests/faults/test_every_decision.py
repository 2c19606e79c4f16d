"""Promise 4: what the traces and the journal say was called is what the tools say was called, call for call.

`HONE_TURNS` says how many turns (200 unless it is given; `make faults` has 10,000).
"""

import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from hone.home import open_home
from runtime.decision import DecisionKind
from runtime.traces.schema import Trace
from runtime.traces.store import TraceStore
from tests.faults.counting_service import SECRET, CountingService
from tests.faults.killed_server import Server, register
from tests.tools.serving import serving

TURNS = int(os.environ.get("HONE_TURNS", "200"))
AT_ONCE = 8
TOOLS = ("write", "keyed", "read")
PAGE = 500


@pytest.mark.timeout(180 + TURNS // 4)
def test_what_is_on_record_is_what_the_tools_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_SECRET_COUNTING", SECRET)
    service, server, choices = CountingService(), Server(tmp_path / "home"), random.Random(TURNS)
    wanted = {number: choices.choices(TOOLS, k=choices.choice((0, 1, 1, 1, 2, 3))) for number in range(TURNS)}
    with serving(service.app()) as url:
        register(server.home, url, *TOOLS)
        monkeypatch.setenv("HONE_HOSTS_COUNTING", url.removeprefix("http://"))
        server.start()
        with httpx2.Client(base_url=server.url, timeout=60) as http, ThreadPoolExecutor(AT_ONCE) as pool:

            def have_turn(number: int) -> str:
                said = ", then ".join(f"call {tool} {number}" for tool in wanted[number]) or f"hello {number}"
                body = {"model": "hone", "messages": [{"role": "user", "content": said}]}
                answered = http.post("/v1/chat/completions", json=body)
                assert answered.status_code == 200, answered.text
                return answered.headers["x-hone-trace"]

            told = dict(zip(wanted, pool.map(have_turn, wanted), strict=True))
        server.kill()
    with open_home(home=server.home) as here:
        traces, calls = every_trace(here.traces), server.calls()

    assert set(traces) == set(told.values()), "a trace for each turn, and none beside"
    recorded = Counter[tuple[str, str, int]]()
    for number, trace_id in told.items():
        trace = traces[trace_id]
        made = [outcome for span in trace.spans for outcome in span.outcomes]
        assert [outcome.call.name for outcome in made] == wanted[number]
        assert all(outcome.call.arguments == {"n": number} and outcome.status == "ok" for outcome in made)
        assert [span.decision.kind for span in trace.spans] == [
            *[DecisionKind.EXECUTE] * len(wanted[number]),
            DecisionKind.ANSWER,
        ]
        recorded.update((outcome.call_id, outcome.call.name, number) for outcome in made)
    seen = Counter(
        {(call_id, tool, n): times for (tool, n), ids in service.asked.items() for call_id, times in ids.items()}
    )
    assert recorded == seen
    assert recorded == Counter((call.call_id, call.tool, call.arguments["n"]) for call in calls)
    assert service.forged == 0
    print(f"\n{TURNS} turns, {recorded.total()} calls: traces, journal and the tools' own log agree")


def every_trace(store: TraceStore) -> dict[str, Trace]:
    """All of them, page by page."""
    found: dict[str, Trace] = {}
    last: str | None = None
    while True:
        part = store.list(limit=PAGE, before=last)
        found |= {trace.id: trace for trace in part}
        if len(part) < PAGE:
            return found
        last = part[-1].id
