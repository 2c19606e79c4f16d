"""A request that is sent again gets the turn that it began, whole, wherever that is; and each thread has one turn at a time."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import sqlalchemy as sa

from runtime.agent.admission import KEY_LIFE, RETRY_WINDOW, Admission, Admissions, Ending, Mark, Refused, State
from runtime.agent.tables import admissions
from runtime.errors import KeyReused, PolicyUnavailable, TurnTaken
from runtime.prompt import Renderer
from tests.runtime.agent_parts import execute, tool
from tests.runtime.served_app import ServedApp, served_app
from tools.spec import ApprovalRule, SideEffect

NOON = datetime(2026, 5, 3, 12, tzinfo=UTC)
BOOK = tool("book", side_effect=SideEffect.WRITE, approval=ApprovalRule.WAIVED)
BOOK_OSLO = execute(("book", {"city": "Oslo"}))


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def here(engine: sa.Engine, clock: Clock) -> Admissions:
    return Admissions(engine, "here", clock=clock)


def admit(store: Admissions, number: int = 1, *, thread: str = "t", mark: Mark = Mark()) -> Admission | Refused:  # noqa: B008
    return store.admit(
        admission_id=f"adm_{number}",
        trace_id=f"trace_{number}",
        thread_id=thread,
        mark=mark,
        plan={"adapter": None},
        last_head=None,
    )


def admitted(store: Admissions, number: int = 1, *, thread: str = "t", mark: Mark = Mark()) -> Admission:  # noqa: B008
    found = admit(store, number, thread=thread, mark=mark)
    assert isinstance(found, Admission)
    return found


ENDED = Ending(State.FINISHED, acted=False, reply={"text": "Hi."})


def test_a_thread_is_held_until_its_turn_is_closed(here: Admissions) -> None:
    first = admitted(here)
    assert admit(here, 2) == Refused(is_busy=True)
    assert isinstance(admit(here, 3, thread="other"), Admission)
    here.close(first, ENDED)
    assert isinstance(admit(here, 4), Admission)


def test_a_key_leads_to_its_turn_for_a_day_and_to_no_other_body(here: Admissions, clock: Clock) -> None:
    mark = Mark("me", "body", "key")
    first = admitted(here, mark=mark)
    again = admit(here, 2, thread="elsewhere", mark=mark)
    assert isinstance(again, Refused)
    assert again.earlier == first
    assert here.find(Mark("somebody else", "body", "key")) is None
    with pytest.raises(KeyReused, match="'key' came before with another body"):
        here.find(Mark("me", "another body", "key"))
    here.close(first, ENDED)
    clock.now += KEY_LIFE
    assert here.find(mark) is not None
    clock.now += timedelta(seconds=1)
    assert here.find(mark) is None
    assert isinstance(admit(here, 3, mark=Mark("me", "another body", "key")), Admission)
    assert here.sweep() == 1


def test_a_retry_without_a_key_is_known_by_its_count_and_body_for_a_while(here: Admissions, clock: Clock) -> None:
    first = admitted(here, mark=Mark("me", "body", attempt=0))
    assert here.find(Mark("me", "body", attempt=0)) is None
    assert here.find(Mark("me", "other", attempt=1)) is None
    assert here.find(Mark("me", "body", attempt=1)) == first
    here.close(first, ENDED)
    clock.now += RETRY_WINDOW
    assert here.find(Mark("me", "body", attempt=2)) is not None
    clock.now += timedelta(seconds=1)
    assert here.find(Mark("me", "body", attempt=2)) is None


def test_what_a_client_sends_that_counts_nothing_is_no_repetition(here: Admissions) -> None:
    admitted(here, mark=Mark("me", "body"))
    assert here.find(Mark("me", "body", attempt=1)) is None


def test_a_turn_that_failed_before_it_acted_gives_its_key_back(here: Admissions) -> None:
    mark = Mark("me", "body", "key")
    here.close(admitted(here, mark=mark), Ending(State.FAILED, acted=False, error={"kind": "X", "message": "x"}))
    assert here.find(mark) is None
    second = admitted(here, 2, mark=mark)
    here.close(second, Ending(State.FAILED, acted=True, error={"kind": "X", "message": "x"}))
    assert here.find(mark) is not None


def test_of_those_that_take_a_turn_over_one_has_it_and_the_one_before_closes_nothing(
    engine: sa.Engine, here: Admissions
) -> None:
    mine = admitted(here)
    others = [Admissions(engine, f"other {i}") for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        taken = [each for each in pool.map(lambda other: other.take_over(mine), others) if each is not None]
    assert [each.runs for each in taken] == [2]
    with pytest.raises(TurnTaken):
        here.close(mine, ENDED)
    with pytest.raises(TurnTaken):
        here.check_mine(mine)
    assert [row.state for row in here.running()] == [State.RUNNING]


def test_of_many_that_send_the_same_key_at_once_one_is_admitted(here: Admissions) -> None:
    mark = Mark("me", "body", "key")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: admit(here, n, thread=f"t{n}", mark=mark), range(8)))
    first = [each for each in found if isinstance(each, Admission)]
    assert len(first) == 1
    assert [each.earlier for each in found if isinstance(each, Refused)] == first * 7


def test_what_is_written_together_is_written_or_not_at_all(engine: sa.Engine, here: Admissions) -> None:
    def admit_and_fail() -> None:
        with here.together():
            admitted(here)
            raise KeyError

    with pytest.raises(KeyError):
        admit_and_fail()
    assert here.running() == []


@pytest.fixture
def server(tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path, renderer, tools=[BOOK], results={"book": "booked"}, poll_s=0.05) as served:
        yield served


def keyed(key: str) -> dict[str, str]:
    return {"idempotency-key": key}


def send(server: ServedApp, text: str, headers: dict[str, str], **others: Any) -> httpx2.Response:
    body = {"model": "hone", "messages": [{"role": "user", "content": text}], **others}
    return server.http.post("/v1/chat/completions", json=body, headers=headers)


def answer(response: httpx2.Response) -> tuple[str, str]:
    body = response.json()
    return body["id"], body["choices"][0]["message"]["content"]


def close_gate(server: ServedApp) -> None:
    server.policy.gate = asyncio.Event()


def open_gate(server: ServedApp) -> None:
    """From this thread, for the server's loop."""
    assert server.policy.gate is not None
    server.services.followers["turns"].get_loop().call_soon_threadsafe(server.policy.gate.set)


