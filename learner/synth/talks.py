"""Conversations that were written turn by turn: at each of its turns the assistant calls tools, asks, or declines.

What a user means may have been said three turns ago, or stand in what a tool gave; a request alone does not show that.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learner.demonstration import decide
from learner.rows import ExpectedCall, GroundTruth, RewardModel, Row
from learner.synth.lexicon import Side, side_of
from learner.synth.parameters import split_name
from learner.synth.situations import (
    OUT_OF_SCOPE_REASON,
    Situation,
    assistant,
    called,
    question_about,
    say_result,
    user,
)
from runtime.decision import RefusalCategory, ToolCall

SOURCE = "everyday/conversation"
_OWN_WORDS = 0.4
"""Chance that the assistant's earlier turns are worded as the policy would word them, and not as somebody wrote them."""


@dataclass(frozen=True)
class Turn:
    """The assistant's: one of calls, missing, or neither, where no tool serves."""

    asked: str
    """What the user said before it."""
    said: str
    """What the assistant says: its question, or what it makes of the results."""
    calls: tuple[ExpectedCall, ...] = ()
    results: tuple[dict[str, Any], ...] = ()
    """Of each call."""
    missing: tuple[dict[str, str], ...] = ()

    @property
    def truth(self) -> GroundTruth:
        if self.calls:
            return GroundTruth(decision="execute", tool_calls=self.calls)
        if self.missing:
            return GroundTruth(decision="clarify", missing=self.missing)
        return GroundTruth(decision="refuse", category=RefusalCategory.OUT_OF_SCOPE)

    @property
    def in_own_words(self) -> str:
        if self.calls:
            return " ".join(map(say_result, self.results))
        if self.missing:
            return question_about([split_name(part["parameter"]) for part in self.missing])
        return OUT_OF_SCOPE_REASON


@dataclass(frozen=True)
class Talk:
    """A whole conversation."""

    id: str
    turns: tuple[Turn, ...]

    @classmethod
    def of(cls, talk_id: str, written: Sequence[Any], orders: Mapping[str, Sequence[str]]) -> "Talk":
        """
        Args:
            written: a string for each of the user's turns, and after each a mapping for the assistant's, as in `everyday/`.
            orders: by tool, its parameters in the order of its signature, in which the policy writes arguments.
        """
        pairs = zip(written[::2], written[1::2], strict=True)
        return cls(talk_id, tuple(_turn(asked, decided, orders) for asked, decided in pairs))

    @property
    def about(self) -> tuple[str, ...]:
        """Names of the tools that are called or asked about."""
        called_ = {call.name for turn in self.turns for call in turn.calls}
        return tuple(sorted(called_ | {part["tool"] for turn in self.turns for part in turn.missing}))

    @property
    def side(self) -> Side | None:
        """None: its tools are of both."""
        sides: set[Side] = {side_of(name) for name in self.about}
        return sides.pop() if len(sides) == 1 else None

    def rows(self, tools: tuple[dict[str, Any], ...]) -> list[Row]:
        """One for each of the assistant's turns."""
        return [self._row(number, tools) for number in range(len(self.turns))]

    def _row(self, number: int, tools: tuple[dict[str, Any], ...], *, own_words: bool = False) -> Row:
        return Row(
            data_source=SOURCE,
            prompt=tuple(self._before(number, own_words=own_words)),
            tools=tools,
            reward_model=RewardModel(ground_truth=self.turns[number].truth),
            extra_info={"id": f"everyday/{self.id}-{number}", "split": self.side, "tool_ids": list(self.about)},
        )

    def _before(self, number: int, *, own_words: bool) -> list[dict[str, Any]]:
        """The messages that the turn `number` answers."""
        messages: list[dict[str, Any]] = []
        for turn in self.turns[:number]:
            made = [ToolCall(name=call.name, arguments=call.arguments) for call in turn.calls]
            messages += [user(turn.asked), *(called(tuple(zip(made, turn.results, strict=True))) if made else ())]
            messages.append(assistant(turn.in_own_words if own_words else turn.said))
        return [*messages, user(self.turns[number].asked)]

    def situation(self, rng: random.Random, tools: tuple[dict[str, Any], ...]) -> Situation:
        """One of the assistant's turns is to be decided; the calls before it are decisions too.

        Args: tools: all that are shown, those that it is about among them.
        """
        row = self._row(rng.randrange(len(self.turns)), tools, own_words=rng.random() < _OWN_WORDS)
        decision = decide(row)
        assert decision is not None
        taught = tuple(at for at, message in enumerate(row.prompt) if "tool_calls" in message)
        return Situation("talk", row.prompt, decision, taught)


def _turn(asked: str, decided: Mapping[str, Any], orders: Mapping[str, Sequence[str]]) -> Turn:
    calls = tuple(_call(call["name"], call["arguments"], orders) for call in decided.get("calls", ()))
    ask = decided.get("ask", {"tool": "", "missing": ()})
    missing = tuple({"tool": ask["tool"], "parameter": name} for name in ask["missing"])
    return Turn(asked, decided["say"], calls, tuple(decided.get("results", ())), missing)


def _call(name: str, arguments: Mapping[str, Any], orders: Mapping[str, Sequence[str]]) -> ExpectedCall:
    return ExpectedCall(name=name, arguments={p: arguments[p] for p in sorted(arguments, key=orders[name].index)})
