"""Families from rows: real tools and real requests, in companies and with values of our drawing.

Public sets and `learner.synth.everyday` hold a few requests for a tool, and their class shows by form (one gives five tools and
always calls). So tools are drawn from the whole set, and every family asks for what is there, most often for its first tool
(`learner.synth.toolset`), for what is not, and for too little (`learner.variants`). Of a request for several calls the sentences
are requests of their own, and any request may take shape over several turns (`learner.synth.dialogues`).
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from learner import variants
from learner.demonstration import decide
from learner.rows import GroundTruth, RewardModel, Row
from learner.synth import dialogues
from learner.synth.conversations import can_go_on, joined
from learner.synth.everyday import BESIDE, LACKING
from learner.synth.invention import InventedTool, Phrases
from learner.synth.lexicon import VERBS, Side, side_of
from learner.synth.parameters import EXPLICIT, Parameter, Spoken
from learner.synth.questions import asked_elsewhere, is_none_about
from learner.synth.scenarios import Family
from learner.synth.sequences import together
from learner.synth.situations import Situation, out_of_scope, user
from learner.synth.sound_rows import (
    LONGEST_REQUEST,
    all_said,
    is_sound,
    is_usable,
    parameters_of,
    plainly,
    single_requests,
)
from learner.synth.talks import SOURCE as TALK
from learner.synth.talks import Talk
from learner.synth.toolset import CHANCES
from learner.synth.utterances import Lacking, Request
from runtime.decision import Execute, Refuse
from tools.likeness import content_words, share

_MOST_TOOLS = len(CHANCES)
_LONGEST_SCHEMA = 1260
"""Characters of a tool's schema; longer ones leave no room for a neighbour."""
_FAMILIES_OF_SEVERAL = 0.35
"""Share of families over the tools of a request for several calls, where the rows have such."""
_FAMILIES_OF_A_TALK = 0.25
"""Share of families over the tools of a conversation that was written, where there are such."""
_NEAR_MISSES = 0.3
"""Chance that a request that no tool serves shares a word with one."""
_ASKED_ELSEWHERE = 0.35
"""Chance that a request that no tool serves is one about anything (`learner.synth.questions`)."""
_ASKED_BESIDE = 0.3
"""Chance that it is near a tool that is shown, if such are written for one and no other might serve it; the rest are for tools that
are not there."""
_LACKING_AS_WRITTEN = 0.6
"""Chance that a request that lacks something is one that was written so, where there are such."""
_DIALOGUES = {"gathered": 9, "announced": 4, "provided": 8}
_KINDS = {"execute": 42, "whole": 30, "several": 12, "each": 6, "clarify": 22, "absent": 30, **_DIALOGUES}
"""Weights of the kinds of situation; whole: a request for several calls as it was written, or a conversation, in families over its
tools."""
_KINDS_BESIDE_A_TALK = {**_KINDS, "whole": 60}
_TOLD = "borrowed talk"
"""Kind of a situation that is a conversation as it was written, of which there is one in a family."""


