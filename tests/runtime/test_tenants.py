"""Tenants never meet: whatever they do, in whatever order, through the stores or over HTTP, nobody is given another's row.

HONE_TENANT_OPERATIONS says how many operations the property takes: a few hundred unless set, 100,000 by `make faults`.
"""

import ast
import base64
import os
import re
import secrets
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy.exc import DBAPIError

from runtime.access.audit import AuditLog
from runtime.access.keys import Keys
from runtime.access.roles import Role
from runtime.agent.tables import thread_heads
from runtime.agent.threads import HeadStore, own_thread
from runtime.approvals.schema import Ask, Verdict, Why
from runtime.approvals.store import ApprovalStore
from runtime.database import open_database, reading, utc_now, writing
from runtime.errors import ApprovalError, KeyNotFound, KeySpent, TraceNotFound
from runtime.prompt import Renderer
from runtime.traces.schema import Span, Trace, TraceStatus, VerdictOutcome
from runtime.traces.schema import Verdict as Proof
from runtime.traces.store import TraceStore
from runtime.traces.tables import spans, traces, verdicts
from tests.runtime.agent_parts import execute, tool
from tests.runtime.served_app import served_app
from tools.catalogue import Catalogue
from tools.drafts import Drafts
from tools.errors import DuplicateTool, NotHeld, SharedTool, ToolError, UnknownSecret, UnknownTool
from tools.holds import Holds
from tools.importers.survey import Survey
from tools.journal import Journal
from tools.master_keys import GivenKeys
from tools.outcome import CallResult
from tools.secret_store import SecretStore
from tools.spec import CallStatus, SideEffect
from tools.tables import metadata, tools
from tools.tenancy import NOBODY, SHARED, Caller, NoTenant, acting, belongs_to_tenants, fixed, for_tenant

OPERATIONS = int(os.environ.get("HONE_TENANT_OPERATIONS", "300"))
STEPS = 50
TENANTS = ("default", "acme", "bolt")
NAMES = ("order", "weather", "pay")
THREADS = ("a", "b", "acme:a", "default:a")

tenant = st.sampled_from(TENANTS)
name = st.sampled_from(NAMES)
thread = st.sampled_from(THREADS)
any_row = st.integers(0, 10_000)
MASTER = base64.b64encode(bytes(32)).decode()


