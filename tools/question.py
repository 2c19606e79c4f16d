"""What a tool asks the user in the middle of a call, and how the user's words become its answer. Pure.

A question carries a flat JSON schema (MCP's form mode: strings, numbers, booleans, choices). The words are read without
a model: the whole message is the value where one field is asked for, `field: value` lines or a JSON object where more
are. What cannot be read so is no answer, and the conversation goes on without one.
"""

import json
import re
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict

from tools.spec import JsonSchema, JsonValue

_YES = frozenset(
    {"yes", "y", "true", "ok", "okay", "sure", "confirm", "confirmed", "please do", "go ahead", "yes please"}
)
_NO = frozenset({"no", "n", "false", "nope", "no thanks", "no thank you"})
_DECLINED = frozenset({"cancel", "stop", "abort", "never mind", "nevermind", "forget it", "decline"})
_FIELD = re.compile(r"^\s*([^:=\n]{1,80}?)\s*[:=]\s*(.+?)\s*$", re.MULTILINE)


class Question(BaseModel):
    """A call that stopped to ask."""

    model_config = ConfigDict(frozen=True)

    call: str
    """Names the call that waits; whoever answers gives it back."""
    message: str
    requested: JsonSchema
    """Flat object schema of the answer."""

    @property
    def fields(self) -> tuple[str, ...]:
        """What must be answered; where nothing must, all that may be."""
        return tuple(self.requested.get("required") or self.requested.get("properties") or ())


class Answer(BaseModel):
    """What the user said to a question."""

    model_config = ConfigDict(frozen=True)

    question: Question
    content: dict[str, Any] | None
    """By field; None: the user declines."""
    may_call_again: bool = True
    """The call may be made anew where the one that asked is gone: a person need not approve it."""


def read_answer(question: Question, text: str) -> Answer | None:
    """The user's words as an answer; None: they are none."""
    said = text.strip()
    properties: dict[str, Any] = question.requested.get("properties") or {}
    if _folded(said) in _DECLINED or (not properties and _folded(said) in _NO):
        return Answer(question=question, content=None)
    if not properties:
        return Answer(question=question, content={}) if _folded(said) in _YES else None
    content = _content(said, properties, question.fields)
    if content is None or not Draft202012Validator(question.requested).is_valid(content):
        return None
    return Answer(question=question, content=content)


def _content(said: str, properties: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any] | None:
    try:
        given = json.loads(said)
    except (ValueError, RecursionError):
        given = None
    if isinstance(given, dict):
        return given
    if len(fields) == 1:
        value = _value(said, properties.get(fields[0], {}))
        return None if value is None else {fields[0]: value}
    named = {_folded(name): name for name in properties} | {
        _folded(schema["title"]): name for name, schema in properties.items() if isinstance(schema.get("title"), str)
    }
    content: dict[str, Any] = {}
    for label, words in _FIELD.findall(said):
        name = named.get(_folded(label))
        value = _value(words, properties[name]) if name is not None else None
        if name is not None and value is not None:
            content[name] = value
    return content or None


def _value(said: str, schema: JsonSchema) -> JsonValue:
    """Words as the schema's type; None: they are not of it."""
    choices = _choices(schema)
    if choices:
        return choices.get(_folded(said))
    match schema.get("type", "string"):
        case "boolean":
            return True if _folded(said) in _YES else False if _folded(said) in _NO else None
        case "integer" | "number" as kind:
            return _number(said, int if kind == "integer" else float)
        case "array":
            allowed = _choices(schema.get("items") or {})
            words = [word for word in re.split(r"\s*,\s*|\s+and\s+", said) if word]
            values = [allowed.get(_folded(word)) if allowed else word for word in words]
            return None if None in values else values
        case _:
            return said or None


def _choices(schema: JsonSchema) -> dict[str, str]:
    """Values by the folded words that stand for them: themselves, and their titles (`enumNames`, `oneOf`, `anyOf`)."""
    values = [value for value in schema.get("enum") or () if isinstance(value, str)]
    titles = schema.get("enumNames") or values
    titled = [option for option in schema.get("oneOf") or schema.get("anyOf") or () if "const" in option]
    pairs = [*zip(values, values, strict=True), *zip(titles, values, strict=False)]
    pairs += [(option.get("title", option["const"]), option["const"]) for option in titled]
    return {_folded(str(word)): value for word, value in [*pairs, *((o["const"], o["const"]) for o in titled)]}


def _number(said: str, kind: type[int] | type[float]) -> int | float | None:
    try:
        return kind(said.replace("\u2212", "-"))
    except ValueError:
        return None


def _folded(words: str) -> str:
    return " ".join(words.split()).strip(" .!?,").casefold().replace("_", " ")