@dataclass(frozen=True)
class Borrowed:
    """Rows by the tools that they call."""

    side: Side
    tools: dict[str, dict[str, Any]]
    rows: dict[str, tuple[Row, ...]]
    """Requests for one call, whole ones and those that are a sentence of a longer one."""
    several: tuple[Row, ...]
    """Requests for more than one call."""
    talks: tuple[Talk, ...]
    """Conversations over such tools."""
    alike: dict[str, tuple[str, ...]]
    """By tool: others that share a word with it, and are about something else as well."""
    pool: variants.Pool
    lacking: dict[str, tuple[Row, ...]]
    """By tool: requests that were written without something that it requires."""
    beside: dict[str, tuple[Row, ...]]
    """By tool: requests that are near it, and that it does not serve."""

    @classmethod
    def of(cls, rows: Sequence[Row], side: Side, talks: Sequence[Talk] = ()) -> "Borrowed":
        """Takes sound rows with one request, and conversations; one tool in eight is kept for evaluation."""
        found: dict[str, list[Row]] = defaultdict(list)
        several: list[Row] = []
        tools: dict[str, dict[str, Any]] = {}
        for labelled in filter(is_usable, rows):
            if labelled.data_source == TALK:  # met as a whole
                continue
            row = plainly(labelled)
            called = {call.name for call in row.truth.tool_calls}
            if any(side_of(name) != side for name in called) or not is_sound(row, labelled.truth):
                continue
            shown = {name: tool for tool in row.tools if (name := tool["function"]["name"]) in called}
            if any(len(str(tool)) > _LONGEST_SCHEMA or tools.get(name, tool) != tool for name, tool in shown.items()):
                continue
            tools.update(shown)
            if len(row.truth.tool_calls) > 1 and len(called) <= _MOST_TOOLS:
                several.append(row)
            for part in single_requests(row):
                found[part.truth.tool_calls[0].name].append(part)
        kept = {name: tuple(members) for name, members in found.items()}
        pool = variants.Pool.of([row for members in kept.values() for row in members])
        lacking, beside = (_by_tool(rows, source, tools) for source in (LACKING, BESIDE))
        usable = tuple(talk for talk in talks if talk.side == side and tools.keys() >= set(talk.about))
        return cls(side, tools, kept, tuple(several), usable, _alike(sorted(kept)), pool, lacking, beside)

    def family(
        self, rng: random.Random, *, situations: int, tools: tuple[int, int] = (1, 5), long: bool = False
    ) -> Family:
        """
        Args:
            tools: the fewest and the most that are shown; a request for several calls or a conversation may want more.
            long: each situation comes late in a conversation, after others over the same tools.
        """
        whole = self._whole(rng)
        shown = self._shown(rng, whole, rng.randint(*tools))
        company = _Company(tuple(shown), tuple(self.tools[name] for name in shown), whole)
        make = self._conversation if long else self._situation
        return Family(self.side, (), tuple(make(rng, company) for _ in range(situations)), company.tools)

    def _whole(self, rng: random.Random) -> Row | Talk | None:
        """What a family is made around."""
        draw = rng.random()
        if self.talks and draw < _FAMILIES_OF_A_TALK:
            return rng.choice(self.talks)
        if self.several and draw > 1 - _FAMILIES_OF_SEVERAL:
            return rng.choice(self.several)
        return None

    def _shown(self, rng: random.Random, whole: Row | Talk | None, size: int) -> list[str]:
        """Names of tools, of which one at least has requests of its own. Args: whole: what they shall serve."""
        size = min(size, len(self.rows))
        if whole is None:
            return self._with_neighbours(rng, size)
        called = whole.about if isinstance(whole, Talk) else sorted({call.name for call in whole.truth.tool_calls})
        others = [name for name in rng.sample(sorted(self.rows), size) if name not in called]
        beside = others[: max(size - len(called), 0 if any(name in self.rows for name in called) else 1)]
        return [*rng.sample(called, len(called)), *beside]

    def _with_neighbours(self, rng: random.Random, size: int) -> list[str]:
        """Half the time tools that share a word come first: of tools of one kind the right one is to be found."""
        shown = rng.sample(sorted(self.rows), size)
        alike = self.alike.get(shown[0], ())
        if not alike or size == 1 or rng.random() < 0.5:
            return shown
        near = [shown[0], *rng.sample(alike, min(len(alike), rng.randint(1, size - 1)))]
        rest = [name for name in shown if name not in near]
        return [*rng.sample(near, len(near)), *rest][:size]

    def _conversation(self, rng: random.Random, company: "_Company") -> Situation:
        rounds: list[Situation] = []
        wanted = rng.choice((1, 2, 3, 4))
        while len(rounds) <= wanted:
            made = self._situation(rng, company)
            is_told = made.kind == _TOLD and any(earlier.kind == _TOLD for earlier in rounds)
            if not is_told and (len(rounds) == wanted or can_go_on(made)):
                rounds.append(made)
        return joined(rng, rounds, self.side, "borrowed conversation")

    def _situation(self, rng: random.Random, company: "_Company") -> Situation:
        kinds = _KINDS_BESIDE_A_TALK if isinstance(company.whole, Talk) else _KINDS
        while True:
            kind = rng.choices(tuple(kinds), tuple(kinds.values()))[0]
            if kind == "whole" and isinstance(company.whole, Talk):
                kind, made = "talk", self._of_talk(rng, company.whole, company)
            elif kind in _DIALOGUES:
                made = self._dialogue(rng, kind, company)
            elif kind == "absent":
                made = self._declined(rng, company)
            else:
                row = self._request(rng, kind, company)
                decision = None if row is None else decide(row)
                made = row and decision and Situation(kind, row.prompt, decision)
            if made:
                return replace(made, kind=f"borrowed {kind}")

    def _of_talk(self, rng: random.Random, talk: Talk, company: "_Company") -> Situation | None:
        """None where a tool that is shown might serve what the conversation's own do not."""
        made = talk.situation(rng, company.tools)
        if not isinstance(made.decision, Refuse):
            return made
        others = [tool for tool in company.tools if tool["function"]["name"] not in talk.about]
        return made if is_none_about(made.messages[-1]["content"], others) else None

    def _dialogue(self, rng: random.Random, kind: str, company: "_Company") -> Situation | None:
        """A request that takes shape over several turns (`learner.synth.dialogues`)."""
        asked = _asked(self._otherwise(rng, self._of_tools(rng, company.names, company)))
        if asked is None or not asked.tool.required:
            return None
        if kind == "announced" and rng.random() < 0.7:
            return dialogues.announce(rng, asked.tool, asked.request, [])
        opening = self._opening(rng, asked)
        if opening is None:
            return None
        if kind == "announced":
            return dialogues.announce(rng, asked.tool, *opening)
        if kind == "gathered":
            return dialogues.take_shape(rng, asked.tool, opening, asked.spoken)
        others = [name for name in company.names if name in self.rows and name != asked.tool.name]
        giver = _asked(self._otherwise(rng, self._of_tools(rng, others, company))) if others else None
        if giver is None or not giver.tool.required or len(opening[1]) != 1:
            return None
        if opening[1][0].name in giver.spoken or not opening[1][0].is_plain:
            return None
        made = dialogues.hand_on(rng, self.side, giver.tool, giver.spoken, asked.tool, opening)
        said = " ".join(message["content"] for message in made.messages) if made else ""
        return made if made and all_said(made.truth.tool_calls, said) else None

    def _opening(self, rng: random.Random, asked: "_Asked") -> Lacking | None:
        """The request without one of its values, or without all."""
        if rng.random() < 0.35:
            return dialogues.bare_opening(rng, asked.tool, dialogues.doing(asked.tool))
        row = variants.lacking(rng, asked.row, self.pool)
        if row is None:
            return None
        missing = row.truth.missing[0]["parameter"]
        arguments = {name: value for name, value in asked.request.arguments.items() if name != missing}
        lacks = [p for p in asked.tool.parameters if p.name == missing]
        return Request(row.prompt[-1]["content"], arguments), lacks

    def _request(self, rng: random.Random, kind: str, company: "_Company") -> Row | None:
        if kind == "whole":
            whole = company.whole
            if not isinstance(whole, Row):
                return None
            return self._otherwise(rng, whole.model_copy(update={"tools": company.tools}))
        if kind == "several":
            return self._several(rng, company)
        if (
            kind == "clarify"
            and rng.random() < _LACKING_AS_WRITTEN
            and (row := self._written(rng, self.lacking, company))
        ):
            return row
        row = self._of_tools(rng, company.names, company)
        if kind == "each":
            return variants.for_each(rng, row, self.pool)
        row = self._otherwise(rng, row)
        return variants.lacking(rng, row, self.pool) if kind == "clarify" else row

    def _declined(self, rng: random.Random, company: "_Company") -> Situation | None:
        """A request that no tool serves: about anything, near one that is shown, or for one that is not."""
        draw = rng.random()
        if draw < _ASKED_ELSEWHERE:
            return asked_elsewhere(rng, self.side, company.tools)
        if draw < _ASKED_ELSEWHERE + _ASKED_BESIDE and (row := self._written(rng, self.beside, company)):
            others = [tool for tool in company.tools if tool["function"]["name"] not in row.extra_info["tool_ids"]]
            if is_none_about(row.prompt[-1]["content"], others):
                return Situation("absent", row.prompt, out_of_scope())
        name = self._absent(rng, company)
        return Situation("absent", rng.choice(self.rows[name]).prompt, out_of_scope()) if name else None

    def _written(self, rng: random.Random, rows: Mapping[str, Sequence[Row]], company: "_Company") -> Row | None:
        """One about a tool that is shown, most often about the first that has any."""
        able = [name for name in company.names if rows.get(name)]
        if not able:
            return None
        name = rng.choices(able, CHANCES[: len(able)])[0]
        return rng.choice(rows[name]).model_copy(update={"tools": company.tools})

    def _absent(self, rng: random.Random, company: "_Company") -> str | None:
        """A tool that is not there, and that none of those that are could stand in for."""
        near = [name for shown in company.names for name in self.alike.get(shown, ()) if name not in company.names]
        is_near = near and rng.random() < _NEAR_MISSES
        name = rng.choice(near) if is_near else rng.choice(sorted(self.rows))
        about, told = _words(name), _description(self.tools[name])
        for shown, tool in zip(company.names, company.tools, strict=True):
            other = _words(shown)
            serves = not _are_apart(about, other) if is_near else about & other
            if serves or share(told, _description(tool)) > _SAYS_THE_SAME:
                return None
        return name

    def _several(self, rng: random.Random, company: "_Company") -> Row | None:
        """A few requests in one message, half the time for one tool: a call for each."""
        able = [name for name in company.names if name in self.rows]
        names = [rng.choice(able)] if rng.random() < 0.5 else able
        count = rng.choice((2, 2, 2, 3, 3, 4))
        rows = [self._otherwise(rng, self._of_tools(rng, names, company)) for _ in range(count)]
        calls = tuple(call for row in rows for call in row.truth.tool_calls)
        if any(call in calls[:at] for at, call in enumerate(calls)):
            return None
        text = together(rng, [row.prompt[-1]["content"] for row in rows])
        if len(text) > LONGEST_REQUEST or not all_said(calls, text):  # one may have ended in a mark that was cut off
            return None
        truth = GroundTruth(decision="execute", tool_calls=calls)
        return rows[0].model_copy(update={"prompt": (user(text),), "reward_model": RewardModel(ground_truth=truth)})

    def _of_tools(self, rng: random.Random, names: Sequence[str], company: "_Company") -> Row:
        """A request for one of these tools, most often for the first."""
        able = [name for name in names if name in self.rows]
        name = rng.choices(able, CHANCES[: len(able)])[0]
        return rng.choice(self.rows[name]).model_copy(update={"tools": company.tools})

    def _otherwise(self, rng: random.Random, row: Row) -> Row:
        """Most often with other values."""
        other = variants.other_values(rng, row, self.pool) if rng.random() < 0.45 else None
        return other or row


