"""Tools that are called otherwise than people speak of them: the request says "budget", the parameter is called `spending`.

The words of a family's signatures are exchanged for others that mean about the same (`near_words.txt`, written by
`python -m learner.near_words`), and its decisions with them. What users say stays, so that the right tool and the right
parameter are found by what words mean. Descriptions of parameters stay too: the starter's template does not show them.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from learner.synth.parameters import split_name
from learner.synth.scenarios import Family
from learner.synth.situations import Situation, question_about
from runtime.decision import Clarify, Decision, Execute, MissingParameter, ToolCall

NEAR_WORDS = Path(__file__).with_name("near_words.txt")
_EXCHANGED = 0.5
"""Share of the words that have others near them."""
_WORD = re.compile(r"[A-Z]?[a-z]+")

_Rename = Callable[[str], str]


@cache
def near_words() -> Mapping[str, tuple[str, ...]]:
    """In small letters, the nearest first."""
    lines = NEAR_WORDS.read_text(encoding="ascii").splitlines()
    return {word: tuple(near.split()) for word, _, near in (line.partition(": ") for line in lines)}


def otherwise_named(rng: random.Random, family: Family) -> Family:
    """The family with other words in the names and descriptions of its tools, none of which is said or shown in it already."""
    told = sorted(
        {word.lower() for schema in family.schemas for text in _texts(schema) for word in _WORD.findall(text)}
    )
    taken = {*told, *(word.lower() for said in _said(family) for word in _WORD.findall(said))}
    exchanged: dict[str, str] = {}
    for word in told:
        free = [near for near in near_words().get(word, ()) if near not in taken]
        if free and rng.random() < _EXCHANGED:
            exchanged[word] = rng.choice(free)
            taken.add(exchanged[word])

    def rename(text: str) -> str:
        return _WORD.sub(lambda found: _as_written(exchanged.get(found[0].lower(), found[0]), found[0]), text)

    return replace(
        family,
        tools=(),  # as they were invented they are not shown any more
        schemas=tuple(_of_schema(schema, rename) for schema in family.schemas),
        situations=tuple(_of_situation(situation, rename) for situation in family.situations),
    )


def _as_written(word: str, like: str) -> str:
    return word.capitalize() if like[0].isupper() and word.islower() else word


def _texts(value: Any) -> Iterator[str]:
    """All that is written in a schema: names, descriptions and options alike."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _said(family: Family) -> Iterator[str]:
    return (str(message["content"]) for situation in family.situations for message in situation.messages)


def _of_schema(schema: dict[str, Any], rename: _Rename) -> dict[str, Any]:
    function = schema["function"]
    told = {"description": rename(function["description"])} if function.get("description") else {}
    parameters = _of_parameters(function.get("parameters", {}), rename)
    return {**schema, "function": {**function, "name": rename(function["name"]), **told, "parameters": parameters}}


def _of_parameters(schema: dict[str, Any], rename: _Rename) -> dict[str, Any]:
    """A JSON schema with other names of properties, at every depth."""
    found = dict(schema)
    if "properties" in schema:
        found["properties"] = {rename(name): _of_parameters(s, rename) for name, s in schema["properties"].items()}
    if "required" in schema:
        found["required"] = [rename(name) for name in schema["required"]]
    if isinstance(schema.get("items"), dict):
        found["items"] = _of_parameters(schema["items"], rename)
    return found


def _of_situation(situation: Situation, rename: _Rename) -> Situation:
    messages = tuple(_of_message(message, rename) for message in situation.messages)
    return replace(situation, messages=messages, decision=_of_decision(situation.decision, rename))


def _of_message(message: dict[str, Any], rename: _Rename) -> dict[str, Any]:
    found = dict(message)
    if "name" in message:
        found["name"] = rename(message["name"])
    if "tool_calls" in message:
        found["tool_calls"] = [
            {**call, "function": {**call["function"], **_of_call(call["function"], rename)}}
            for call in message["tool_calls"]
        ]
    return found


def _of_call(call: Mapping[str, Any], rename: _Rename) -> dict[str, Any]:
    return {"name": rename(call["name"]), "arguments": _of_arguments(call["arguments"], rename)}


def _of_arguments(value: Any, rename: _Rename) -> Any:
    if isinstance(value, dict):
        return {rename(name): _of_arguments(item, rename) for name, item in value.items()}
    return [_of_arguments(item, rename) for item in value] if isinstance(value, list) else value


def _of_decision(decision: Decision, rename: _Rename) -> Decision:
    if isinstance(decision, Execute):
        calls = tuple(ToolCall(**_of_call({"name": c.name, "arguments": c.arguments}, rename)) for c in decision.calls)
        return decision.model_copy(update={"calls": calls})
    if not isinstance(decision, Clarify):
        return decision
    missing = tuple(MissingParameter(tool=rename(m.tool), parameter=rename(m.parameter)) for m in decision.missing)
    question = question_about([split_name(lacks.parameter) for lacks in missing])
    return decision.model_copy(update={"question": question, "missing": missing})
