"""What a developer may change in a draft: its name, its words, and which arguments the policy has to give.

Pure. A changed argument keeps its place in the request; a dropped one is no longer sent, or always with the value that
the developer fixed.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tools.errors import BadToolSpec
from tools.examples import Example, json_path, with_parameters
from tools.json_schema import argument_errors
from tools.spec import (
    ApprovalRule,
    HttpBackend,
    JsonSchema,
    JsonValue,
    Owner,
    Postcondition,
    RequestLayout,
    SideEffect,
    Tag,
    ToolSpec,
)


class Change(BaseModel):
    """Only what is given changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    description: str | None = None
    side_effect: SideEffect | None = None
    approval: ApprovalRule | None = None
    timeout_s: float | None = Field(default=None, gt=0, le=300)
    never_train: bool | None = None
    postcondition: Postcondition | None = None
    """In terms of the arguments as they are after the change."""
    owner: Owner | None = None
    tags: tuple[Tag, ...] | None = None
    examples: tuple[Example, ...] | None = None
    """In terms of the arguments as they are after the change."""
    drop: tuple[str, ...] = ()
    """Optional arguments that go away."""
    fix: dict[str, JsonValue] = {}
    """Arguments that are always sent with this value, and that the policy no longer sees."""
    rename: dict[str, str] = {}
    """Old → new name of an argument; the wire keeps its own."""
    describe: dict[str, str] = {}
    """New descriptions of arguments, by their old names."""


def changed(spec: ToolSpec, change: Change) -> ToolSpec:
    """Raises: BadToolSpec: naming the argument or the field that the change does not fit."""
    parameters, backend = _arguments_changed(spec, change)
    fields = change.model_dump(exclude={"drop", "fix", "rename", "describe"})
    given = {key: value for key, value in fields.items() if value is not None}
    gone = {*change.drop, *change.fix}
    known: list[str] = [name for name in spec.parameters.get("properties", {}) if name not in gone]
    names = {name: change.rename.get(name, name) for name in known}
    examples = [example.model_dump() for example in with_parameters(spec.examples, names)]
    try:
        return ToolSpec.model_validate(
            {
                **spec.model_dump(),
                "examples": examples,
                **given,
                "parameters": parameters,
                "backend": backend.model_dump(),
            }
        )
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        raise BadToolSpec(f"{json_path(first['loc'])}: {first['msg']}") from e


def _arguments_changed(spec: ToolSpec, change: Change) -> tuple[JsonSchema, HttpBackend]:
    backend = spec.backend
    if not isinstance(backend, HttpBackend) or backend.layout is None:
        raise BadToolSpec(f"tool {spec.name!r} was not imported from a description of requests; register it anew")
    properties: dict[str, Any] = dict(spec.parameters.get("properties", {}))
    required = list(spec.required)
    for name in (*change.drop, *change.fix, *change.rename, *change.describe):
        if name not in properties:
            raise BadToolSpec(f"{name}: no such argument; there are: {', '.join(properties) or 'none'}")
    for name in change.drop:
        if name in required:
            raise BadToolSpec(f"{name}: required by the service; fix its value instead of dropping it")
    _check_fixed(spec, change.fix)
    for name, text in change.describe.items():
        shape = properties[name]
        properties[name] = {**(shape if isinstance(shape, dict) else {}), "description": text}
    gone = {*change.drop, *change.fix}
    names: dict[str, str] = {name: change.rename.get(name, name) for name in properties if name not in gone}
    if len(set(names.values())) < len(names):
        raise BadToolSpec(f"rename: two arguments would have one name: {', '.join(change.rename.values())}")
    parameters = {**spec.parameters, "properties": {names[name]: properties[name] for name in names}}
    _rename_lists(parameters, names, fixed=set(change.fix))
    return parameters, backend.model_copy(update={"layout": _layout_changed(backend.layout, change, names)})


def _check_fixed(spec: ToolSpec, fix: Mapping[str, Any]) -> None:
    for name, value in fix.items():
        if value is None:
            raise BadToolSpec(f"{name}: null cannot be fixed; drop the argument instead")
        kept = {key: part for key, part in spec.parameters.items() if key not in ("required", "dependentRequired")}
        faults = argument_errors(kept, {name: value})
        if faults:
            raise BadToolSpec(f"fix: {faults[0]}")


def _rename_lists(parameters: JsonSchema, names: Mapping[str, str], *, fixed: set[str]) -> None:
    """`required` and `dependentRequired` under the new names, without what is gone."""
    required = [names[name] for name in parameters.get("required", ()) if name in names]
    dependent = parameters.get("dependentRequired", {})
    # With one part of an optional body fixed, the body is always sent, and what it requires is required.
    forced = {other for name in fixed for other in dependent.get(name, ()) if other in names}
    required += [names[name] for name in names if name in forced and names[name] not in required]
    kept = {
        names[name]: [names[other] for other in others if other in names]
        for name, others in dependent.items()
        if name in names
    }
    for key, value in (("required", required), ("dependentRequired", {k: v for k, v in kept.items() if v})):
        if value:
            parameters[key] = value
        else:
            parameters.pop(key, None)


def _layout_changed(layout: RequestLayout, change: Change, names: Mapping[str, str]) -> RequestLayout:
    placements = []
    for placed in layout.placements:
        if placed.argument in change.fix:
            placements.append(placed.model_copy(update={"argument": None, "fixed": change.fix[placed.argument]}))
        elif placed.argument is None:
            placements.append(placed)
        elif placed.argument in names:
            placements.append(placed.model_copy(update={"argument": names[placed.argument]}))
    return layout.model_copy(update={"placements": tuple(placements)})
