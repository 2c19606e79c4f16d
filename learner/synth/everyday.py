"""Tools as developers of real interfaces write them, each with requests whose values are real ones, written one by one in
`everyday/*.jsonl`, a file for each domain (who wrote and read them: `docs/decisions/0045-everyday-tools.md`).

What is invented teaches to read a signature. That "Thai" is a kind of food, and "a time frame of 5 years" the `years`, is met only
here and in public sets: as rows they are drawn upon like those (`learner.synth.borrowed`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from learner.rows import ExpectedCall, GroundTruth, RewardModel, Row
from learner.synth.lexicon import side_of
from learner.synth.situations import user
from learner.synth.talks import Talk
from runtime.decision import RefusalCategory

LACKING, BESIDE = "everyday/lacking", "everyday/beside"
"""Sources of rows to be asked about, and to be declined."""
_FOLDER = Path(__file__).with_name("everyday")


@cache
def everyday_rows() -> tuple[Row, ...]:
    """Each beside all tools of its domain, conversations turn by turn. Those about tools of the side "eval" are never trained on;
    those about tools of both sides are left out."""
    talks = (row for talk, tools in _talks() if talk.side for row in talk.rows(tools))
    return (*(row for path in _domains() for row in _of_domain(path)), *talks)


def everyday_talks() -> tuple[Talk, ...]:
    """Of both sides, and those about tools of both."""
    return tuple(talk for talk, _ in _talks())


@cache
def _talks() -> tuple[tuple[Talk, tuple[dict[str, Any], ...]], ...]:
    """Each with the tools of its domain."""
    found: list[tuple[Talk, tuple[dict[str, Any], ...]]] = []
    for path in _domains():
        tools, _, last = _read(path)
        orders = {tool["function"]["name"]: list(tool["function"]["parameters"]["properties"]) for tool in tools}
        conversations = enumerate(last["conversations"])
        found += [(Talk.of(f"{path.stem}-talk-{n}", written, orders), tools) for n, written in conversations]
    return tuple(found)


def _domains() -> list[Path]:
    return sorted(_FOLDER.glob("*.jsonl"))


def _read(path: Path) -> tuple[tuple[dict[str, Any], ...], list[dict[str, Any]], dict[str, Any]]:
    """Tools, the line of each, and the last line."""
    *written, last = (json.loads(line) for line in path.read_text(encoding="ascii").splitlines())
    return tuple(_tool(entry) for entry in written), written, last


def _of_domain(path: Path) -> Iterator[Row]:
    """The last line has requests for several calls, and conversations. Each of the others has a tool, requests for one call of it,
    some that lack what it requires, and some that are beside it: near it, and served by no tool of the domain."""
    tools, written, last = _read(path)
    for entry in written:
        name = entry["name"]
        for number, (text, arguments) in enumerate(entry["requests"]):
            yield _row("everyday", f"{name}-{number}", text, tools, [name], _calls([(name, arguments)]))
        for number, (text, missing) in enumerate(entry["lacking"]):
            parts = tuple({"tool": name, "parameter": parameter} for parameter in missing)
            truth = GroundTruth(decision="clarify", missing=parts)
            yield _row(LACKING, f"{name}-lacking-{number}", text, tools, [name], truth)
        for number, text in enumerate(entry["beside"]):
            truth = GroundTruth(decision="refuse", category=RefusalCategory.OUT_OF_SCOPE)
            yield _row(BESIDE, f"{name}-beside-{number}", text, tools, [name], truth)
    for number, (text, calls) in enumerate(last["several"]):
        truth = _calls([(call["name"], call["arguments"]) for call in calls])
        names = sorted({call["name"] for call in calls})
        if len({side_of(name) for name in names}) == 1:
            yield _row("everyday/several", f"{path.stem}-{number}", text, tools, names, truth)


def _calls(calls: Sequence[tuple[str, dict[str, Any]]]) -> GroundTruth:
    expected = tuple(ExpectedCall(name=name, arguments=arguments) for name, arguments in calls)
    return GroundTruth(decision="execute", tool_calls=expected)


def _row(
    source: str, row_id: str, text: str, tools: tuple[dict[str, Any], ...], about: list[str], truth: GroundTruth
) -> Row:
    """Args: about: the tools that the request is for, or near; of one side."""
    return Row(
        data_source=source,
        prompt=(user(text),),
        tools=tools,
        reward_model=RewardModel(ground_truth=truth),
        extra_info={"id": f"everyday/{row_id}", "split": side_of(about[0]), "tool_ids": about},
    )


def _tool(entry: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {name: _schema(kind.removesuffix("*")) for name, kind in entry["parameters"].items()},
        "required": [name for name, kind in entry["parameters"].items() if kind.endswith("*")],
    }
    return {
        "type": "function",
        "function": {"name": entry["name"], "description": entry["description"], "parameters": parameters},
    }


def _schema(kind: str) -> dict[str, Any]:
    """Of a type as it is written here: "string", "[number]", "red|green"."""
    if kind.startswith("["):
        return {"type": "array", "items": _schema(kind[1:-1])}
    return {"type": "string", "enum": kind.split("|")} if "|" in kind else {"type": kind}
