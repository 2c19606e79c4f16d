"""Packs a family of situations into one token sequence: the tools once, then each situation as a branch.

Every branch sees the tools and itself, never its neighbours: positions restart after the tools, and `learner.branched` computes
just the attention that is wanted. A decision costs a third of the tokens that it would in a row of its own, and neighbours over
the same tools make the contrast that teaches execute from clarify.

The sequence has fixed places: `Layout.prefix` tokens for the tools, then `Layout.slots` slots of `Layout.slot` tokens, each holding
whole branches. Batches of many short situations take turns with batches of few long ones.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from learner.starter import CONTEXT, TURN_START
from learner.synth.borrowed import Borrowed
from learner.synth.parameters import word
from learner.synth.renaming import otherwise_named
from learner.synth.scenarios import WEIGHTS, Family, invent_family
from learner.synth.situations import Situation
from runtime.decision import Answer, Decision, Execute, ToolCall, write_decision
from runtime.prompt import Renderer

IGNORED = -100
BORROWED_SHARE = 0.42
"""Of the families."""


@dataclass(frozen=True)
class Layout:
    """Places of a packed sequence, in tokens."""

    prefix: int
    slot: int
    slots: int
    tools: tuple[int, int] = (1, 6)
    """The fewest and the most that a family shows."""
    long: bool = False
    """For conversations of many turns, which a slot must have room for."""

    @property
    def length(self) -> int:
        return self.prefix + self.slot * self.slots


@dataclass(frozen=True)
class Packed:
    """One sequence of T tokens; arrays of shape [T]."""

    token_ids: np.ndarray
    positions: np.ndarray
    branches: np.ndarray
    """0: the shared tools; 1, 2, ...: a situation; -1: padding."""
    targets: np.ndarray
    """The next token where it is the policy's to write, else IGNORED."""


@dataclass(frozen=True)
class _Branch:
    """What follows the tools: [S] tokens, and of each what comes next where that is taught, else IGNORED."""

    token_ids: list[int]
    positions: list[int]
    """Counted from the end of the tools."""
    targets: list[int]


class Batch(NamedTuple):
    """B sequences of T tokens; arrays of shape [B, T], as in `Packed`. A tuple, of which torch's loader makes tensors in shared
    memory: through a pipe, a worker whose parent was killed would wait for ever."""

    token_ids: np.ndarray
    positions: np.ndarray
    branches: np.ndarray
    targets: np.ndarray
    layout: Layout
    following: int
    """The family to go on from."""


def pack_family(family: Family, renderer: Renderer, layout: Layout, rng: random.Random) -> Packed | None:
    """None when the tools do not fit their place or no branch fits a slot."""
    system = _system(rng)
    apart = rng.random() < _APART
    prefix = _first_turn(renderer, renderer.render(family.situations[0].messages[:1], family.schemas).token_ids)
    if len(prefix) > layout.prefix:
        return None
    slots: list[list[_Branch]] = [[] for _ in range(layout.slots)]
    room = [layout.slot] * layout.slots
    for situation in family.situations:
        branch = _branch(situation, renderer, system)
        slot = next((i for i, free in enumerate(room) if free >= len(branch.token_ids)), None)
        if slot is not None:
            slots[slot].append(_with_gaps(rng, branch, len(prefix), renderer) if apart else branch)
            room[slot] -= len(branch.token_ids)
    if not any(slots):
        return None
    return _lay_out(prefix, slots, layout, renderer.tokenizer.pad_token_id)


_APART = 0.25
"""Share of families in whose branches positions are skipped: the distances of conversations longer than any slot, up to what the
starter's context holds (positional skip-wise training, arXiv 2309.10400)."""


def _with_gaps(rng: random.Random, branch: _Branch, start: int, renderer: Renderer) -> _Branch:
    """Positions are skipped after the tools and before one of the turns."""
    turn = _turn(renderer)
    skipped = rng.randint(0, CONTEXT - start - len(branch.token_ids))
    first = rng.randint(0, skipped)
    at = rng.choice([i for i, token in enumerate(branch.token_ids) if token == turn])
    positions = [i + (first if i < at else skipped) for i in range(len(branch.token_ids))]
    return replace(branch, positions=positions)


def _system(rng: random.Random) -> tuple[dict[str, Any], ...]:
    if rng.random() > 0.06:
        return ()
    text = rng.choice(
        ("You are a helpful assistant.", "You are an assistant.", " ".join(word(rng) for _ in range(rng.randint(2, 9))))
    )
    return ({"role": "system", "content": text},)


