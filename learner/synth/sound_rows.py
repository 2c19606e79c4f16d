"""Which rows are borrowed from, and as what: requests whose values are all said, with one right call for each.

A small model that is taught values that nobody said learns to make them up. Pure.
"""

import re
from collections.abc import Iterable
from typing import Any

from learner import variants
from learner.demonstration import decide
from learner.matching import UNSET, unwrap
from learner.rewards import score
from learner.rows import ExpectedCall, GroundTruth, RewardModel, Row
from learner.synth.parameters import NUMBER_WORDS
from learner.synth.situations import user
from runtime.decision import Execute
from tools.json_schema import argument_errors
from tools.wording import only_place, places

LONGEST_REQUEST = 600
"""Characters; of longer ones, with the calls for them, few would fit a slot."""
_NEVER_BORROWED = ("bfcl/parallel", "bfcl/parallel_multiple")
"""Sources: what is measured on them is measured on requests that nobody trained on."""


def is_usable(row: Row) -> bool:
    """A request in one message, for at least one call, of a set that is trained on."""
    return (
        row.data_source not in _NEVER_BORROWED
        and bool(row.truth.tool_calls)
        and variants.is_plain(row)
        and len(row.prompt[-1]["content"]) <= LONGEST_REQUEST
    )


def plainly(row: Row) -> Row:
    """With one value of each argument, where the label allows several: one that is said, as it is written there."""
    text = row.prompt[-1]["content"]
    calls = []
    for call in row.truth.tool_calls:
        properties = parameters_of(row, call.name).get("properties", {})
        chosen = {name: _taught(value, properties.get(name, {}), text) for name, value in call.arguments.items()}
        calls.append(ExpectedCall(name=call.name, arguments={n: v for n, v in chosen.items() if v is not UNSET}))
    truth = GroundTruth(decision="execute", tool_calls=tuple(calls))
    return row.model_copy(update={"reward_model": RewardModel(ground_truth=truth)})


def _taught(expected: Any, schema: dict[str, Any], text: str) -> Any:
    values, optional = unwrap(expected)
    said = next((value for value in values if _is_said(value, text)), UNSET)
    if said is UNSET:
        return UNSET if optional or not values else values[0]
    if isinstance(said, str) and "enum" not in schema and (place := only_place(text, said)):
        return place.group()
    return said


def single_requests(row: Row) -> list[Row]:
    """The row, or where it is for several calls those of its sentences that are about one of them: its values are said there and
    nowhere else."""
    calls = row.truth.tool_calls
    if len(calls) == 1:
        return [row]
    sentences = _SENTENCE.split(row.prompt[-1]["content"])
    spoken = [[value for value in call.arguments.values() if not isinstance(value, bool)] for call in calls]
    if not all(spoken):  # one that is said without values may be in any sentence
        return []
    homes = [[at for at, s in enumerate(sentences) if any(_is_said(v, s) for v in values)] for values in spoken]
    found: list[Row] = []
    for call, values, home in zip(calls, spoken, homes, strict=True):
        if len(home) != 1 or sum(home[0] in other for other in homes) != 1:
            continue
        sentence = _LINK.sub("", sentences[home[0]])
        if all(_is_said(value, sentence) for value in values) and len(sentence.split()) >= 4:
            truth = GroundTruth(decision="execute", tool_calls=(call,))
            text = sentence[:1].upper() + sentence[1:]
            changes = {"prompt": (user(text),), "reward_model": RewardModel(ground_truth=truth)}
            found.append(row.model_copy(update=changes))
    return found


_SENTENCE = re.compile(r"(?<=[.?!])\s+")
_LINK = re.compile(
    r"^(first|firstly|second|secondly|third|then|next|also|additionally|furthermore|moreover|lastly|finally|after that|and),?\s+",
    re.IGNORECASE,
)


def parameters_of(row: Row, tool: str) -> dict[str, Any]:
    """The JSON schema of a tool's arguments; empty where the row does not show it."""
    return next((t["function"]["parameters"] for t in row.tools if t["function"]["name"] == tool), {})


def is_sound(row: Row, label: GroundTruth) -> bool:
    """What is taught is right by the label, fits the schema, and every value is said."""
    decision = decide(row)
    if not isinstance(decision, Execute) or not score(decision, label, row.tools).exact:
        return False
    if any(argument_errors(parameters_of(row, call.name), call.arguments) for call in decision.calls):
        return False
    return all_said(row.truth.tool_calls, row.prompt[-1]["content"])


def all_said(calls: Iterable[ExpectedCall], text: str) -> bool:
    return all(_is_said(value, text) for call in calls for value in call.arguments.values())


def _is_said(value: Any, text: str) -> bool:
    """As it is, or a number as people write it: "20,000", "two", "$12.50", "6cm", "5%" for 0.05."""
    if isinstance(value, list):
        return all(_is_said(item, text) for item in value)
    if isinstance(value, bool):
        return True
    if isinstance(value, str):
        return bool(places(text, value))
    if not isinstance(value, int | float):
        return False
    forms = [f"{value}", f"{value:g}", f"{value:,}"]
    forms += [f"{value:.2f}", f"{value:,.2f}"] if round(value, 2) == value else []
    forms += [f"{100 * value:g}%"] if 0 < value < 1 else []
    forms += [NUMBER_WORDS[int(value) - 1]] if value in range(1, len(NUMBER_WORDS) + 1) else []
    text = _UNIT.sub(" ", text)
    return any(places(text, form) for form in forms)


_UNIT = re.compile(
    r"(?<=\d)(?=(?:[cdkm]?m|[km]?g|lbs?|oz|ml|cl|[kmgt]b|[km]?w|kwh|ft|in|hrs?|mins?|nm|hz|mah?|kj|kcal|mph)\b)",
    re.IGNORECASE,
)
"""Before a unit that is written at its figure."""
