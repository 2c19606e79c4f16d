"""What an operator may set: the one place where the runtime reads HONE_* variables and hone.toml.

A variable wins over the file, an argument over both. Lists are given in the environment with commas
(`HONE_VLLM_URLS=http://a:8000,http://b:8000`).
"""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from sqlalchemy.engine import make_url

from runtime.errors import BadSettings
from tools.destinations import AllowList
from tools.errors import BadMasterKey
from tools.master_keys import GivenKeys
from tools.tenancy import DEFAULT, NAME

STARTER_MODEL = Path(__file__).resolve().parents[1] / "models" / "starter"
CONFIG_FILE = "hone.toml"
SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Of tokens: made with a private key and checked with a public one. Those with a shared secret would let whoever knows the
public key sign."""


class Settings(BaseSettings):
    """The settings of one server process."""

    model_config = SettingsConfigDict(
        env_prefix="HONE_",
        toml_file=CONFIG_FILE,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    home: Path = Path(".hone")
    """Where state lives: database, thread checkpoints, adapters, notes."""
    database_url: str | None = None
    """SQLAlchemy URL; None: a SQLite file in `home`."""

    model: str = str(STARTER_MODEL)
    """Folder or hub name of the base model; its tokenizer renders the prompts, also for vLLM."""
    vllm_urls: Annotated[tuple[str, ...], NoDecode] = ()
    """Base URLs of vLLM servers; empty: the model runs in this process."""
    vllm_model: str | None = None
    """Name under which vLLM serves the base; None: what the first server names."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of the model in this process; None leaves torch's own choice."""
    max_adapters: int = Field(default=8, ge=4)
    """Adapters that the model in this process keeps resident."""
    poll_s: float = Field(default=0.25, gt=0, le=60)
    """Seconds between two looks at the deployment pointer."""

    host: str = "127.0.0.1"
    """Address to bind; other machines reach it only once there are keys."""
    port: int = Field(default=8000, ge=0, le=65535)
    """0: any free one."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names and addresses other than loopback by which the server may be called, by browsers and programs alike; a request whose
    `Host` is none of them is refused."""

    tenant: str = Field(default=DEFAULT, pattern=NAME)
    """Whose things commands on this machine are about; `shared`: the tools of all tenants."""
    open_metrics: bool = False
    """Answer `GET /metrics` to anybody, also where keys are needed: its figures name the tools of all tenants."""

    oidc_issuer: str | None = Field(default=None, pattern=r"^https?://")
    """Identity provider whose tokens are taken beside keys, as it calls itself; None: none."""
    oidc_audience: str | None = None
    """What its tokens for this server name as their audience."""
    oidc_jwks_url: str | None = Field(default=None, pattern=r"^https?://")
    """Where its keys are; None: where its own description says."""
    oidc_algorithms: Annotated[tuple[str, ...], NoDecode] = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
    """That may sign them; only such as take public keys."""
    oidc_user_claim: str = "sub"
    """Names the user in traces and approvals."""
    oidc_tenant_claim: str | None = None
    """Names the tenant, directly or by a path (`org.id`); None: all are of the default tenant."""
    oidc_role_claim: str | None = None
    """Holds the groups that `oidc_roles` knows, such as `realm_access.roles`."""
    oidc_roles: Annotated[dict[str, Literal["user", "developer", "operator"]], NoDecode] = {}
    """Group → role (`hone-admins=operator,hone-devs=developer`); of several the highest counts."""
    oidc_default_role: Literal["user", "developer", "operator"] | None = "user"
    """Of tokens without such a group; None, or `none`: they are refused."""

    max_turns: int = Field(default=64, ge=1)
    """Turns that run at a time in one process."""
    max_waiting: int = Field(default=64, ge=0)
    """Requests that wait for one of them to end; more are refused with 429."""
    max_wait_s: float = Field(default=30.0, gt=0, le=600)
    """Seconds that one waits at most."""
    reader_stall_s: float = Field(default=60.0, gt=0, le=3600)
    """Seconds in which a client must take some of its answer, or the connection is closed."""
    key_requests_per_minute: int | None = Field(default=None, ge=1)
    """Turns of one key, or of one user with a token, in each process; None: no bound. So with those below."""
    key_tokens_per_minute: int | None = Field(default=None, ge=1)
    """Tokens of its turns, read and written."""
    key_concurrency: int | None = Field(default=None, ge=1)
    """Its turns that run at a time."""
    tenant_requests_per_minute: int | None = Field(default=None, ge=1)
    """Turns of all keys and users of a tenant."""
    tenant_tokens_per_minute: int | None = Field(default=None, ge=1)
    """Tokens of its turns."""
    tenant_concurrency: int | None = Field(default=None, ge=1)
    """Its turns that run at a time."""

    max_steps: int = Field(default=6, ge=1, le=64)
    """Rounds of tool calls in one turn."""
    max_tokens: int = Field(default=512, ge=1)
    """Tokens of one call of the policy, unless the request says otherwise."""
    turn_tokens: int = Field(default=4096, ge=1)
    """Tokens that all calls of the policy in one turn may write."""
    turn_seconds: float = Field(default=120.0, gt=0, le=3600)
    """Of one turn, waits for a person aside; then it ends with what it has."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """Unless the request says otherwise; 0 is greedy."""

    shown_tools: int = Field(default=6, ge=0, le=128)
    """Registered tools that the policy sees in a turn, chosen by the conversation, unless the request names some; 0: all. The
    starter was trained on up to six."""

    retrieval: Literal["meaning", "words"] = "meaning"
    """How tools are put in order for a conversation: by words and sentence embeddings, or by words alone, which spares 90 MB of
    memory and a few milliseconds of each turn."""

    constrained: bool = True
    """The policy writes under the grammar of decisions (`runtime.grammar`), so that no output is unreadable."""

    builtin_tools: bool = True
    """Register the tools that ship with hone at the first start."""
    allow_mcp_stdio: bool = False
    """Let HTTP clients register MCP servers that this machine starts as child processes: whoever may register may then
    run any program."""

    allowed_networks: Annotated[tuple[str, ...], NoDecode] = ()
    """What tools may call beside the public internet: hosts, addresses and networks, each with or without a port
    (`intranet.example,10.1.0.0/16,127.0.0.1:9000`). Empty: nothing, not even this machine, where databases and consoles listen
    that trust whoever can reach them."""
    outbound_ports: Annotated[tuple[int, ...], NoDecode] = ()
    """Ports that tools may call on the public internet; empty: all."""

    master_key: SecretStr | None = None
    """Seals the stored secrets of tools: 32 random bytes in base64; after it, with commas, keys that it has replaced. None:
    the file `master.key` in `home`, made on first use."""

    when_busy: Literal["queue", "reject", "interrupt"] = "queue"
    """What becomes of a message to a thread in which a turn runs, unless the request says otherwise: it waits, is refused (409), or
    lets that turn end first."""
    on_disconnect: Literal["detach", "cancel"] = "detach"
    """What becomes of a turn whose client has gone: it goes on to its end, where the client finds it when it asks again, or it is
    stopped as long as it has called nothing."""

    approval_ttl_s: float = Field(default=3600.0, gt=0, le=30 * 86_400)
    """Seconds in which a person may approve a call; then it is not run."""
    approvals_waived: Annotated[tuple[str, ...], NoDecode] = ()
    """Tools that may write without a person's approval, where their developer has waived it too; `*`: all of those."""
    trusted_tools: Annotated[tuple[str, ...], NoDecode] = ()
    """Tools, beside the built-in ones, whose output nobody else writes: it does not make later calls that change something
    wait for a person; `*`: all. Whoever may replace a tool of that name is trusted with it."""

    confirm_below: float = Field(default=0.0, ge=0, le=1)
    """Calls of which the policy is less sure than this wait for a person, whatever their tool does; 0: none. It is sure by the
    probability of all that it wrote, so of a call with long texts less (docs/operations.md)."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Of hone's own lines; libraries are heard from `warning` on."""
    log_format: Literal["json", "text"] | None = None
    """One JSON object per line, for collectors, or text for people; None: text on a terminal, else JSON."""
    metrics: bool = True
    """Answer `GET /metrics`, for Prometheus, to the server's operator; `open_metrics`: to anybody."""

    shutdown_grace_s: float = Field(default=20.0, ge=0, le=3600)
    """Seconds that running turns get to end once the server was told to stop."""
    disk_floor_mb: int = Field(default=256, ge=0)
    """Free space in `home` below which the server is not ready, in MB; 0: never."""

    @field_validator(
        "vllm_urls",
        "allowed_hosts",
        "allowed_networks",
        "outbound_ports",
        "approvals_waived",
        "trusted_tools",
        "oidc_algorithms",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("oidc_roles", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        return {group.strip(): role.strip() for group, _, role in pairs}

    @field_validator("oidc_default_role", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return None if value == "none" else value

    @field_validator("oidc_algorithms")
    @classmethod
    def _asymmetric(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SIGNATURES:
                raise ValueError(f"{name!r} is none that a token may be signed by; there are: {', '.join(SIGNATURES)}")
        return names

    @model_validator(mode="after")
    def _for_somebody(self) -> Self:
        if self.oidc_issuer is not None and not self.oidc_audience:
            raise ValueError("oidc_issuer needs oidc_audience, or tokens for other servers would count here")
        return self

    @field_validator("allowed_networks")
    @classmethod
    def _readable(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        AllowList.parse(entries)
        return entries

    @field_validator("master_key")
    @classmethod
    def _usable(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None and given.get_secret_value():
            try:
                GivenKeys(given.get_secret_value())
            except BadMasterKey as e:
                raise ValueError(str(e)) from e
        return given

    @field_validator("outbound_ports")
    @classmethod
    def _in_range(cls, ports: tuple[int, ...]) -> tuple[int, ...]:
        for port in ports:
            if not 0 < port < 65_536:
                raise ValueError(f"{port} is no port; give numbers from 1 to 65535")
        return ports

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{(self.home / 'hone.db').resolve()}"

    @property
    def presence(self) -> Path:
        """Folder of the locks by which server processes know of one another: all those of a SQLite database share it."""
        location = make_url(self.database)
        of_file = location.get_backend_name() == "sqlite" and location.database not in (None, "", ":memory:")
        return (Path(str(location.database)).parent if of_file else self.home) / "servers"

    @property
    def old_thread_checkpoints(self) -> Path:
        """Where earlier versions kept them, beside a SQLite database."""
        return self.home / "threads.db"


def load_settings(**given: Any) -> Settings:
    """Settings from arguments, environment and file. Raises: BadSettings: naming the setting at fault."""
    try:
        return Settings(**given)
    except ValidationError as e:
        raise BadSettings("; ".join(_explain(error) for error in e.errors())) from e
    except ValueError as e:  # a hone.toml that is not TOML
        raise BadSettings(f"{CONFIG_FILE}: {e}; mend the file or move it away") from e


def _explain(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if not name:
        return error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{name}: no such setting; remove it from {CONFIG_FILE}"
    if error["loc"][:1] == ("master_key",):
        return f"master_key: {error['msg'].removeprefix('Value error, ')}"
    return f"{name}={error['input']!r}: {error['msg']} (HONE_{name.upper()} or {CONFIG_FILE})"


@dataclass(frozen=True, slots=True)
class TraceExport:
    """What OpenTelemetry's own variables say; where to and how, its exporter reads itself."""

    wanted: bool
    """Somebody takes our spans."""
    content: bool
    """They may hold what users, tools and the policy said."""


def trace_export(environment: Mapping[str, str] = os.environ) -> TraceExport:
    """Reads the standard variables (OpenTelemetry: Environment Variable Specification, OTLP Exporter Configuration).

    Raises: BadSettings: they ask for a way of sending that is not here.
    """

    def value(name: str) -> str:
        return environment.get(name, "").strip()

    has_endpoint = value("OTEL_EXPORTER_OTLP_ENDPOINT") or value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    exporter = value("OTEL_TRACES_EXPORTER").lower() or "otlp"
    wanted = bool(has_endpoint) and exporter != "none" and value("OTEL_SDK_DISABLED").lower() != "true"
    if wanted and exporter != "otlp":
        raise BadSettings(f"OTEL_TRACES_EXPORTER={exporter!r} is not here: set it to otlp or none, or remove it")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if wanted and value(name):
            if value(name) != "http/protobuf":
                raise BadSettings(
                    f"{name}={value(name)!r} is not here: set it to http/protobuf (port 4318 of most collectors), or remove it"
                )
            break
    captured = value("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT").lower()
    return TraceExport(wanted, content=captured in ("true", "span_only", "span_and_event"))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_startable(settings: Settings, *, has_keys: bool = False) -> None:
    """What must hold before a port is opened. Raises: BadSettings: naming the setting and the remedy."""
    if not has_keys and settings.oidc_issuer is None and not is_loopback(settings.host):
        raise BadSettings(
            f"host={settings.host!r} can be reached from other machines, and no keys exist: anyone could use it; "
            "make a key first (hone keys create NAME --role operator), or bind to 127.0.0.1"
        )
    trace_export()
    check_model_path(settings)


def check_model_path(settings: Settings) -> None:
    """A hub name is left to the loader; a path must be there. Raises: BadSettings."""
    path = Path(settings.model).expanduser()
    looks_like_path = path.is_absolute() or settings.model.startswith((".", "~")) or settings.model.endswith("/")
    if looks_like_path and not (path / "config.json").is_file():
        missing = "does not exist" if not path.exists() else "holds no config.json"
        raise BadSettings(
            f"model={settings.model!r} {missing}: give a folder that holds a Hugging Face causal LM or a hub name "
            "(HONE_MODEL or --model)"
        )
