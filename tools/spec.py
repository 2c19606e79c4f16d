"""What a tool is: its name, its JSON-schema contract, where it runs and what it may change.

Plain data without I/O. Everything that talks about tools (catalogue, execution, prompt, curriculum)
speaks of a `ToolSpec`.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints

from tools.examples import Example

JsonSchema: TypeAlias = dict[str, Any]
JsonValue: TypeAlias = Any


class SideEffect(StrEnum):
    """What a call may change in the world; decides whether it may be run again."""

    READ = "read"
    """Changes nothing: safe to run again."""
    IDEMPOTENT = "idempotent"
    """Running it twice with the same key has the effect of running it once."""
    WRITE = "write"
    """Changes the world at each run: never run again unasked."""


class ApprovalRule(StrEnum):
    """What a tool's developer says about calls that change something."""

    BY_EFFECT = "by_effect"
    """A write waits for a person."""
    ALWAYS = "always"
    """Every call waits for a person."""
    WAIVED = "waived"
    """The developer needs no approval; it counts only where the operator says the same."""


class CallStatus(StrEnum):
    """What came of one tool call."""

    OK = "ok"
    BAD_ARGUMENTS = "bad_arguments"
    """Refused before the call: the arguments break the schema."""
    REJECTED = "rejected"
    """The tool itself refused the arguments (HTTP 4xx, an MCP tool error)."""
    FAILED = "failed"
    """The tool broke (HTTP 5xx, exception, unreadable answer)."""
    TIMEOUT = "timeout"
    UNKNOWN_TOOL = "unknown_tool"
    BUSY = "busy"
    """Not called: the tool was at the limit that its developer set, for as long as a call may take."""
    UNCONFIRMED = "unconfirmed"
    """The tool said that it worked; its own check afterwards did not hold, or could not be made."""
    UNKNOWN = "unknown"
    """A write that may have happened: it was sent, and no answer says what came of it. A person settles it."""
    DECLINED = "declined"
    """Not run: a person said no."""
    LAPSED = "lapsed"
    """Not run: nobody approved it in time, or what was approved is no longer what would run."""
    QUARANTINED = "quarantined"
    """Refused before the call: the tool's server has changed its definition, and nobody has accepted that."""
    INPUT_REQUIRED = "input_required"
    """Under way: the tool asks the user something before it goes on."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


SecretName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
"""Names a secret that is kept elsewhere (`tools.secrets`); a definition holds names, never values."""


class ApiKeyAuth(_Frozen):
    """A key that goes under a fixed name in each request."""

    kind: Literal["api_key"] = "api_key"
    place: Literal["header", "query", "cookie"]
    name: str = Field(min_length=1)
    secret: SecretName


class BearerAuth(_Frozen):
    """`Authorization: Bearer ...` (RFC 6750)."""

    kind: Literal["bearer"] = "bearer"
    secret: SecretName


class BasicAuth(_Frozen):
    """`Authorization: Basic ...` (RFC 7617)."""

    kind: Literal["basic"] = "basic"
    secret: SecretName
    """Holds `user:password`."""


class ClientCredentialsAuth(_Frozen):
    """A bearer token that is fetched with the client's own credentials (RFC 6749, 4.4)."""

    kind: Literal["client_credentials"] = "client_credentials"
    token_url: str = Field(pattern=r"^https?://[^/\s]+")
    scopes: tuple[str, ...] = ()
    secret: SecretName
    """Holds `client_id:client_secret`."""


Auth: TypeAlias = Annotated[ApiKeyAuth | BearerAuth | BasicAuth | ClientCredentialsAuth, Field(discriminator="kind")]


class Place(StrEnum):
    """Where in a request a value goes."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"
    COOKIE = "cookie"
    BODY = "body"
    """One property of the body."""
    WHOLE_BODY = "whole_body"


class Style(StrEnum):
    """How a list or an object is written (OpenAPI 3.1, 4.8.12.3); `tab` and `json` stand for what Swagger 2.0 and
    `content` say in other words."""

    FORM = "form"
    SIMPLE = "simple"
    LABEL = "label"
    MATRIX = "matrix"
    SPACE = "spaceDelimited"
    PIPE = "pipeDelimited"
    TAB = "tab"
    DEEP = "deepObject"
    JSON = "json"


class Placement(_Frozen):
    """One value of a request: where it goes, and whether the policy, the developer or a secret gives it."""

    place: Place
    name: str
    """On the wire; empty for the whole body."""
    argument: str | None = None
    """The argument that gives the value."""
    fixed: JsonValue = Field(default=None, exclude_if=lambda value: value is None)
    """The value that the developer chose, where no argument gives it."""
    secret: SecretName | None = Field(default=None, exclude_if=lambda value: value is None)
    """The secret that gives the value, where no argument does."""
    style: Style = Style.SIMPLE
    explode: bool = False


class RequestLayout(_Frozen):
    """How the values of a call become one request; `HttpBackend.url` holds a `{name}` for each one in the path."""

    placements: tuple[Placement, ...] = ()
    media_type: str | None = None
    """Of the body; None: there is none."""
    body_required: bool = False
    """True: a body is sent even when no argument has a part in it."""


HttpMethod: TypeAlias = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class HttpBackend(_Frozen):
    """An HTTP endpoint.

    Without a layout, arguments go as the JSON body (POST, PUT, PATCH) or the query (GET, HEAD, DELETE).
    """

    kind: Literal["http"] = "http"
    url: str
    method: HttpMethod = "POST"
    headers: dict[str, str] = {}
    # These are left out of the stored form when unset, so that a definition from before them keeps its digest.
    layout: RequestLayout | None = Field(default=None, exclude_if=lambda value: value is None)
    auth: tuple[Auth, ...] = Field(default=(), exclude_if=lambda value: not value)
    signing_secret: SecretName | None = Field(default=None, exclude_if=lambda value: value is None)
    """Signs each request by Standard Webhooks, so that the service can tell who calls (`tools.webhook_signature`)."""


class McpStdioServer(_Frozen):
    """An MCP server started as a child process."""

    transport: Literal["stdio"] = "stdio"
    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    # Left out of the stored form when unset, here and below, so that a definition from before them keeps its digest.
    secret_env: dict[str, SecretName] = Field(default={}, exclude_if=lambda value: not value)
    """Variables whose values are secrets."""


class McpHttpServer(_Frozen):
    """An MCP server reached over streamable HTTP."""

    transport: Literal["http"] = "http"
    url: str
    headers: dict[str, str] = {}
    auth: tuple[Auth, ...] = Field(default=(), exclude_if=lambda value: not value)


class McpBackend(_Frozen):
    """One tool of an MCP server."""

    kind: Literal["mcp"] = "mcp"
    server: Annotated[McpStdioServer | McpHttpServer, Field(discriminator="transport")]
    remote_name: str
    """The tool's name on its server; `ToolSpec.name` may differ."""
    definition: dict[str, Any] | None = Field(default=None, exclude_if=lambda value: value is None)
    """The tool's definition as its server gave it, to which the tool is pinned; None: registered before there were pins."""