def wait_for_prompts(server: ServedApp, number: int) -> None:
    deadline = time.monotonic() + 20
    while len(server.policy.prompts) < number:
        assert time.monotonic() < deadline, "the policy was not asked"
        time.sleep(0.01)


def test_a_request_with_the_same_key_gets_the_same_answer_and_acts_once(server: ServedApp) -> None:
    server.policy.script = [BOOK_OSLO, "Booked."]
    first = send(server, "book Oslo", keyed("k"))
    second = send(server, "book Oslo", keyed("k"))
    assert answer(first) == answer(second) == (first.json()["id"], "Booked.")
    assert first.json() == second.json()
    assert first.headers["x-hone-trace"] == second.headers["x-hone-trace"]
    assert len(server.policy.prompts) == 2


def test_the_same_key_with_another_body_is_422_and_names_it(server: ServedApp) -> None:
    server.policy.script = ["Hi."]
    send(server, "hi", keyed("k-4711"))
    refused = send(server, "bye", keyed("k-4711"))
    assert (refused.status_code, refused.headers["x-should-retry"]) == (422, "false")
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("idempotency_key_reused", "Idempotency-Key")
    assert "'k-4711'" in error["message"]


@pytest.mark.parametrize("key", ["with space", "x" * 256, ""])
def test_a_key_that_cannot_be_kept_is_refused(server: ServedApp, key: str) -> None:
    refused = send(server, "hi", keyed(key))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_a_streamed_request_sent_again_while_it_runs_gets_the_whole_stream(server: ServedApp) -> None:
    server.policy.script = [BOOK_OSLO, "Booked."]
    close_gate(server)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(send, server, "book Oslo", keyed("k"), stream=True)
        wait_for_prompts(server, 1)
        second = pool.submit(send, server, "book Oslo", keyed("k"), stream=True)
        time.sleep(0.2)
        open_gate(server)
        texts = [first.result().text, second.result().text]
    assert texts[0] == texts[1]
    assert "Booked." in texts[0]
    assert send(server, "book Oslo", keyed("k"), stream=True).text == texts[0], "also when it is over"
    assert len(server.policy.prompts) == 2