class Tenants(RuleBasedStateMachine):
    """Each tenant marks all that it writes with its own name; whatever anybody is given is looked over for other marks."""

    folder: Path
    url: str | None = None

    @initialize()
    def open(self) -> None:
        home = self.folder / secrets.token_hex(8)
        self.engine = open_database(f"sqlite:///{home / 'hone.db'}")
        engine = self.engine
        self.catalogue, self.drafts = Catalogue(engine), Drafts(engine)
        self.holds, self.journal = Holds(engine), Journal(engine)
        self.secrets = SecretStore(engine, GivenKeys(MASTER))
        self.traces, self.approvals, self.heads = TraceStore(engine), ApprovalStore(engine), HeadStore(engine)
        self.keys, self.audit = Keys(engine), AuditLog(engine)
        self.ids: dict[str, list[str]] = {kind: [] for kind in ("trace", "approval", "call", "key")}

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.dispose()

    def check(self, who: str, *given: Any) -> None:
        told = repr(given)
        for other in TENANTS:
            assert other == who or f"mark-{other}" not in told, f"{who} was given {other}'s: {told}"

    def some(self, kind: str, row: int) -> str:
        """An id that somebody, no matter who, was given."""
        known = self.ids[kind]
        return known[row % len(known)] if known else "none"

    @rule(who=st.sampled_from((*TENANTS, SHARED)), name=name, replace=st.booleans())
    def register(self, who: str, name: str, replace: bool) -> None:
        spec = tool(name).model_copy(update={"description": f"mark-{who}"})
        with for_tenant(who):
            try:
                self.catalogue.add(spec, replace=replace)
            except (DuplicateTool, SharedTool) as e:
                if who != SHARED:
                    self.check(who, str(e).replace("tenant '", "mark-"))

    @rule(who=st.sampled_from((*TENANTS, SHARED)), name=name)
    def remove(self, who: str, name: str) -> None:
        with for_tenant(who):
            try:
                self.catalogue.remove(name)
            except (UnknownTool, SharedTool) as e:
                self.check(who, str(e))

    @rule(who=tenant, name=name)
    def look_at_tools(self, who: str, name: str) -> None:
        with for_tenant(who):
            usable = self.catalogue.list()
            self.check(who, usable, self.catalogue.registered(), self.holds.standings())
            assert len({spec.name for spec in usable}) == len(usable)
            try:
                self.check(who, self.catalogue.get(name), self.catalogue.versions(name))
            except UnknownTool as e:
                self.check(who, str(e))

    @rule(who=tenant, name=name, off=st.booleans())
    def hold(self, who: str, name: str, off: bool) -> None:
        with for_tenant(who):
            try:
                self.holds.disable(name, reason=f"mark-{who}") if off else self.holds.enable(name)
            except (UnknownTool, NotHeld) as e:
                self.check(who, str(e))

    @rule(who=tenant, name=name)
    def draft(self, who: str, name: str) -> None:
        spec = tool(name).model_copy(update={"description": f"mark-{who}"})
        with for_tenant(who):
            try:
                self.drafts.import_all(Survey((spec,), ()), f"mark-{who}", replace=True)
                self.check(who, self.drafts.list(), self.drafts.get(name))
                self.drafts.publish([name], replace=True)
            except ToolError as e:
                self.check(who, str(e))

    @rule(who=tenant, name=name, write=st.booleans())
    def keep_secret(self, who: str, name: str, write: bool) -> None:
        name = name.upper()
        with for_tenant(who):
            if write:
                self.secrets.set(name, f"mark-{who}-value", hosts=["api.example.com"])
            else:
                try:
                    self.secrets.remove([name])
                except UnknownSecret as e:
                    self.check(who, str(e))
            self.check(who, self.secrets.find(name), self.secrets.list())

    @rule(who=tenant, called=thread, waits=st.booleans(), again=st.none() | any_row)
    def record(self, who: str, called: str, waits: bool, again: int | None) -> None:
        trace_id = f"trace_{secrets.token_hex(8)}" if again is None else self.some("trace", again)
        status = TraceStatus.WAITING if waits else TraceStatus.FINISHED
        with for_tenant(who):
            thread_id = own_thread(called)
            self.traces.record(_trace(trace_id, thread_id, status, f"mark-{who}"))
            self.heads.advance(thread_id, 0, 1, [f"digest-{called}"])
            self.check(who, self.heads.find(f"digest-{called}"), self.heads.of_thread(thread_id))
        self.ids["trace"].append(trace_id)

    @rule(who=tenant, called=thread, row=any_row)
    def look_at_traces(self, who: str, called: str, row: int) -> None:
        wanted = self.some("trace", row)
        with for_tenant(who):
            found = self.traces.list(limit=100)
            assert {trace.tenant for trace in found} <= {who}
            self.check(who, found, self.traces.thread(own_thread(called)), self.traces.sightings("weather"))
            self.check(who, self.traces.verdict(f"{wanted}.0"), self.traces.judged_spans(), self.traces.thread_ids())
            try:
                self.check(who, self.traces.get(wanted), self.traces.list(before=wanted))
                proof = Proof(
                    span_id=f"{wanted}.0",
                    outcome=VerdictOutcome.REFUTED,
                    reason=f"mark-{who}",
                    ground_truth={"decision": "refuse"},
                    decided_at=found[0].created_at,
                )
                self.traces.record_verdicts([proof])
                self.check(who, self.traces.verdict(proof.span_id), self.traces.judged_spans())
            except TraceNotFound as e:
                self.check(who, str(e).replace(wanted, ""))

    @rule(who=tenant, called=thread)
    def ask(self, who: str, called: str) -> None:
        arguments = {"city": f"mark-{who}"}
        asked = Ask(
            call_id="c", tool="t", tool_sha256="s", arguments=arguments, digest=secrets.token_hex(8), why=Why.WRITES
        )
        with for_tenant(who):
            made = self.approvals.ask(asked, thread_id=own_thread(called), trace_id="t", checkpoint_id="c", length=1)
        self.ids["approval"].append(made.id)

    @rule(who=tenant, row=any_row, verdict=st.sampled_from(list(Verdict)), called=thread)
    def answer(self, who: str, row: int, verdict: Verdict, called: str) -> None:
        wanted = self.some("approval", row)
        with for_tenant(who):
            self.check(
                who, self.approvals.list(), self.approvals.list(thread_id=own_thread(called)), self.approvals.due()
            )
            try:
                self.check(who, self.approvals.get(wanted), self.approvals.decide(wanted, verdict, via="http"))
                self.approvals.settle(wanted)
            except ApprovalError as e:
                self.check(who, str(e))

    @rule(who=tenant, name=name, again=st.none() | any_row)
    def call(self, who: str, name: str, again: int | None) -> None:
        call_id = secrets.token_hex(8) if again is None else self.some("call", again)
        spec = tool(name, side_effect=SideEffect.WRITE)
        with for_tenant(who):
            if self.journal.begin(spec, {"city": f"mark-{who}"}, call_id, f"owner-{who}"):
                self.journal.complete(call_id, f"owner-{who}", CallResult(CallStatus.OK, f"mark-{who}", 1.0))
            self.check(who, self.journal.find(call_id), self.journal.list(), self.journal.unfinished())
        self.ids["call"].append(call_id)

    @rule(who=tenant, row=any_row, act=st.sampled_from(("create", "rotate", "revoke", "get")))
    def use_keys(self, who: str, row: int, act: str) -> None:
        wanted = self.some("key", row)
        with for_tenant(who):
            try:
                match act:
                    case "create":
                        made, _ = self.keys.create(f"mark-{who}", role=Role.USER)
                        self.ids["key"].append(made.prefix)
                    case "rotate":
                        self.check(who, self.keys.rotate(wanted))
                    case "revoke":
                        self.check(who, self.keys.revoke(wanted))
                    case _:
                        self.check(who, self.keys.get(wanted))
            except (KeyNotFound, KeySpent) as e:
                self.check(who, str(e))
            self.check(who, self.keys.list(), [key.tenant for key in self.keys.list() if key.tenant != who])
            assert {entry.tenant for entry in self.audit.list(limit=50)} <= {who}

    @invariant()
    def nobody_reads_nothing(self) -> None:
        if hasattr(self, "engine"):
            with acting(NOBODY), pytest.raises(NoTenant):
                self.catalogue.list()


