"""Functions of the program that hone is embedded in, as tools.

    from tools import PythonTools

    shop = PythonTools()

    @shop.tool
    def shipping_cost(weight_kg: float, country: Literal["DE", "FR"]) -> float:
        '''What it costs to send a parcel.'''
        ...

    app = create_app(settings, python=shop)

The schema comes from the type hints, as pydantic reads them (`Annotated[float, Field(gt=0, description=...)]` says more),
the description from the docstring. Arguments reach the function as the types that it names; what it returns is shown as
JSON. Coroutine functions run in the event loop; others each in a thread of their own, since one that never ends would
hold up the threads that the server needs. A thread cannot be stopped: when the time is over the call is, and the
thread is left behind, up to `MOST_LEFT` for each function.

A function that cannot do what is asked raises `refusal("why, and what to do instead")`. After anything else that one with
the side effect `write` raises, whether it did its work counts as unknown, and a person is asked to settle it.
"""

import asyncio
import inspect
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, to_json

from tools.errors import BadToolSpec, DuplicateTool
from tools.outcome import CallFault, failure, refusal
from tools.spec import ApprovalRule, CallStatus, PythonBackend, SideEffect, ToolSpec

_Function = TypeVar("_Function", bound=Callable[..., Any])

MOST_LEFT = 16
"""Calls of one function that may run at once, those whose time was over among them."""


@dataclass(slots=True)
class _Registered:
    spec: ToolSpec
    function: Callable[..., Any]
    arguments: type[BaseModel]
    running: int = 0


class PythonTools:
    """The functions of one program, by name."""

    def __init__(self) -> None:
        self._tools: dict[str, _Registered] = {}

    @property
    def specs(self) -> Sequence[ToolSpec]:
        return [tool.spec for tool in self._tools.values()]

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    @overload
    def tool(self, function: _Function, /) -> _Function: ...

    @overload
    def tool(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        side_effect: SideEffect = SideEffect.WRITE,
        approval: ApprovalRule = ApprovalRule.BY_EFFECT,
        timeout_s: float = 10.0,
    ) -> Callable[[_Function], _Function]: ...

    def tool(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        side_effect: SideEffect = SideEffect.WRITE,
        approval: ApprovalRule = ApprovalRule.BY_EFFECT,
        timeout_s: float = 10.0,
    ) -> Any:
        """Registers a function and gives it back; also a decorator, with or without arguments.

        Args:
            name: of the tool; None: the function's.
            description: None: the function's docstring.
            side_effect: what a call may change; a function that says nothing is taken to change something.
            approval: whether a call waits for a person.
            timeout_s: how long the agent waits for a call.

        Raises:
            BadToolSpec: its parameters cannot be described by a schema; the message names the parameter.
            DuplicateTool: the name is taken.
        """

        def register(given: Callable[..., Any]) -> Callable[..., Any]:
            chosen = name if name is not None else getattr(given, "__name__", type(given).__name__)
            if chosen in self._tools:
                raise DuplicateTool(f"a function is registered as {chosen!r} already; give another name")
            arguments = _arguments_model(chosen, given)
            told = description if description is not None else inspect.getdoc(given) or ""
            spec = _spec(chosen, told, arguments, side_effect=side_effect, approval=approval, timeout_s=timeout_s)
            self._tools[chosen] = _Registered(spec, given, arguments)
            return given

        return register if function is None else register(function)

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The function's result as JSON text. Raises: CallFault; whatever the function raises."""
        tool = self._tools.get(name)
        if tool is None:
            known = ", ".join(sorted(self._tools)) or "none"
            raise CallFault(CallStatus.UNKNOWN_TOOL, f"this server has no Python function {name!r}; there are: {known}")
        try:
            read = tool.arguments.model_validate(arguments)
        except ValidationError as e:
            raise refusal("; ".join(_told(error) for error in e.errors(include_url=False))) from e
        given = {str(tool.arguments.model_fields[field].alias): getattr(read, field) for field in read.model_fields_set}
        result = await self._run(name, tool, given)
        try:
            return to_json(result, inf_nan_mode="strings").decode()
        except PydanticSerializationError as e:
            raise failure(f"{name} returned what is not JSON: {e}", may_have_run=True) from e

    async def _run(self, name: str, tool: _Registered, given: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(tool.function):
            return await tool.function(**given)
        if tool.running >= MOST_LEFT:
            raise failure(f"{MOST_LEFT} earlier calls of {name} have not ended yet; try again later")
        return await asyncio.wrap_future(_in_thread(tool, given))


def _in_thread(tool: _Registered, given: dict[str, Any]) -> Future[Any]:
    """Runs the function in a thread that a program may end without."""
    outcome: Future[Any] = Future()
    loop = asyncio.get_running_loop()

    def ended() -> None:
        tool.running -= 1

    def run() -> None:
        try:
            result, problem = tool.function(**given), None
        except BaseException as e:  # foreign code: it is raised again where the call is waited for
            result = None
            told = f"{tool.spec.name} tried to end the program: {e!r}"
            problem = e if isinstance(e, Exception) else failure(told, may_have_run=True)
        if outcome.set_running_or_notify_cancel():
            outcome.set_exception(problem) if problem is not None else outcome.set_result(result)
        if not loop.is_closed():
            loop.call_soon_threadsafe(ended)

    tool.running += 1
    threading.Thread(target=run, name=f"tool {tool.spec.name}", daemon=True).start()
    return outcome


class _Untitled(GenerateJsonSchema):
    """Without the titles that pydantic makes of names: the policy pays for each token."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _arguments_model(name: str, function: Callable[..., Any]) -> type[BaseModel]:
    """Raises: BadToolSpec."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as e:
        raise BadToolSpec(f"the type hints of {name!r} cannot be read: {e}") from e
    fields: dict[str, Any] = {}
    for index, parameter in enumerate(inspect.signature(function).parameters.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise BadToolSpec(
                f"parameter {parameter.name!r} of {name!r}: a tool's arguments have names; write each one out"
            )
        if parameter.name not in hints:
            raise BadToolSpec(f"parameter {parameter.name!r} of {name!r} has no type hint; give it one")
        default = ... if parameter.default is parameter.empty else parameter.default
        # under a name of our own, for a parameter may be called as something that models have already
        fields[f"argument_{index}"] = (Annotated[hints[parameter.name], Field(alias=parameter.name)], default)
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    except (PydanticUserError, NameError) as e:
        raise BadToolSpec(f"the parameters of {name!r} cannot be described: {str(e).splitlines()[0]}") from e


def _spec(name: str, description: str, arguments: type[BaseModel], **rules: Any) -> ToolSpec:
    """Args: rules: fields of the definition that no signature tells."""
    try:
        schema = arguments.model_json_schema(schema_generator=_Untitled)
        schema.pop("title", None)
        return ToolSpec(
            name=name,
            description=description,
            parameters=schema,
            backend=PythonBackend(function=name),
            **rules,
        )
    except PydanticUserError as e:
        raise BadToolSpec(f"the parameters of {name!r} have no JSON schema: {str(e).splitlines()[0]}") from e
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise BadToolSpec(f"$.{path}: {first['msg']} ({first['input']!r})") from e


def _told(error: Any) -> str:
    return f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"
