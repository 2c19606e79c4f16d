"""What OpenAI's Python client does unasked, and what it reads beside bodies: retries, headers, exception classes."""

from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from runtime.errors import PolicyUnavailable
from runtime.prompt import Renderer
from tests.runtime.agent_parts import execute, tool
from tests.runtime.served_app import ServedApp, served_app

CALL = execute(("weather", {"city": "Oslo"}))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Iterator[ServedApp]:
    home = tmp_path_factory.mktemp("home")
    with served_app(home, renderer, tools=[tool()], results={"weather": "sunny"}) as served:
        yield served


@pytest.fixture(scope="module")
def stubborn(server: ServedApp) -> Iterator[OpenAI]:
    """A client with its own defaults: two retries."""
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", timeout=30) as client:
        yield client


def test_a_turn_that_did_nothing_is_sent_again(server: ServedApp, stubborn: OpenAI) -> None:
    server.policy.script = [PolicyUnavailable("gone"), "Back.", PolicyUnavailable("gone"), "Back again."]
    chat = stubborn.chat.completions.create(model="hone", messages=[{"role": "user", "content": "hi"}])
    assert chat.choices[0].message.content == "Back."
    assert stubborn.responses.create(model="hone", input="hi").output_text == "Back again."


def test_a_turn_that_may_have_acted_is_not_sent_again(server: ServedApp, stubborn: OpenAI) -> None:
    server.policy.script = [CALL, PolicyUnavailable("gone"), "never said"]
    with pytest.raises(openai.InternalServerError):
        stubborn.chat.completions.create(model="hone", messages=[{"role": "user", "content": "weather in Oslo"}])
    server.policy.script = [CALL, PolicyUnavailable("gone"), "never said"]
    with pytest.raises(openai.InternalServerError):
        stubborn.responses.create(model="hone", input="weather in Oslo")
    assert list(server.policy.script) == ["never said"]


def test_our_own_faults_and_conflicts_are_not_sent_again(server: ServedApp, stubborn: OpenAI) -> None:
    server.policy.script = [RuntimeError("broken"), "never said"]
    with pytest.raises(openai.InternalServerError):
        stubborn.chat.completions.create(model="hone", messages=[{"role": "user", "content": "hi"}])
    assert list(server.policy.script) == ["never said"]
    server.policy.script = []


def test_each_answer_names_its_request(server: ServedApp) -> None:
    server.policy.script = ["Hi.", "Hi."]
    chat = server.client.chat.completions.with_raw_response.create(
        model="hone", messages=[{"role": "user", "content": "hi"}]
    )
    assert chat.headers["x-request-id"]
    assert int(chat.headers["openai-processing-ms"]) >= 0
    assert "x-ratelimit-limit-requests" not in chat.headers, "there are no limits to tell of"
    response = server.client.responses.create(model="hone", input="hi")
    assert response._request_id
    with pytest.raises(openai.NotFoundError) as caught:
        server.client.models.retrieve("gpt-9")
    assert caught.value.request_id


def test_a_model_name_may_pin_what_serves_now(server: ServedApp) -> None:
    server.policy.resident.update({"hone-v12-0a1b2c3d", "other"})
    try:
        names = [model.id for model in server.client.models.list()]
        assert names == ["hone", "hone@incumbent", "hone@base", "hone@other", "hone@v12"]
        served = {
            "hone@incumbent": None,
            "hone@v12": "hone-v12-0a1b2c3d",
            "hone@hone-v12-0a1b2c3d": "hone-v12-0a1b2c3d",
        }
        for name, adapter in served.items():
            server.policy.script = ["Hi."]
            assert server.client.models.retrieve(name).id == name
            reply = server.client.chat.completions.create(model=name, messages=[{"role": "user", "content": "hi"}])
            assert (reply.model, server.policy.served[-1]) == (name, adapter)
        with pytest.raises(openai.NotFoundError):
            server.client.models.retrieve("hone@v13")
    finally:
        server.policy.resident.clear()
