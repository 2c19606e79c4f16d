"""Keys over HTTP: a server without any is open to its own machine, one with any serves nobody without, and each route its role."""

import base64
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from openai import AuthenticationError, OpenAI, PermissionDeniedError

from runtime.access.roles import ROUTES, Need, Role
from runtime.api.access import classified
from runtime.app import create_app
from runtime.errors import BadSettings
from runtime.prompt import Renderer
from runtime.settings import Settings
from tests.runtime.agent_parts import execute, tool
from tests.runtime.served_app import ServedApp, served_app
from tests.tools.serving import serving
from tools.tenancy import for_tenant

OPEN_PATHS = ("/livez", "/readyz", "/", "/static/chat.js", "/openapi.json")


@pytest.fixture
def server(tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path, renderer, ["Hello."] * 40, tools=[tool()], results={"weather": "sun"}) as served:
        yield served


def key(server: ServedApp, role: Role = Role.USER, tenant: str = "default", **others) -> str:
    with for_tenant(tenant):
        return server.services.keys.create(f"a {role}", role=role, **others)[1]


def sent(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def hello(server: ServedApp, **headers: str) -> httpx2.Response:
    body = {"model": "hone", "messages": [{"role": "user", "content": "Hi"}]}
    return server.http.post("/v1/chat/completions", json=body, headers=headers)


def test_without_keys_the_machine_itself_is_served_as_the_operator(server: ServedApp) -> None:
    assert hello(server).status_code == 200
    who = server.http.get("/v1/whoami").json()
    assert (who["tenant"], who["role"], who["via"]) == ("default", "operator", "open server")


def test_from_the_first_key_on_every_route_under_v1_needs_one(server: ServedApp) -> None:
    made = server.http.post("/v1/keys", json={"name": "mine", "role": "operator"})
    assert made.status_code == 201, made.text
    for method, path in ROUTES:
        if path.startswith("/v1/"):
            answer = server.http.request(method, path.replace("{", "").replace("}", ""))
            assert answer.status_code == 401, (method, path)
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
    assert server.http.get("/v1/nowhere").status_code == 401
    for path in OPEN_PATHS:
        assert server.http.get(path).status_code == 200, path
    assert hello(server, **sent(made.json()["key"])).status_code == 200


def test_openai_clients_send_the_key_and_understand_what_is_refused(server: ServedApp) -> None:
    user = key(server)
    with OpenAI(base_url=f"{server.url}/v1", api_key=user, max_retries=0) as client:
        said = client.chat.completions.create(model="hone", messages=[{"role": "user", "content": "Hi"}])
        assert said.choices[0].message.content == "Hello."
        with pytest.raises(PermissionDeniedError, match="needs the role operator"):
            client.get("/keys", cast_to=httpx2.Response)  # type: ignore[type-var]
    wrong = OpenAI(base_url=f"{server.url}/v1", api_key=user[:-1] + "-", max_retries=0)
    with wrong as client, pytest.raises(AuthenticationError, match="not known here"):
        client.models.list()


@pytest.mark.parametrize(
    "wrong",
    ["hone_", "hone_abcdefgh_" + "a" * 43, "hone_ABCDEFGH_x", "sk-1234", "\N{SNOWMAN}".encode().decode("latin-1")],
)
def test_what_is_no_key_is_told_so_and_never_a_failure(server: ServedApp, wrong: str) -> None:
    key(server)
    assert (
        server.http.get("/v1/models", headers=[(b"authorization", f"Bearer {wrong}".encode("latin-1"))]).status_code
        == 401
    )
    basic = base64.b64encode(b"a:b").decode()
    assert server.http.get("/v1/models", headers={"authorization": f"Basic {basic}"}).status_code == 401


def test_each_role_reaches_its_routes_and_no_others(server: ServedApp) -> None:
    keys = {role: key(server, role) for role in Role}
    elsewhere = key(server, Role.OPERATOR, tenant="acme")
    for (method, path), need in ROUTES.items():
        if not isinstance(need, Need) or not path.startswith("/v1/"):
            continue
        there = path.replace("{verdict}", "approve").replace("{", "").replace("}", "")
        for role, its_key in keys.items():
            status = server.http.request(method, there, headers=sent(its_key)).status_code
            assert (status == 403) is not role.holds(need.role), (method, path, role, status)
        status = server.http.request(method, there, headers=sent(elsewhere)).status_code
        assert (status == 403) is need.of_server, (method, path, status)


def test_every_route_of_the_app_is_in_the_table_and_a_new_one_without_a_role_is_refused(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path))
    assert {(m, route.path) for route in classified(app) for m in (route.methods or {"GET"}) - {"HEAD"}} == set(ROUTES)
    router = APIRouter()
    router.get("/v1/new")(lambda: "new")
    grown = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    grown.include_router(router)
    with pytest.raises(BadSettings, match="GET /v1/new: say in"):
        classified(grown)