def _branch(situation: Situation, renderer: Renderer, system: tuple[dict[str, Any], ...]) -> _Branch:
    said = renderer.render((*system, *situation.messages), ()).token_ids
    prompt = said[len(_first_turn(renderer, said)) :]  # what follows the tools does not depend on them
    written = _written(renderer, situation.decision)
    tokens = [*prompt, *written]
    targets = [IGNORED] * len(tokens)
    _teach(targets, len(prompt), written)
    turn = _turn(renderer)
    starts = [at for at, token in enumerate(prompt) if token == turn]
    for number in situation.taught:
        written = _written(renderer, _decision_of(situation.messages[number]))
        before = starts[len(system) + number] + len(prompt) - starts[-1]  # the last turn is no more than its beginning
        if tokens[before : before + len(written)] == written:  # else the template shows it in other words
            _teach(targets, before, written)
    return _Branch(tokens, list(range(len(tokens))), targets)


def _teach(targets: list[int], at: int, written: list[int]) -> None:
    targets[at - 1 : at - 1 + len(written)] = written


def _written(renderer: Renderer, decision: Decision) -> list[int]:
    tokenizer = renderer.tokenizer
    return [*tokenizer.encode(write_decision(decision), add_special_tokens=False), tokenizer.eos_token_id]


def _decision_of(message: dict[str, Any]) -> Decision:
    calls = [call["function"] for call in message.get("tool_calls", ())]
    if not calls:
        return Answer(text=message["content"])
    return Execute(calls=tuple(ToolCall(name=call["name"], arguments=call["arguments"]) for call in calls))


def _first_turn(renderer: Renderer, prompt: Sequence[int]) -> list[int]:
    """That of the tools."""
    return list(prompt[: prompt.index(renderer.tokenizer.eos_token_id) + 1])


def _turn(renderer: Renderer) -> int:
    return renderer.tokenizer.convert_tokens_to_ids(TURN_START)


def _lay_out(prefix: list[int], slots: list[list[_Branch]], layout: Layout, pad: int) -> Packed:
    ids = np.full(layout.length, pad, np.int64)
    positions = np.zeros(layout.length, np.int64)
    owner = np.full(layout.length, -1, np.int64)
    targets = np.full(layout.length, IGNORED, np.int64)
    start = len(prefix)
    ids[:start], positions[:start], owner[:start] = prefix, np.arange(start), 0
    number = 0
    for index, branches in enumerate(slots):
        at = layout.prefix + index * layout.slot
        for branch in branches:
            number += 1
            end = at + len(branch.token_ids)
            ids[at:end], owner[at:end], targets[at:end] = branch.token_ids, number, branch.targets
            positions[at:end] = np.asarray(branch.positions) + start
            at = end
    return Packed(ids, positions, owner, targets)


def packed_batches(
    renderer: Renderer,
    *,
    seed: int,
    start: int,
    first: int,
    size: int,
    layouts: Sequence[Layout],
    borrowed: Borrowed,
    stride: int = 1,
) -> Iterator[Batch]:
    """Endless. Batch `n` depends on the seed, on `n` and on its first family, so a run can go on from any batch, and several
    processes can share the families by a `stride`.

    Args:
        start: the first family.
        first: the number of the first batch.
        size: sequences of a batch.
        layouts: of the batches, in turn.
        borrowed: written rows, which some of the families are made of; all are of its side.
    """
    index = start
    for number in count(first):
        layout = layouts[number % len(layouts)]
        packed: list[Packed] = []
        while len(packed) < size:
            rng = random.Random(f"{seed}/pack/{index}")
            made = pack_family(_family(rng, layout, borrowed), renderer, layout, rng)
            index += stride
            if made is not None:
                packed.append(made)
        yield Batch(
            np.stack([p.token_ids for p in packed]),
            np.stack([p.positions for p in packed]),
            np.stack([p.branches for p in packed]),
            np.stack([p.targets for p in packed]),
            layout,
            index,
        )


_SHORT_WEIGHTS: dict[str, float] = {**WEIGHTS, "several": 12}
"""What is got wrong most often is met more often than it is measured."""
_LONG_WEIGHTS: dict[str, float] = {**WEIGHTS, "conversation": 300}
"""Where there is room for long conversations."""
_RENAMED = 0.3
"""Share of families whose tools are called otherwise than people speak of them."""


def _family(rng: random.Random, layout: Layout, borrowed: Borrowed) -> Family:
    family = _drawn(rng, layout, borrowed)
    return otherwise_named(rng, family) if rng.random() < _RENAMED else family


def _drawn(rng: random.Random, layout: Layout, borrowed: Borrowed) -> Family:
    count = 8 * layout.slots
    if rng.random() < BORROWED_SHARE:
        return borrowed.family(rng, situations=count, tools=layout.tools, long=layout.long)
    weights = _LONG_WEIGHTS if layout.long else _SHORT_WEIGHTS
    return invent_family(rng, borrowed.side, tools=layout.tools, situations=count, weights=weights, by_fit=True)