def test_the_official_client_that_lost_its_answer_gets_it_when_it_tries_again(server: ServedApp) -> None:
    """Its first attempt reaches the server, and the connection breaks before the answer."""
    server.policy.script = [BOOK_OSLO, "Booked.", "A second turn."]
    attempts: list[str] = []

    class Losing(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            attempts.append(request.headers["x-stainless-retry-count"])
            response = super().handle_request(request)
            if len(attempts) == 1:
                response.read()
                raise httpx2.ReadError("the connection broke")
            return response

    http = httpx2.Client(transport=Losing())
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=2, http_client=http) as client:
        reply = client.chat.completions.create(model="hone", messages=[{"role": "user", "content": "book Oslo"}])
    assert attempts == ["0", "1"]
    assert reply.choices[0].message.content == "Booked."
    assert len(server.services.traces.list()) == 1


def test_the_same_words_said_anew_are_a_turn_of_their_own(server: ServedApp) -> None:
    server.policy.script = ["One.", "Two."]
    counted = {"x-stainless-retry-count": "0"}
    assert [answer(send(server, "hi", counted))[1] for _ in range(2)] == ["One.", "Two."]


def test_a_turn_that_failed_before_it_called_anything_is_run_anew(server: ServedApp) -> None:
    server.policy.script = [PolicyUnavailable("gone"), "Hi."]
    assert send(server, "hi", keyed("k")).status_code == 503
    assert answer(send(server, "hi", keyed("k")))[1] == "Hi."


def test_a_turn_that_failed_after_a_call_is_told_again_and_not_run(server: ServedApp) -> None:
    server.policy.script = [BOOK_OSLO, PolicyUnavailable("gone"), "Never said."]
    first, second = (send(server, "book Oslo", keyed("k")) for _ in range(2))
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert (second.status_code, second.headers["x-should-retry"]) == (503, "false")
    assert second.headers["x-hone-trace"] == first.headers["x-hone-trace"]


def test_a_response_is_answered_again_too(server: ServedApp) -> None:
    server.policy.script = ["Hi."]
    first, second = (
        server.http.post("/v1/responses", json={"model": "hone", "input": "hi"}, headers=keyed("k")) for _ in range(2)
    )
    assert first.json() == second.json()
    assert first.json()["status"] == "completed"


def test_an_answer_that_was_approved_is_not_approved_twice(tmp_path: Path, renderer: Renderer) -> None:
    asking = tool("book", side_effect=SideEffect.WRITE)
    with served_app(tmp_path, renderer, [BOOK_OSLO, "Booked."], tools=[asking], results={"book": "booked"}) as server:
        here: dict[str, Any] = {"metadata": {"thread": "t"}}
        question = send(server, "book Oslo", keyed("ask"), **here)
        assert "approval" in question.json()["hone"]
        done, again = (send(server, "approve", keyed("yes"), **here) for _ in range(2))
        assert answer(done) == answer(again) == (question.json()["id"], "Booked.")
        told = send(server, "book Oslo", keyed("ask"), **here).json()
        assert told["choices"] == question.json()["choices"], "the question is told again as it was put"


def two_at_once(server: ServedApp, **second: Any) -> tuple[httpx2.Response, httpx2.Response]:
    """Two messages of one thread, the second while the policy is asked about the first."""
    close_gate(server)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(send, server, "first", {}, metadata={"thread": "t"})
        wait_for_prompts(server, 1)
        later = pool.submit(send, server, "second", {}, metadata={"thread": "t", **second})
        time.sleep(0.3)
        open_gate(server)
        return first.result(), later.result()