@pytest.mark.timeout(0 if OPERATIONS > 2_000 else 300)
def test_whatever_tenants_do_none_is_given_anothers_row(tmp_path: Path) -> None:
    Tenants.folder = tmp_path
    many = settings(
        max_examples=max(1, OPERATIONS // STEPS),
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        print_blob=True,
    )
    run_state_machine_as_test(Tenants, settings=many)


def test_the_same_isolation_holds_on_both_databases(engine: sa.Engine) -> None:
    """Each statement of the stores, rewritten, on PostgreSQL too; the property above runs on SQLite."""
    store = TraceStore(engine)
    with for_tenant("acme"):
        store.record(_trace("trace_a", "acme:t", TraceStatus.WAITING, "mark-acme"))
        Catalogue(engine).add(tool("order"))
        SecretStore(engine, GivenKeys(MASTER)).set("PETS", "of-acme-alone", hosts=["api.example.com"])
    with for_tenant("bolt"):
        store.record(_trace("trace_a", "bolt:t", TraceStatus.FINISHED, "mark-bolt"))
        assert store.list() == []
        assert store.sightings("weather") == []
        assert Catalogue(engine).list() == []
        Catalogue(engine).add(tool("order", side_effect=SideEffect.WRITE))
        bolts = SecretStore(engine, GivenKeys(MASTER))
        assert bolts.find("PETS") is None
        assert bolts.set("PETS", "of-bolt-alone", hosts=["api.example.com"]).version == 1
    with for_tenant("acme"):
        assert store.get("trace_a").thread_id == "acme:t"
        assert [sighting.trace_id for sighting in store.sightings("weather")] == ["trace_a"]
        assert Catalogue(engine).get("order").side_effect is SideEffect.READ
        with writing(engine) as connection:
            assert connection.execute(sa.update(spans).values(latency_ms=7.0)).rowcount == 1
            assert connection.execute(sa.select(sa.func.count()).select_from(verdicts)).scalar() == 0
    with for_tenant("bolt"), writing(engine) as connection:
        assert connection.execute(sa.delete(spans)).rowcount == 0
        assert connection.execute(sa.delete(traces)).rowcount == 0
    with pytest.raises(DBAPIError, match="only added to"), engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM audit")


def test_every_table_of_a_tenant_is_confined_and_every_statement_on_it_refused_for_nobody(engine: sa.Engine) -> None:
    import runtime.access.tables as access
    import runtime.agent.tables as agent
    import runtime.approvals.tables as approvals
    import runtime.report.measurements as measurements

    # adapters, their deployment and their history are the whole server's, and so are the processes that make it up
    of_tenants = [metadata, traces.metadata, agent.metadata, approvals.metadata, access.metadata, measurements.metadata]
    for table in (table for part in of_tenants for table in part.sorted_tables if table is not agent.servers):
        statements = (
            sa.select(table),
            sa.select(table.alias()),
            sa.delete(table),
            sa.select(sa.exists().select_from(table)),
            fixed(sa.select(table)),
            fixed(sa.delete(table)),
        )
        for statement in statements:
            with acting(NOBODY), pytest.raises(NoTenant), reading(engine) as connection:
                connection.execute(statement)
        with for_tenant("acme"), reading(engine) as connection:
            assert connection.execute(sa.select(table)).all() == []


def test_a_statement_that_is_made_once_is_about_whoever_runs_it(engine: sa.Engine) -> None:
    add = fixed(sa.insert(thread_heads))
    seen = fixed(sa.select(thread_heads.c.digest).where(thread_heads.c.length >= sa.bindparam("least")))
    move = fixed(sa.update(thread_heads).where(thread_heads.c.digest == sa.bindparam("its_digest")))
    remove = fixed(sa.delete(thread_heads))
    ann, bob, all_of_acme = (Caller("acme", user, is_confined=user is not None) for user in ("ann", "bob", None))
    everybody = {"ann": ann, "bob": bob, "bolt": Caller("bolt", "ann", is_confined=True)}
    for name, who in everybody.items():
        with acting(who), writing(engine) as connection:
            row = {"thread_id": f"{name}:t", "length": 2, "created_at": utc_now()}
            connection.execute(add, [{**row, "digest": f"{name}{n}"} for n in range(2)])
    for name, who in [*everybody.items(), *everybody.items()]:
        with acting(who), writing(engine) as connection:
            assert connection.execute(move, {"its_digest": f"{name}0", "length": 3}).rowcount == 1
            others = next(other for other in everybody if other != name)
            assert connection.execute(move, {"its_digest": f"{others}0", "length": 9}).rowcount == 0
            assert sorted(connection.scalars(seen, {"least": 0})) == [f"{name}0", f"{name}1"]
            assert [*connection.scalars(seen, {"least": 3})] == [f"{name}0"]
    with acting(all_of_acme), reading(engine) as connection:
        assert len(connection.execute(seen, {"least": 0}).all()) == 4
    with acting(None), reading(engine) as connection:
        assert len(connection.execute(seen, {"least": 0}).all()) == 6
    with acting(bob), writing(engine) as connection:
        assert connection.execute(remove).rowcount == 2
    with acting(NOBODY), pytest.raises(NoTenant), writing(engine) as connection:
        connection.execute(add, [{"thread_id": "t", "length": 2, "created_at": utc_now(), "digest": "d"}])
    with acting(None), reading(engine) as connection:
        assert len(connection.execute(seen, {"least": 0}).all()) == 4


def test_a_shared_tool_is_everybodys_and_nobody_takes_its_name_or_its_secret(engine: sa.Engine) -> None:
    catalogue, holds = Catalogue(engine), Holds(engine)
    with for_tenant(SHARED):
        catalogue.add(tool("clock"))
    with for_tenant("acme"):
        assert [spec.is_shared for spec in catalogue.list()] == [True]
        for change in (lambda: catalogue.add(tool("clock"), replace=True), lambda: catalogue.remove("clock")):
            with pytest.raises(SharedTool, match="a tool of all tenants"):
                change()
        holds.disable("clock")
        assert catalogue.list() == []
        catalogue.add(tool("own"))
    with for_tenant("bolt"):
        assert [spec.name for spec in catalogue.list()] == ["clock"]
    with for_tenant(SHARED), pytest.raises(DuplicateTool, match="tenant 'acme' has a tool named 'own'"):
        catalogue.add(tool("own"))
    with acting(Caller("default", keeps_shared=True)):
        catalogue.remove("clock")
    with for_tenant("bolt"):
        assert catalogue.list() == []
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tools)) == 2


