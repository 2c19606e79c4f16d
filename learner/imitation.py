"""How a run begins: the policy imitates what was verified, before it samples for itself.

GRPO raises what a policy does at times. What it never does, such as declining what only this house forbids, no rollout finds;
shown as one rollout of eight, the verified decision does teach it, but a step of eight prompts is a small sample, and much else was
forgotten on the way. Here a step is many rows, corrected and verified ones together, at less cost: each is read once, with the one
completion that is right (`docs/decisions/0048-imitation-first.md`).

Shapes: N tokens of a completion, W words of 32 bits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

import torch
from transformers import get_scheduler

from learner.prefix_sharing import completion_logprobs, pack

PASSES = 2
"""The most over all lessons: of a few rows, more would be learnt by heart."""
_TOGETHER = 4
"""Rows that are read at once, neighbours in length: more would be padding, or memory."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A prompt, and the decision that is right there."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    """With the end of the turn."""


Allowed = Callable[[Lesson], torch.Tensor | None]
"""What a grammar allows at each token of a lesson's completion, as (N, W) words; None: anything, then of all lessons."""


def steps_for(lessons: int, *, rows_per_step: int, most: int) -> int:
    """Until all passes are done, `most` at most; the last step may have fewer rows."""
    return min(most, -(-PASSES * lessons // rows_per_step))


def imitate(
    causal: Any,
    lessons: Sequence[Lesson],
    *,
    steps: int,
    rows_per_step: int,
    learning_rate: float,
    seed: int,
    pad_id: int,
    allowed: Allowed,
    after_step: Callable[[int], None],
) -> tuple[float, ...]:
    """Trains what requires a gradient by the decisions' cross-entropy among what the grammar allows.

    Args:
        causal: the causal LM itself (adapters injected), not its PEFT wrapper.
        learning_rate: peak of AdamW's rate; warmed up over the first 5 % of the steps, then along a cosine to a tenth.
        steps: at most those of `steps_for`.
        after_step: called with the steps done; what it raises ends the run.

    Returns: the loss of each step, in nats per token.
    """
    learnt = [p for p in causal.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.99))
    schedule = get_scheduler(
        "cosine_with_min_lr", optimizer, steps // 20, steps, scheduler_specific_kwargs={"min_lr_rate": 0.1}
    )
    met = in_passes(lessons, Random(f"imitation/{seed}"))
    losses: list[float] = []
    for step in range(1, steps + 1):
        losses.append(_backward(causal, list(islice(met, rows_per_step)), pad_id, allowed))
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        after_step(step)
    return tuple(losses)


def in_passes(lessons: Sequence[Lesson], rng: Random) -> Iterator[Lesson]:
    """In mixed order: each once before one comes again."""
    for _ in range(PASSES):
        yield from rng.sample(lessons, len(lessons))


def _backward(causal: Any, lessons: Sequence[Lesson], pad_id: int, allowed: Allowed) -> float:
    """Leaves the gradients of the mean over all tokens, and returns it."""
    ordered = sorted(lessons, key=lambda lesson: len(lesson.prompt_ids) + len(lesson.completion_ids))
    tokens, loss = sum(len(lesson.completion_ids) for lesson in ordered), 0.0
    for first in range(0, len(ordered), _TOGETHER):
        some = ordered[first : first + _TOGETHER]
        bits = [words_NW for lesson in some if (words_NW := allowed(lesson)) is not None]
        logprobs_N, _ = completion_logprobs(
            causal,
            pack([lesson.prompt_ids for lesson in some], [[lesson.completion_ids] for lesson in some], pad_id),
            allowed_NW=torch.cat(bits) if bits else None,
        )
        part = -logprobs_N.sum() / tokens
        part.backward()
        loss += part.item()
    return loss