@dataclass(frozen=True)
class _Company:
    """The tools of a family."""

    names: tuple[str, ...]
    tools: tuple[dict[str, Any], ...]
    whole: Row | Talk | None
    """A request for several of them, or a conversation over them."""


@dataclass(frozen=True)
class _Asked:
    """A request for one call, with its tool as far as it is used, and the user's words for the values that can be told alone."""

    row: Row
    tool: InventedTool
    request: Request
    spoken: dict[str, Spoken]


def _asked(row: Row) -> _Asked | None:
    """None where a value could not be told alone."""
    decision = decide(row)
    assert isinstance(decision, Execute)
    (call,) = decision.calls
    schema = parameters_of(row, call.name)
    properties, required = schema.get("properties", {}), schema.get("required", ())
    spoken: dict[str, Spoken] = {}
    for name, value in call.arguments.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        spoken[name] = (value, str(value))
    parameters = tuple(
        Parameter(name, properties.get(name, {}), name in required, EXPLICIT, partial(_again, said))
        for name, said in spoken.items()
    )
    tool = InventedTool(call.name, call.name, "", "", parameters, phrases=Phrases((), ()))
    return _Asked(row, tool, Request(row.prompt[-1]["content"], dict(call.arguments)), spoken)


def _again(said: Spoken, rng: random.Random) -> Spoken:
    return said