def test_a_scope_narrows_a_key_to_a_group_of_routes(server: ServedApp) -> None:
    narrow = key(server, Role.OPERATOR, scopes=("chat",))
    assert hello(server, **sent(narrow)).status_code == 200
    refused = server.http.get("/v1/tools", headers=sent(narrow))
    assert refused.status_code == 403
    assert "scope tools" in refused.json()["error"]["message"]
    operator = sent(key(server, Role.OPERATOR))
    unknown = server.http.post("/v1/keys", json={"name": "x", "scopes": ["everything"]}, headers=operator)
    assert unknown.status_code == 400
    assert "there is no scope 'everything'" in unknown.json()["error"]["message"]


def test_keys_are_listed_in_pages_filtered_shown_rotated_and_revoked_and_never_shown_again(server: ServedApp) -> None:
    operator = sent(key(server, Role.OPERATOR))
    made = [
        server.http.post("/v1/keys", json={"name": f"k{i}", "concurrency": 2}, headers=operator).json()
        for i in range(3)
    ]
    first = server.http.get("/v1/keys?role=user&limit=2", headers=operator).json()
    second = server.http.get(f"/v1/keys?role=user&limit=2&after={first['next']}", headers=operator).json()
    assert {k["prefix"] for k in first["data"] + second["data"]} == {k["prefix"] for k in made}
    assert second["next"] is None
    shown = server.http.get(f"/v1/keys/{made[0]['prefix']}", headers=operator)
    assert shown.json()["limits"] == {"concurrency": 2}
    for secret in (made[0]["key"], made[0]["key"].rsplit("_", 1)[1]):
        assert secret not in shown.text
        assert secret not in server.http.get("/v1/keys", headers=operator).text
    rotated = server.http.post(f"/v1/keys/{made[0]['prefix']}/rotate", headers=operator).json()
    assert hello(server, **sent(made[0]["key"])).status_code == 200
    assert hello(server, **sent(rotated["key"])).status_code == 200
    server.http.post(f"/v1/keys/{made[1]['prefix']}/rotate", json={"overlap_s": 0}, headers=operator)
    assert hello(server, **sent(made[1]["key"])).status_code == 401
    assert server.http.post(f"/v1/keys/{made[0]['prefix']}/revoke", headers=operator).json()["state"] == "revoked"
    for old in (made[0]["key"], rotated["key"]):
        assert hello(server, **sent(old)).status_code == 401
    again = server.http.post(f"/v1/keys/{made[0]['prefix']}/rotate", headers=operator)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "key_spent")
    states = {
        k["prefix"]: k["state"] for k in server.http.get("/v1/keys?state=revoked", headers=operator).json()["data"]
    }
    assert states == {made[0]["prefix"]: "revoked"}
    assert server.http.get("/v1/keys/nowhere1", headers=operator).json()["error"]["code"] == "key_not_found"


def test_a_revocation_by_another_process_is_heard_of_within_seconds(server: ServedApp, tmp_path: Path) -> None:
    user = key(server)
    assert hello(server, **sent(user)).status_code == 200
    with sqlite3.connect(tmp_path / "hone.db") as other:
        other.execute("UPDATE api_keys SET revoked_at = '2026-01-01 00:00:00'")
    told = time.monotonic()
    while hello(server, **sent(user)).status_code == 200:
        assert time.monotonic() - told < 5
        time.sleep(0.1)


def test_a_key_that_has_run_out_is_refused(server: ServedApp) -> None:
    soon = key(server, expires_at=datetime.now(UTC) + timedelta(seconds=1))
    assert hello(server, **sent(soon)).status_code == 200
    time.sleep(1.1)
    assert hello(server, **sent(soon)).status_code == 401


def test_the_file_holds_no_key_and_says_when_one_was_used(tmp_path: Path, renderer: Renderer) -> None:
    with served_app(tmp_path, renderer, ["Hello."]) as server:
        user = key(server)
        hello(server, **sent(user))
        server.services.keys.write_uses()
        with for_tenant("default"):
            assert server.services.keys.get(user.split("_")[1]).last_used_at is not None
    secret = user.rsplit("_", 1)[1].encode()
    assert all(secret not in path.read_bytes() for path in tmp_path.iterdir() if path.is_file())


def test_an_open_server_serves_no_request_that_came_from_another_machine(tmp_path: Path, renderer: Renderer) -> None:
    app = create_app(Settings(home=tmp_path, builtin_tools=False), policy=_silent(renderer), renderer=renderer)

    async def from_elsewhere(scope, receive, send):
        if scope["type"] == "http":
            scope = {**scope, "server": ("10.1.2.3", 8000)}
        await app(scope, receive, send)

    with serving(from_elsewhere) as url:  # type: ignore[arg-type]
        refused = httpx2.get(f"{url}/v1/models")
        assert refused.status_code == 401
        assert "hone keys create" in refused.json()["error"]["message"]
        assert httpx2.get(f"{url}/livez").status_code == 200


