"""What a tool is: its name, its JSON-schema contract, where it runs and what it may change.

Plain data without I/O. Everything that talks about tools (catalogue, execution, prompt, curriculum)
speaks of a `ToolSpec`.
"""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

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


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpBackend(_Frozen):
    """A JSON endpoint: arguments go as the JSON body (POST, PUT, PATCH) or the query (GET, DELETE)."""

    kind: Literal["http"] = "http"
    url: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, str] = {}


class McpStdioServer(_Frozen):
    """An MCP server started as a child process."""

    transport: Literal["stdio"] = "stdio"
    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}


class McpHttpServer(_Frozen):
    """An MCP server reached over streamable HTTP."""

    transport: Literal["http"] = "http"
    url: str
    headers: dict[str, str] = {}


class McpBackend(_Frozen):
    """One tool of an MCP server."""

    kind: Literal["mcp"] = "mcp"
    server: Annotated[McpStdioServer | McpHttpServer, Field(discriminator="transport")]
    remote_name: str
    """The tool's name on its server; `ToolSpec.name` may differ."""


class BuiltinBackend(_Frozen):
    """A Python callable that ships with hone, found by name in `tools.builtin`."""

    kind: Literal["builtin"] = "builtin"
    function: str


class ClientBackend(_Frozen):
    """A tool that the chat client sent and will run itself."""

    kind: Literal["client"] = "client"


Backend: TypeAlias = Annotated[HttpBackend | McpBackend | BuiltinBackend | ClientBackend, Field(discriminator="kind")]


class ToolSpec(_Frozen):
    """One version of one tool."""

    name: str = Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_-]{0,63}$")
    description: str = ""
    parameters: JsonSchema
    """JSON Schema (draft 2020-12) of the arguments; its top level is an object."""
    backend: Backend
    side_effect: SideEffect = SideEffect.READ
    timeout_s: float = Field(default=10.0, gt=0, le=300)
    max_result_bytes: int = Field(default=65_536, gt=0, le=10_000_000)
    never_train: bool = False
    """True: this tool's traces serve evaluation only."""

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters that every call must carry."""
        return tuple(self.parameters.get("required", ()))

    def openai(self) -> dict[str, Any]:
        """The shape that OpenAI clients and chat templates take."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    @property
    def sha256(self) -> str:
        """Digest of the whole definition; any change gives another."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