def _by_tool(rows: Iterable[Row], source: str, tools: Mapping[str, Any]) -> dict[str, tuple[Row, ...]]:
    """Those of one source, by the tool that they are about, where it is one of `tools`."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.data_source == source:
            for name in row.extra_info["tool_ids"]:
                found[name].append(row)
    return {name: tuple(members) for name, members in found.items() if name in tools}


def is_kept(row: Row) -> bool:
    """Whether all tools that the row calls are kept for evaluation."""
    return all(side_of(call.name) == "eval" for call in row.truth.tool_calls)


def _words(name: str) -> frozenset[str]:
    """What a tool is about: the words of its name but those that many names have."""
    return content_words(name) - _SAY_LITTLE


_SAY_LITTLE = frozenset(VERBS) | content_words(
    "show give tell view retrieve fetch finder calculator info information data details current all"
)


def _description(tool: dict[str, Any]) -> frozenset[str]:
    return content_words(tool["function"].get("description", ""))


def _are_apart(words: frozenset[str], others: frozenset[str]) -> bool:
    """Whether each of two tools is about something that the other is not."""
    return bool(words - others and others - words)


def _alike(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    about = {name: _words(name) for name in names}
    having: dict[str, list[str]] = defaultdict(list)
    for name, words in about.items():
        for word in words:
            having[word].append(name)
    found: dict[str, tuple[str, ...]] = {}
    for name, words in about.items():
        near = {other for word in words if len(having[word]) <= _AT_MOST_ALIKE for other in having[word]}
        found[name] = tuple(sorted(other for other in near if _are_apart(words, about[other])))
    return found


_AT_MOST_ALIKE = 40
"""Tools that have a word; one that more have, such as "library", says little of what a tool is about."""
_SAYS_THE_SAME = 0.3
"""Jaccard similarity of two descriptions, from which on one tool might stand in for the other."""
