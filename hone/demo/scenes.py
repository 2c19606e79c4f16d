"""What the demo's users want, and how they say it: one JSON file per domain under `scenes/`, written by hand.

Most tools of a domain are live and may be learnt from; one decides at the gate and one is held out, and learning sees neither:
they stand for the tools that an organisation adds next. A tool that has an `operation` is one of the city's services
(`hone.demo.service`); the others are hone's built-in tools and the library's. `python -m hone.demo.scenes FILE ...` checks files.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from runtime.decision import RefusalCategory
from tools.json_schema import argument_errors

SCENES = Path(__file__).with_name("scenes")
Split = Literal["live", "gate", "held_out"]
SPLITS: tuple[Split, ...] = ("live", "gate", "held_out")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Operation(_Part):
    """How the service's developer registers it, and what the service answers."""

    description: str
    parameters: dict[str, dict[str, Any]]
    """JSON schema of each."""
    required: tuple[str, ...]
    side_effect: Literal["read", "write"]
    answer: dict[str, tuple[int, int] | tuple[str, ...]]
    """For each field of the answer its range, or the words it is one of."""

    @property
    def json_schema(self) -> dict[str, Any]:
        """Of the arguments."""
        return {"type": "object", "properties": self.parameters, "required": list(self.required)}


class Request(_Part):
    """A first message, and what its user has in mind."""

    says: str = Field(min_length=1)
    arguments: dict[str, Any]
    """All that the user has in mind, said or not."""
    missing: tuple[str, ...] = ()
    """Required parameters that the message leaves out."""


class ToolScene(_Part):
    tool: str
    split: Split
    operation: Operation | None = None
    plainly: str
    """The whole request, with a {placeholder} for each required parameter: what users say after a misunderstanding."""
    requests: tuple[Request, ...]
    forbidden: tuple[str, ...] = ()
    """Whole requests that it would serve, were it not for a rule of the house (`rules.json`)."""

    @model_validator(mode="after")
    def _fits(self) -> "ToolScene":
        if self.operation is None and self.split != "live":
            raise ValueError(
                f"{self.tool}: only a tool with an operation can be kept from learning, it is registered so"
            )
        for request in self.requests:
            if problem := self._problem(request):
                raise ValueError(f"{self.tool}: {request.says!r}: {problem}")
        return self

    def _problem(self, request: Request) -> str | None:
        for name, value in request.arguments.items():
            if isinstance(value, bool):
                continue  # said in as many ways as there are users
            said = spoken(value).lower() in request.says.lower()
            if name in request.missing and said:
                return f"{name} is said, and so not missing"
            if name not in request.missing and not said:
                return f"{name} is {value!r}, which is not said"
        if unknown := [name for name in request.missing if name not in request.arguments]:
            return f"arguments must also hold the missing {unknown}"
        if self.operation is None:
            return None
        if optional := [name for name in request.missing if name not in self.operation.required]:
            return f"{optional} can not be missing: not required"
        return next(iter(argument_errors(self.operation.json_schema, request.arguments)), None)


class NoTool(_Part):
    """A message that none of the scene's tools can serve."""

    says: str = Field(min_length=1)
    category: RefusalCategory


class Scene(_Part):
    """A domain: tools that users meet together."""

    tools: tuple[ToolScene, ...]
    none: tuple[NoTool, ...] = ()


def spoken(value: Any) -> str:
    """A value in the words of its user."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(spoken(v) for v in value)
    return str(value)


def restated(scene: ToolScene, arguments: dict[str, Any]) -> str:
    """The whole request, said plainly."""
    named = set(re.findall(r"\{(\w+)\}", scene.plainly))
    rest = "".join(f", {name.replace('_', ' ')} {spoken(v)}" for name, v in arguments.items() if name not in named)
    return scene.plainly.format(**{name: spoken(v) for name, v in arguments.items()}) + rest


def read_scene(path: Path) -> Scene:
    """Raises: ValueError naming the file and what is wrong in it."""
    try:
        return Scene.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as e:
        raise ValueError(f"{path}: {e}") from e


def operations() -> dict[str, tuple[Operation, bool]]:
    """The city's services by name; True: learning never sees it."""
    tools = [tool for scene in read_scenes() for tool in scene.tools]
    return {tool.tool: (tool.operation, tool.split != "live") for tool in tools if tool.operation}


def read_scenes() -> list[Scene]:
    """Sorted by file name."""
    return [read_scene(path) for path in sorted(SCENES.glob("*.json"))]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        scene = read_scene(Path(name))
        requests = [r for t in scene.tools for r in t.requests]
        lacking = sum(bool(r.missing) for r in requests)
        sys.stdout.write(
            f"{name}: {len(scene.tools)} tools, {len(requests)} requests, {lacking} lacking, {len(scene.none)} that none serves\n"
        )
