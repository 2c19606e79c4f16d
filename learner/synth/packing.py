"""Packs a family of situations into one token sequence: the tools once, then each situation as a branch.

Every branch sees the tools and itself, never its neighbours: positions restart after the tools, and `learner.branched` computes
just the attention that is wanted. A decision costs a third of the tokens that it would in a row of its own, and neighbours over
the same tools make the contrast that teaches execute from clarify.

The sequence has fixed places: `Layout.prefix` tokens for the tools, then `Layout.slots` slots of `Layout.slot` tokens, each holding
whole branches.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from learner.synth.borrowed import Borrowed
from learner.synth.parameters import word
from learner.synth.scenarios import Family, invent_family
from learner.synth.situations import Situation
from runtime.decision import write_decision
from runtime.prompt import Renderer

IGNORED = -100
BORROWED_SHARE = 0.15
"""Of the families, where there are rows to borrow from."""


@dataclass(frozen=True)
class Layout:
    """Places of a packed sequence, in tokens."""

    prefix: int = 192
    slot: int = 160
    slots: int = 3

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


def pack_family(family: Family, renderer: Renderer, layout: Layout, rng: random.Random) -> Packed | None:
    """None when the tools do not fit their place or no branch fits a slot."""
    system = _system(rng)
    prefix: list[int] | None = None
    slots: list[list[tuple[list[int], list[int]]]] = [[] for _ in range(layout.slots)]
    room = [layout.slot] * layout.slots
    for situation in family.situations:
        prompt, completion = _render(family, situation, renderer, system)
        prefix = prefix or _shared_prefix(renderer, prompt)
        if len(prefix) > layout.prefix:
            return None
        suffix = prompt[len(prefix) :]
        size = len(suffix) + len(completion)
        slot = next((i for i, free in enumerate(room) if free >= size), None)
        if slot is not None:
            slots[slot].append((suffix, completion))
            room[slot] -= size
    if prefix is None or not any(slots):
        return None
    return _lay_out(prefix, slots, layout, renderer.tokenizer.pad_token_id)


def _system(rng: random.Random) -> tuple[dict[str, Any], ...]:
    if rng.random() > 0.06:
        return ()
    text = rng.choice(
        ("You are a helpful assistant.", "You are an assistant.", " ".join(word(rng) for _ in range(rng.randint(2, 9))))
    )
    return ({"role": "system", "content": text},)


def _render(
    family: Family, situation: Situation, renderer: Renderer, system: tuple[dict[str, Any], ...]
) -> tuple[list[int], list[int]]:
    prompt = renderer.render((*system, *situation.messages), family.schemas)
    tokenizer = renderer.tokenizer
    written = write_decision(situation.decision)
    completion = [*tokenizer.encode(written, add_special_tokens=False), tokenizer.eos_token_id]
    return list(prompt.token_ids), completion


def _shared_prefix(renderer: Renderer, prompt: list[int]) -> list[int]:
    """The tools part: everything up to the end of its turn."""
    end = prompt.index(renderer.tokenizer.eos_token_id) + 1
    return prompt[:end]


def _lay_out(prefix: list[int], slots: list[list[tuple[list[int], list[int]]]], layout: Layout, pad: int) -> Packed:
    ids = np.full(layout.length, pad, np.int64)
    positions = np.zeros(layout.length, np.int64)
    owner = np.full(layout.length, -1, np.int64)
    targets = np.full(layout.length, IGNORED, np.int64)
    start = len(prefix)
    ids[:start], positions[:start], owner[:start] = prefix, np.arange(start), 0
    number = 0
    for index, branches in enumerate(slots):
        at = layout.prefix + index * layout.slot
        for suffix, completion in branches:
            number += 1
            tokens = suffix + completion
            end = at + len(tokens)
            ids[at:end], owner[at:end] = tokens, number
            positions[at:end] = np.arange(start, start + len(tokens))
            first = at + len(suffix)
            targets[first - 1 : end - 1] = completion
            at = end
    return Packed(ids, positions, owner, targets)


def packed_families(
    renderer: Renderer,
    *,
    seed: int,
    start: int,
    layout: Layout,
    tools: tuple[int, int],
    stride: int = 1,
    borrowed: Borrowed | None = None,
) -> Iterator[tuple[int, Packed]]:
    """Endless: (where to go on, packed). Family `i` depends on the seed and on `i` alone, so a run can go on from any `start`, and
    several processes can share the families by a `stride`.

    Args:
        borrowed: rows that others wrote, for some of the families.
    """
    index = start
    while True:
        rng = random.Random(f"{seed}/pack/{index}")
        if borrowed is not None and rng.random() < BORROWED_SHARE:
            family = borrowed.family(rng, situations=16)
        else:
            family = invent_family(rng, "train", tools=tools, situations=16, by_fit=True)
        packed = pack_family(family, renderer, layout, rng)
        index += stride
        if packed is not None:
            yield index, packed