def test_a_second_message_waits_for_the_first_unless_asked_otherwise(server: ServedApp) -> None:
    server.policy.script = ["One.", "Two."]
    first, second = two_at_once(server)
    assert [answer(first)[1], answer(second)[1]] == ["One.", "Two."]
    assert "One." in server.policy.prompts[1]


def test_a_second_message_may_be_refused(server: ServedApp) -> None:
    server.policy.script = ["One."]
    first, second = two_at_once(server, when_busy="reject")
    assert answer(first)[1] == "One."
    assert (second.status_code, second.json()["error"]["code"]) == (409, "thread_busy")


def test_a_second_message_may_end_a_turn_that_has_called_nothing(server: ServedApp) -> None:
    server.policy.script = ["Two."]
    first, second = two_at_once(server, when_busy="interrupt")
    assert (first.status_code, first.json()["error"]["code"]) == (409, "interrupted")
    assert answer(second)[1] == "Two."
    assert "first" not in server.policy.prompts[1]


def test_a_turn_that_has_called_something_ends_with_what_it_did(tmp_path: Path, renderer: Renderer) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def book(arguments: dict[str, Any]) -> str:
        at_work.set()
        go_on.wait(20)
        return "booked"

    script = [execute(("book", {"city": "Oslo"})), "Two."]
    with served_app(tmp_path, renderer, script, tools=[BOOK], results={"book": "booked"}) as server:

        async def slowly(*args: Any, **others: Any) -> Any:
            await asyncio.to_thread(book, {})
            return await original(*args, **others)

        original = server.services.executor.run
        server.services.executor.run = slowly  # type: ignore[method-assign]
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(send, server, "book Oslo", {}, metadata={"thread": "t"})
            assert at_work.wait(20)
            second = pool.submit(send, server, "no", {}, metadata={"thread": "t", "when_busy": "interrupt"})
            time.sleep(0.3)
            go_on.set()
            told, later = first.result().json(), second.result()
    assert told["hone"]["stopped"] == "interrupted"
    assert told["hone"]["steps"][0]["calls"][0]["status"] == "ok"
    assert answer(later)[1] == "Two."
    assert "booked" in server.policy.prompts[-1], "what was done is known to the next turn"


@pytest.mark.parametrize(("rule", "status"), [("detach", "finished"), ("cancel", "failed")])
@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_whose_client_has_gone(tmp_path: Path, renderer: Renderer, rule: str, status: str, stream: bool) -> None:
    with served_app(tmp_path, renderer, on_disconnect=rule) as server:
        body = {"model": "hone", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}

        def say_and_wait(prompt: str) -> str:
            close_gate(server)
            return "<tool_call>{"  # news, so that the stream begins, and not its end

        server.policy.script = [say_and_wait, "Hi."]
        with httpx2.Client(base_url=server.url, timeout=30) as leaving:
            leaver = threading.Thread(target=lambda: _leave(leaving, body, server))
            leaver.start()
            wait_for_prompts(server, 2)
            leaver.join()
        time.sleep(0.5)
        open_gate(server)
        deadline = time.monotonic() + 20
        while not (found := server.services.traces.list()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert found[0].status.value == status


def _leave(client: httpx2.Client, body: dict[str, Any], server: ServedApp) -> None:
    """Sends a request and hangs up when the policy has been asked twice."""
    with client.stream("POST", "/v1/chat/completions", json=body) if body["stream"] else _post(client, body):
        wait_for_prompts(server, 2)


@contextmanager
def _post(client: httpx2.Client, body: dict[str, Any]) -> Iterator[None]:
    """A request whose answer nobody reads."""
    host, port = client.base_url.host, client.base_url.port
    assert port is not None
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
    with socket.create_connection((host, port)) as connection:
        connection.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        yield


def test_erasing_a_thread_takes_its_rows_along(server: ServedApp) -> None:
    server.policy.script = ["Hi."]
    send(server, "hi", keyed("k"), metadata={"thread": "mine"})
    assert server.http.delete("/v1/threads/mine").status_code == 200
    with server.services.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(admissions)) == 0