def test_metrics_need_the_servers_operator_or_the_setting(tmp_path: Path, renderer: Renderer) -> None:
    for is_open in (False, True):
        with served_app(tmp_path / str(is_open), renderer, open_metrics=is_open) as server:
            operator = key(server, Role.OPERATOR)
            assert server.http.get("/metrics").status_code == (200 if is_open else 401)
            assert server.http.get("/metrics", headers=sent(operator)).status_code == 200


def test_the_audit_log_tells_who_did_what_and_takes_no_change(server: ServedApp, tmp_path: Path) -> None:
    operator = key(server, Role.OPERATOR)
    prefix = operator.split("_")[1]
    secret = {"value": "a-secret-value", "hosts": ["api.example.com"]}
    server.http.put("/v1/secrets/PETS", json=secret, headers=sent(operator))
    made = server.http.post("/v1/keys", json={"name": "other"}, headers=sent(operator)).json()
    server.http.post(f"/v1/keys/{made['prefix']}/revoke", headers=sent(operator))
    server.http.post("/v1/tools/weather/disable", headers=sent(operator))
    told = server.http.get("/v1/audit?limit=4", headers=sent(operator))
    entries = told.json()["data"]
    assert [(e["action"], e["thing"]) for e in entries] == [
        ("tool.disabled", "weather"),
        ("key.revoked", made["prefix"]),
        ("key.created", made["prefix"]),
        ("secret.set", "PETS"),
    ]
    assert {(e["user"], e["via"]) for e in entries} == {(f"key:{prefix}", f"key {prefix}")}
    assert "a-secret-value" not in told.text
    assert made["key"] not in told.text
    older = server.http.get(f"/v1/audit?before={told.json()['next']}&action=key", headers=sent(operator)).json()["data"]
    assert [e["thing"] for e in older] == [prefix]
    with sqlite3.connect(tmp_path / "hone.db") as other:
        for change in ("UPDATE audit SET user = 'nobody'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                other.execute(change)


def test_a_turn_is_its_credentials_whatever_the_request_says_unless_the_key_acts_for_others(server: ServedApp) -> None:
    plain, trusted = key(server, Role.DEVELOPER), key(server, acts_for_others=True)
    seen = []
    for its_key in (plain, trusted):
        body = {"messages": [{"role": "user", "content": "Hi"}], "user": "alice"}
        answer = server.http.post("/v1/chat/completions", json=body, headers=sent(its_key))
        trace = server.http.get(f"/v1/traces/{answer.headers['x-hone-trace']}", headers=sent(plain)).json()
        seen.append(trace["user"])
    assert seen == [f"key:{plain.split('_')[1]}", "alice"]


def test_a_user_sees_and_answers_its_own_alone(tmp_path: Path, renderer: Renderer) -> None:
    from tools.spec import SideEffect

    script = [execute(("order", {"city": "Rome"})), "Done.", "Hello."]
    ordering = tool("order", side_effect=SideEffect.WRITE)
    with served_app(tmp_path, renderer, script, tools=[ordering], results={"order": "ok"}) as server:
        ann, bob, dev = key(server), key(server), key(server, Role.DEVELOPER)
        asked = hello(server, **sent(ann), **{"x-hone-thread": "mine"})
        approval = asked.json()["hone"]["approval"]["id"]
        thread, trace = asked.headers["x-hone-thread"], asked.headers["x-hone-trace"]
        for path in (f"/v1/approvals/{approval}", f"/v1/traces/{trace}"):
            assert server.http.get(path, headers=sent(bob)).status_code == 404
            assert server.http.get(path, headers=sent(ann)).status_code == 200
            assert server.http.get(path, headers=sent(dev)).status_code == 200
        assert server.http.post(f"/v1/approvals/{approval}/approve", headers=sent(bob)).status_code == 404
        assert server.http.get("/v1/traces", headers=sent(bob)).json()["data"] == []
        done = server.http.post(f"/v1/approvals/{approval}/approve", headers=sent(dev))
        assert done.json()["completion"]["choices"][0]["message"]["content"] == "Done."
        again = hello(server, **sent(ann), **{"x-hone-thread": thread})
        assert again.headers["x-hone-thread"] == thread
        (entry,) = server.http.get("/v1/audit?action=approval", headers=sent(key(server, Role.OPERATOR))).json()["data"]
        assert (entry["action"], entry["user"]) == ("approval.approved", f"key:{dev.split('_')[1]}")


def _silent(renderer: Renderer):
    from tests.runtime.scripted_policy import ScriptedPolicy

    return ScriptedPolicy(renderer.tokenizer, [])
