"""POST /v1/chat/completions and its neighbours, through the official client and as plain HTTP."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from fastapi.testclient import TestClient
from openai import AsyncOpenAI

from runtime.app import create_app
from runtime.errors import BadSettings, PolicyUnavailable
from runtime.prompt import Renderer
from runtime.settings import Settings
from tests.runtime.agent_parts import clarify, execute, refuse, tool
from tests.runtime.served_app import ServedApp, served_app

CALL = execute(("weather", {"city": "Oslo"}))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Iterator[ServedApp]:
    home = tmp_path_factory.mktemp("home")
    with served_app(home, renderer, tools=[tool()], results={"weather": "sunny"}) as served:
        yield served


def ask(server: ServedApp, text: str, **others):
    return server.client.chat.completions.create(
        model=others.pop("model", "hone"), messages=[{"role": "user", "content": text}], **others
    )


def test_an_answer_after_a_tool_call(server: ServedApp) -> None:
    server.policy.script = [CALL, "It is sunny."]
    raw = server.client.chat.completions.with_raw_response.create(
        model="hone", messages=[{"role": "user", "content": "weather in Oslo"}]
    )
    reply = raw.parse()
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.content == "It is sunny."
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
    assert raw.headers["x-hone-policy"] == "<base>"
    hone = reply.model_extra["hone"] if reply.model_extra else {}
    assert raw.headers["x-hone-trace"] == hone["trace"]
    assert (hone["decision"], hone["policy"]) == ("answer", "<base>")
    assert 0 <= hone["confidence"] == hone["steps"][-1]["confidence"] <= 1
    (call,) = hone["steps"][0]["calls"]
    assert (call["tool"], call["status"], call["result"]) == ("weather", "ok", "sunny")


def test_the_trace_can_be_read_back(server: ServedApp) -> None:
    server.policy.script = [CALL, "It is sunny."]
    trace_id = server.chat("weather in Oslo").headers["x-hone-trace"]
    trace = server.http.get(f"/v1/traces/{trace_id}").json()
    assert [span["decision"]["kind"] for span in trace["spans"]] == ["execute", "answer"]
    assert trace["spans"][0]["outcomes"][0]["content"] == "sunny"
    page = server.http.get("/v1/traces", params={"thread": trace["thread_id"]}).json()
    assert [summary["id"] for summary in page["data"]] == [trace_id]
    assert server.http.get("/v1/traces", params={"limit": 1}).json()["next"] == trace_id
    assert server.http.get("/v1/traces/none").status_code == 404
    assert server.http.get("/v1/traces", params={"limit": 0}).json()["error"]["param"] == "limit"


def test_a_clarify_is_content_with_what_is_missing(server: ServedApp) -> None:
    server.policy.script = [clarify("Which city?")]
    reply = ask(server, "weather")
    assert reply.choices[0].message.content == "Which city?"
    hone = (reply.model_extra or {})["hone"]
    assert hone["decision"] == "clarify"
    assert hone["missing"] == [{"tool": "weather", "parameter": "city"}]


def test_a_clarify_is_continued_by_the_client_that_sends_it_all_again(server: ServedApp) -> None:
    server.policy.script = [clarify("Which city?"), CALL, "Sunny."]
    asked = ask(server, "weather")
    answered = server.client.chat.completions.create(
        model="hone",
        messages=[
            {"role": "user", "content": "weather"},
            {"role": "assistant", "content": asked.choices[0].message.content or ""},
            {"role": "user", "content": "Oslo"},
        ],
    )
    assert answered.choices[0].message.content == "Sunny."
    assert (asked.model_extra or {})["hone"]["thread"] == (answered.model_extra or {})["hone"]["thread"]


@pytest.mark.parametrize("how", ["metadata", "header"])
def test_a_thread_can_be_named(server: ServedApp, how: str) -> None:
    server.policy.script = [clarify("Which city?"), CALL, "Sunny."]
    thread = f"by-{how}"
    others = {"metadata": {"thread": thread}} if how == "metadata" else {"extra_headers": {"x-hone-thread": thread}}
    ask(server, "weather", **others)
    reply = ask(server, "Oslo", **others)
    assert (reply.model_extra or {})["hone"]["thread"] == thread
    assert "Which city?" in server.policy.prompts[-1]


def test_a_refusal_fills_refusal(server: ServedApp) -> None:
    server.policy.script = [refuse("No tool can do that.")]
    reply = ask(server, "fly me to the moon")
    message = reply.choices[0].message
    assert (message.content, message.refusal) == (None, "No tool can do that.")
    assert (reply.model_extra or {})["hone"]["category"] == "out_of_scope"


def test_parameters_are_honoured(server: ServedApp) -> None:
    server.policy.script = ["Hello there."] * 2
    ask(server, "hi", max_tokens=3, temperature=0.5, top_p=0.8, seed=11)
    reply = ask(server, "hi", max_completion_tokens=2)
    first, second = server.policy.params[-2:]
    assert (first.max_tokens, first.temperature, first.top_p, first.seed) == (3, 0.5, 0.8, 11)
    assert (second.max_tokens, second.temperature) == (2, 0.0)
    assert reply.choices[0].finish_reason == "length"


def test_tool_choice_none_hides_the_tools(server: ServedApp) -> None:
    server.policy.script = ["Just talk."]
    ask(server, "hi", tool_choice="none")
    assert '"name": "weather"' not in server.policy.prompts[-1]
    server.policy.script = ["Just talk."]
    ask(server, "hi")
    assert '"name": "weather"' in server.policy.prompts[-1]


def test_content_may_come_in_parts(server: ServedApp) -> None:
    server.policy.script = ["Yes."]
    server.client.chat.completions.create(
        model="hone",
        messages=[{"role": "user", "content": [{"type": "text", "text": "left "}, {"type": "text", "text": "right"}]}],
    )
    assert "left right" in server.policy.prompts[-1]


def test_an_unknown_model_is_404_and_names_those_there_are(server: ServedApp) -> None:
    with pytest.raises(openai.NotFoundError, match=r"'gpt-9'.*hone, hone@incumbent, hone@base") as caught:
        ask(server, "hi", model="gpt-9")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "hi"}]}, "messages.0.tool_call_id"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"seed": 2**70}, "seed"),
        ({"stream": "yes"}, "stream"),
        ({"model": 3}, "model"),
        ({"n": 2}, "n"),
        ({"stop": ["x"]}, "stop"),
        ({"logprobs": True}, "logprobs"),
        ({"functions": [{}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"metadata": {"thread": "no spaces allowed"}}, "metadata.thread"),
        ({"metadata": {"thread": 3}}, "metadata.thread"),
    ],
)
def test_a_wrong_field_is_named(server: ServedApp, changes: dict, param: str) -> None:
    import json

    body = {"model": "hone", "messages": [{"role": "user", "content": "hi"}], **changes}
    response = server.http.post(
        "/v1/chat/completions", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_a_wrong_thread_header_is_named(server: ServedApp) -> None:
    response = server.http.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "hi"}]},
        headers={"x-hone-thread": "no spaces allowed"},
    )
    assert (response.status_code, response.json()["error"]["param"]) == (400, "x-hone-thread")


def test_a_body_that_is_not_json_is_said_to_be_so(server: ServedApp) -> None:
    headers = {"content-type": "application/json"}
    broken = server.http.post("/v1/chat/completions", content=b'{"model": ', headers=headers)
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")
    other = server.http.post("/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"})
    assert other.status_code == 400
    assert "application/json" in other.json()["error"]["message"]
    assert server.http.post("/v1/chat/completions", content=b"[]", headers=headers).status_code == 400


def test_other_fields_are_passed_over(server: ServedApp) -> None:
    server.policy.script = ["Hi."]
    assert server.chat("hi", user="u1", store=False, metadata={"topic": "x"}, stop=None).status_code == 200


def test_a_policy_that_is_gone_is_503_and_names_the_trace(server: ServedApp) -> None:
    server.policy.script = [PolicyUnavailable("the policy server at :9 cannot be reached; start it")]
    response = server.chat("hi")
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert response.json()["error"]["code"] == "policy_unavailable"
    trace = server.http.get(f"/v1/traces/{response.headers['x-hone-trace']}").json()
    assert trace["status"] == "failed"


def test_a_conversation_that_is_too_long_is_400(server: ServedApp) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(server, "word " * 5000)
    assert caught.value.code == "context_length_exceeded"


def test_our_own_faults_say_nothing_of_the_inside(server: ServedApp) -> None:
    server.policy.script = [RuntimeError("secret path /x")]
    response = server.chat("hi")
    assert response.status_code == 500
    assert "secret" not in response.text


def test_models_are_listed(server: ServedApp) -> None:
    assert [model.id for model in server.client.models.list()] == ["hone", "hone@incumbent", "hone@base"]
    assert server.client.models.retrieve("hone@base").id == "hone@base"
    with pytest.raises(openai.NotFoundError):
        server.client.models.retrieve("gpt-9")


async def test_the_asynchronous_client_works_alike(server: ServedApp) -> None:
    server.policy.script = ["Hi."]
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        reply = await client.chat.completions.create(model="hone", messages=[{"role": "user", "content": "hi"}])
    assert reply.choices[0].message.content == "Hi."


def test_health_says_what_is_there(server: ServedApp) -> None:
    assert server.http.get("/livez").json() == {"status": "ok"}
    ready = server.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["serving"] is None


def test_unknown_paths_and_methods_have_the_envelope(server: ServedApp) -> None:
    assert server.http.get("/v1/nothing").json()["error"]["message"] == "GET /v1/nothing: Not Found"
    assert server.http.delete("/v1/models").status_code == 405


def test_adapters_with_none_published(server: ServedApp) -> None:
    listed = server.http.get("/v1/adapters").json()
    assert (listed["data"], listed["incumbent"], listed["serving"]) == ([], None, None)
    assert server.http.post("/v1/adapters/none/promote").status_code == 404
    assert server.http.post("/v1/adapters/rollback").status_code == 400


def test_the_chat_page_is_served_whole(server: ServedApp) -> None:
    page = server.http.get("/")
    assert page.status_code == 200
    assert "weather" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for asset in ("chat.css", "chat.js", "mark.svg"):
        assert f"/static/{asset}" in page.text
        assert server.http.get(f"/static/{asset}").status_code == 200
    assert "http://" not in page.text.replace(server.url, "")
    assert "https://" not in page.text


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"host": "evil.example"}, {"origin": "null"}, {"host": "[bad"}]
)
def test_other_sites_pages_are_kept_out(server: ServedApp, headers: dict[str, str]) -> None:
    response = server.http.post("/v1/adapters/rollback", headers=headers)
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "foreign_origin"


def test_our_own_page_is_let_in(server: ServedApp) -> None:
    assert server.http.get("/livez", headers={"origin": server.url}).status_code == 200


def test_a_model_that_is_not_there_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="does not exist"):
        create_app(Settings(home=tmp_path, model=str(tmp_path / "none")))
    assert not (tmp_path / "hone.db").exists()


def test_a_real_model_answers_and_its_logprobs_are_recorded(tmp_path: Path, tiny_model: Path) -> None:
    app = create_app(Settings(home=tmp_path, model=str(tiny_model), max_tokens=8, builtin_tools=False, threads=1))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        body = {"messages": [{"role": "user", "content": "hi"}], "temperature": 1.0, "seed": 5}
        first, second = (client.post("/v1/chat/completions", json=body) for _ in range(2))
        assert first.status_code == second.status_code == 200
        traces = [client.get(f"/v1/traces/{r.headers['x-hone-trace']}").json() for r in (first, second)]
    tokens = [trace["spans"][0]["completion_token_ids"] for trace in traces]
    assert tokens[0] == tokens[1]
    assert len(traces[0]["spans"][0]["logprobs"]) == len(tokens[0]) > 0


def test_built_in_tools_are_registered_once(tmp_path: Path, renderer: Renderer) -> None:
    with served_app(tmp_path, renderer, builtin_tools=True) as served:
        names = [spec["name"] for spec in served.http.get("/v1/tools").json()["data"]]
        assert names
        assert served.http.delete(f"/v1/tools/{names[0]}").status_code == 204
    with served_app(tmp_path, renderer, builtin_tools=True) as served:
        again = [spec["name"] for spec in served.http.get("/v1/tools").json()["data"]]
    assert again == names[1:]


def test_what_is_missing_comes_with_its_meaning_and_its_choices(tmp_path: Path, renderer: Renderer) -> None:
    size = {"type": "string", "enum": ["small", "large"], "description": "How much to drink."}
    order = tool("order", {"type": "object", "properties": {"size": size}, "required": ["size"]})
    with served_app(tmp_path, renderer, tools=[order]) as server:
        server.policy.script = [clarify("Which size?", "order", "size")]
        hone = ask(server, "a coffee").model_extra["hone"]
    (missing,) = hone["missing"]
    assert missing == {
        "tool": "order",
        "parameter": "size",
        "description": "How much to drink.",
        "choices": ["small", "large"],
    }


def test_a_refusal_comes_with_what_can_be_done(server: ServedApp) -> None:
    server.policy.script = [refuse("No tool can do that.")]
    assert ask(server, "sing").model_extra["hone"]["can_do"] == [{"tool": "weather", "description": "Runs weather."}]


def test_an_answer_names_the_results_that_it_has_its_facts_from(server: ServedApp) -> None:
    server.policy.script = [CALL, "It is sunny in Oslo, 14 degrees."]
    hone = ask(server, "weather in Oslo").model_extra["hone"]
    (citation,) = hone["citations"]
    assert (citation["text"], citation["tool"], citation["path"]) == ("sunny", "weather", "$")
    assert hone["unsupported"] == ["14"]