def test_two_companies_on_one_server_share_nothing_over_http(tmp_path: Path, renderer: Renderer) -> None:
    script = [execute(("weather", {"city": "Rome"})), "Sunny.", "Hello.", "Hello again.", "Who?"]
    with served_app(tmp_path, renderer, script, results={"weather": "sun"}) as server:
        keys = {}
        for company in ("acme", "bolt"):
            with for_tenant(company):
                sent = server.services.keys.create("op", role=Role.OPERATOR)[1]
            keys[company] = {"authorization": f"Bearer {sent}", "x-hone-thread": "support"}
        definition = {
            "name": "weather",
            "description": "d",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        }
        definition["endpoint"] = {"url": "http://127.0.0.1:9/x", "method": "GET"}
        made = server.http.post("/v1/tools", json=definition, headers=keys["acme"])
        assert made.status_code == 201, made.text
        body = {"messages": [{"role": "user", "content": "The password is swordfish."}]}
        said = server.http.post("/v1/chat/completions", json=body, headers=keys["acme"])
        assert said.json()["choices"][0]["message"]["content"] == "Sunny."
        other = server.http.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]}, headers=keys["bolt"]
        )
        assert said.headers["x-hone-thread"] != other.headers["x-hone-thread"]
        assert "swordfish" not in server.policy.prompts[-1]
        assert "weather" not in server.policy.prompts[-1]
        server.http.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]}, headers=keys["acme"]
        )
        assert "swordfish" in server.policy.prompts[-1]
        stolen = keys["bolt"] | {"x-hone-thread": said.headers["x-hone-thread"]}
        server.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]}, headers=stolen)
        assert "swordfish" not in server.policy.prompts[-1]
        trace, thread_id = said.headers["x-hone-trace"], said.headers["x-hone-thread"]
        for path in (f"/v1/traces/{trace}", f"/v1/responses/resp_{trace.removeprefix('trace_')}", "/v1/tools/weather"):
            assert server.http.get(path, headers=keys["bolt"]).status_code == 404, path
        # the name means a thread of its own to bolt, which it may erase; acme's stays
        server.http.delete(f"/v1/threads/{thread_id}", headers=keys["bolt"])
        assert trace not in server.http.get("/v1/traces", headers=keys["bolt"]).text
        elsewhere = server.http.get("/v1/traces", headers=keys["bolt"] | {"x-hone-tenant": "acme"})
        assert elsewhere.status_code == 403
        with for_tenant("default"):
            root = {"authorization": f"Bearer {server.services.keys.create('root', role=Role.OPERATOR)[1]}"}
        assert server.http.get(f"/v1/traces/{trace}", headers=root).status_code == 404
        assert server.http.get(f"/v1/traces/{trace}", headers=root | {"x-hone-tenant": "acme"}).status_code == 200
        assert server.http.delete(f"/v1/threads/{thread_id}", headers=keys["acme"]).status_code == 200


