"""What the policy is told first: each tenant's own text, or the one for all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from hone.__main__ import app
from runtime.access.audit import AuditLog
from runtime.access.roles import Role
from runtime.agent.system_prompts import LONGEST, SystemPrompts
from runtime.errors import BadRequest, SystemPromptNotFound
from runtime.prompt import Renderer
from tests.runtime.served_app import ServedApp, served_app
from tools.tenancy import SHARED, for_tenant


@pytest.fixture
def server(tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path, renderer, ["Hello."] * 20) as served:
        yield served


def test_a_tenant_has_its_own_and_else_the_one_for_all(engine: sa.Engine) -> None:
    prompts = SystemPrompts(engine)
    assert prompts.get() is None
    for tenant, text in ((SHARED, "Be brief."), ("acme", "You work for Acme."), ("acme", "You are Acme's clerk.")):
        with for_tenant(tenant):
            prompts.set(text)
    texts = {}
    for tenant in ("acme", "bolt", "default"):
        with for_tenant(tenant):
            texts[tenant] = prompts.text()
    assert texts == {"acme": "You are Acme's clerk.", "bolt": "Be brief.", "default": "Be brief."}
    with for_tenant("bolt"), pytest.raises(SystemPromptNotFound, match="'bolt' has no system prompt of its own"):
        prompts.clear()
    with for_tenant("acme"):
        prompts.clear()
        assert prompts.text() == "Be brief."
        actions = [entry.action for entry in AuditLog(engine).list()]
    assert actions == ["system_prompt.cleared", "system_prompt.set", "system_prompt.set"]


def test_a_change_of_another_process_is_heard_of_within_seconds(engine: sa.Engine) -> None:
    now = 0.0
    here, elsewhere = SystemPrompts(engine, monotonic=lambda: now), SystemPrompts(engine)
    assert here.text() is None
    elsewhere.set("Be brief.")
    assert here.text() is None
    now = 2.0
    assert here.text() == "Be brief."


@pytest.mark.parametrize("text", ["", " \n", "a" * (LONGEST + 1), "a\0b"])
def test_a_text_that_cannot_be_kept_is_refused_and_the_one_before_stays(server: ServedApp, text: str) -> None:
    server.services.system_prompts.set("Be brief.")
    with pytest.raises(BadRequest, match=r"^text: \d+ characters; give 1 to 20,000"):
        server.services.system_prompts.set(text)
    answer = server.http.put("/v1/system-prompt", json={"text": text})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "text")
    assert server.http.get("/v1/system-prompt").json()["text"] == "Be brief."


def test_the_policy_is_told_it_before_what_the_request_says(server: ServedApp) -> None:
    assert server.http.get("/v1/system-prompt").json() == {"object": "system_prompt", "tenant": None, "text": None}
    server.http.put("/v1/system-prompt", json={"text": "You work for Acme."}).raise_for_status()
    messages = [{"role": "system", "content": "Speak German."}, {"role": "user", "content": "Hi"}]
    server.http.post("/v1/chat/completions", json={"messages": messages}).raise_for_status()
    assert "You work for Acme.\n\nSpeak German." in server.policy.prompts[-1]
    assert server.http.delete("/v1/system-prompt").status_code == 204
    assert server.http.delete("/v1/system-prompt").json()["error"]["code"] == "system_prompt_not_found"
    server.chat("Hi again").raise_for_status()
    assert "Acme" not in server.policy.prompts[-1]


def test_it_is_the_operators_and_each_tenants_own(server: ServedApp) -> None:
    keys = server.services.keys
    _, root = keys.create("root", role=Role.OPERATOR)
    _, acme = keys.create("acme", role=Role.OPERATOR, tenant="acme")
    _, developer = keys.create("dev", role=Role.DEVELOPER, tenant="acme")

    def put(key: str, text: str) -> int:
        headers = {"authorization": f"Bearer {key}"}
        return server.http.put("/v1/system-prompt", json={"text": text}, headers=headers).status_code

    assert [put(acme, "You work for Acme."), put(developer, "Do as I say."), put(root, "Be brief.")] == [200, 403, 200]
    for key, told in ((developer, "You work for Acme."), (root, "Be brief.")):
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        headers = {"authorization": f"Bearer {key}"}
        server.http.post("/v1/chat/completions", json=body, headers=headers).raise_for_status()
        assert told in server.policy.prompts[-1]


def test_the_command_sets_shows_and_clears_it(tmp_path: Path) -> None:
    said = tmp_path / "prompt.txt"
    said.write_text("Be brief.\n", encoding="utf-8")
    run = CliRunner().invoke
    home = ["--home", str(tmp_path / "home")]
    assert run(app, ["system-prompt", "set", str(said), "--tenant", "shared", *home]).exit_code == 0
    assert run(app, ["system-prompt", "show", *home]).output == "Be brief.\n\n"
    assert run(app, ["system-prompt", "clear", "--tenant", "shared", *home]).exit_code == 0
    assert run(app, ["system-prompt", "show", *home]).output == "none\n"
