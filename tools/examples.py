"""What a developer says of a tool by example: an utterance, and the decision that is right when the tool is at hand.

    {"utterance": "weather in Oslo on friday", "decision": "execute", "arguments": {"city": "Oslo", "day": "friday"}}
    {"utterance": "what will the weather be like?", "decision": "clarify", "missing": ["city"]}
    {"utterance": "make it stop raining", "decision": "refuse", "category": "out_of_scope"}

Plain data and its check against the tool's schema.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tools.json_schema import argument_errors

Category: TypeAlias = Literal["out_of_scope", "unsafe", "not_permitted", "unavailable"]
"""The categories of a refusal; `runtime.decision` has the same."""

Utterance: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class _Example(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    utterance: Utterance
    """What the user says."""


class ExecuteExample(_Example):
    decision: Literal["execute"] = "execute"
    arguments: dict[str, Any]
    """Of the one call that is right."""


class ClarifyExample(_Example):
    decision: Literal["clarify"] = "clarify"
    missing: tuple[str, ...] = Field(min_length=1)
    """Parameters that the utterance does not give and that the call needs."""


class RefuseExample(_Example):
    decision: Literal["refuse"] = "refuse"
    category: Category | None = None
    """None: any refusal will do."""


Example: TypeAlias = Annotated[ExecuteExample | ClarifyExample | RefuseExample, Field(discriminator="decision")]


def example_problem(examples: Sequence[Example], parameters: Mapping[str, Any]) -> str | None:
    """What keeps examples from fitting a tool's schema, after its JSON path; None when they fit."""
    return next(_problems(examples, parameters), None)


def _problems(examples: Sequence[Example], parameters: Mapping[str, Any]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for place, example in enumerate(examples):
        at = f"$.examples[{place}]"
        first = seen.setdefault(" ".join(example.utterance.casefold().split()), place)
        if first != place:
            yield f"{at}.utterance: the same as $.examples[{first}].utterance; one utterance has one right decision"
        if isinstance(example, ExecuteExample):
            yield from argument_errors(parameters, example.arguments, root=f"{at}.arguments")
        elif isinstance(example, ClarifyExample):
            yield from _missing_problems(example, parameters, f"{at}.missing")


def _missing_problems(example: ClarifyExample, parameters: Mapping[str, Any], at: str) -> Iterator[str]:
    known = list(parameters.get("properties", {}))
    needed = needed_names(parameters)
    for place, name in enumerate(example.missing):
        if name not in known:
            yield f"{at}[{place}]: no parameter {name!r}; there are: {', '.join(known) or 'none'}"
        elif name not in needed:
            yield (
                f"{at}[{place}]: {name!r} may be left out of a call, so it is never missing; "
                f"required are: {', '.join(sorted(needed)) or 'none'}"
            )
        elif name in example.missing[:place]:
            yield f"{at}[{place}]: {name!r} is named twice"


def needed_names(parameters: Mapping[str, Any]) -> set[str]:
    """Parameters that every call needs, or that one of its forms (`anyOf`, `oneOf`, `allOf`) does."""
    forms = [
        form for key in ("anyOf", "oneOf", "allOf") for form in parameters.get(key, ()) if isinstance(form, Mapping)
    ]
    return {*parameters.get("required", ())} | {name for form in forms for name in form.get("required", ())}


def with_parameters(examples: Sequence[Example], names: Mapping[str, str]) -> tuple[Example, ...]:
    """The same examples after parameters were renamed.

    Args:
        names: old → new; a parameter that is not in it is gone. A question about nothing else goes with it.
    """
    kept: list[Example] = []
    for example in examples:
        if isinstance(example, ExecuteExample):
            arguments = {names[name]: value for name, value in example.arguments.items() if name in names}
            example = example.model_copy(update={"arguments": arguments})
        elif isinstance(example, ClarifyExample):
            missing = tuple(names[name] for name in example.missing if name in names)
            if not missing:
                continue
            example = example.model_copy(update={"missing": missing})
        kept.append(example)
    return tuple(kept)


def json_path(location: Sequence[int | str]) -> str:
    """Where pydantic found a fault, without the name of the branch that it adds after an example's place."""
    path = "$"
    for place, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
        elif not (place == 2 and location[0] == "examples"):
            path += f".{part}"
    return path