def _trace(trace_id: str, thread_id: str, status: TraceStatus, mark: str) -> Trace:
    from runtime.database import utc_now
    from runtime.decision import Execute, ToolCall

    span = Span(
        id=f"{trace_id}.0",
        trace_id=trace_id,
        index=0,
        messages=({"role": "user", "content": mark},),
        tools=(),
        prompt_token_ids=(1,),
        completion_token_ids=(2,),
        logprobs=(-0.5,),
        text=mark,
        decision=Execute(calls=(ToolCall(name="weather", arguments={"city": mark}),)),
    )
    return Trace(
        id=trace_id,
        thread_id=thread_id,
        created_at=utc_now(),
        model=mark,
        adapter=None,
        adapter_sha256=None,
        status=status,
        spans=(span,),
    )


def test_no_statement_that_is_written_as_text_names_a_table_of_tenants(tmp_path: Path) -> None:
    """The guard lets text through, since it cannot read it."""
    tables = sa.MetaData()
    engine = open_database(f"sqlite:///{tmp_path / 'hone.db'}")
    tables.reflect(engine)
    engine.dispose()
    owned = [table.name for table in tables.tables.values() if belongs_to_tenants(table)]
    assert "traces" in owned
    root = Path(__file__).parents[2]
    files = [path for top in ("tools", "runtime", "learner", "hone") for path in (root / top).rglob("*.py")]
    for path in files:
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "sa.text",
                "text",
                "connection.exec_driver_sql",
            ):
                said = ast.unparse(node)
                assert not any(re.search(rf"\b{name}\b", said) for name in owned), f"{path}: {said}"