class BuiltinBackend(_Frozen):
    """A Python callable that ships with hone, found by name in `tools.builtin`."""

    kind: Literal["builtin"] = "builtin"
    function: str


class PythonBackend(_Frozen):
    """A function of the program that hone is embedded in, found by name in its `tools.PythonTools`."""

    kind: Literal["python"] = "python"
    function: str


class ClientBackend(_Frozen):
    """A tool that the chat client sent and will run itself."""

    kind: Literal["client"] = "client"


Backend: TypeAlias = Annotated[
    HttpBackend | McpBackend | BuiltinBackend | PythonBackend | ClientBackend, Field(discriminator="kind")
]


Owner: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128)]
"""A person or a team, as whoever registers the tool writes it."""
Expression: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
"""In CEL, the Common Expression Language."""
Tag: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.:/-]{0,63}$")]
"""A word in small letters by which tools are grouped."""


class ReadBack(_Frozen):
    """A call that reads, after another call, what that one has done."""

    tool: str = Field(min_length=1)
    """A registered tool of side effect `read`."""
    arguments: dict[str, Expression] = {}
    """By name, over `arguments` and `result`."""


class Postcondition(_Frozen):
    """What must hold after a call for its work to count as done (`tools.postcondition`)."""

    holds: Expression
    """Over `arguments`, `result` and, where there is one, `read`; true: the work is done."""
    read: ReadBack | None = None
    within_s: float = Field(default=0.0, ge=0, le=30)
    """For how long what is read may still be old: it is read again until the check holds or this is over."""


class ToolSpec(_Frozen):
    """One version of one tool."""

    name: str = Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_-]{0,63}$")
    description: str = ""
    parameters: JsonSchema
    """JSON Schema (draft 2020-12) of the arguments; its top level is an object."""
    backend: Backend
    side_effect: SideEffect = SideEffect.READ
    # Left out of the stored form by default, so that a definition from before it keeps its digest.
    approval: ApprovalRule = Field(
        default=ApprovalRule.BY_EFFECT, exclude_if=lambda value: value is ApprovalRule.BY_EFFECT
    )
    timeout_s: float = Field(default=10.0, gt=0, le=300)
    max_result_bytes: int = Field(default=65_536, gt=0, le=10_000_000)
    never_train: bool | None = None
    """True: this tool's traces and cases serve evaluation only; None: the catalogue decides (`tools.split`)."""
    # Left out of the stored form when unset, so that a definition from before them keeps its digest.
    max_concurrent: int | None = Field(default=None, ge=1, le=10_000, exclude_if=lambda value: value is None)
    """Calls of one server at the same time; None: no limit."""
    max_per_minute: int | None = Field(default=None, ge=1, le=1_000_000, exclude_if=lambda value: value is None)
    """Calls of one server within a minute; None: no limit."""
    postcondition: Postcondition | None = Field(default=None, exclude_if=lambda value: value is None)
    owner: Owner | None = Field(default=None, exclude_if=lambda value: value is None)
    tags: tuple[Tag, ...] = Field(default=(), max_length=32, exclude_if=lambda value: not value)
    examples: tuple[Example, ...] = Field(default=(), max_length=200, exclude_if=lambda value: not value)
    """Utterances and what is right for each; they become cases to learn and to measure on (`tools.curriculum`)."""
    _is_shared: bool = PrivateAttr(default=False)

    @property
    def is_shared(self) -> bool:
        """Whether it is there for all tenants: its calls then use the shared secrets, not the caller's. Not part of the
        definition; the catalogue says it."""
        return self._is_shared

    def shared(self) -> Self:
        """The same tool, as one for all tenants."""
        made = self.model_copy()
        made._is_shared = True
        return made

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters that every call must carry."""
        return tuple(self.parameters.get("required", ()))

    def openai(self) -> dict[str, Any]:
        """The shape that OpenAI clients and chat templates take."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    @cached_property
    def sha256(self) -> str:
        """Digest of the whole definition; any change gives another."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        copied = super().model_copy(update=update, deep=deep)
        vars(copied).pop("sha256", None)  # pydantic would hand it on
        return copied
