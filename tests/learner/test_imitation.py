"""Imitation lowers the cross-entropy of the right decisions, and computes nothing else."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from learner.imitation import PASSES, Allowed, Lesson, imitate, in_passes, steps_for
from runtime.policy.embedded.constraint import unpacked
from tests.tiny_model import build_tiny_model

# PEFT asks transformers for a property under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

LESSONS = [Lesson(tuple(range(10, 10 + 7 * (n + 1))), tuple(range(100, 103 + n))) for n in range(6)]
"""Of different lengths, and more than are read at once."""


@pytest.fixture
def causal(tmp_path: Path) -> Any:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(build_tiny_model(tmp_path / "tiny"), dtype=torch.float32)
    return get_peft_model(base, LoraConfig(r=4, target_modules="all-linear")).get_base_model()


def _run(causal: Any, allowed: Allowed = lambda lesson: None) -> tuple[float, ...]:
    """As many steps as there are passes."""
    return imitate(
        causal,
        LESSONS,
        steps=PASSES,
        rows_per_step=len(LESSONS),
        learning_rate=0.02,
        seed=0,
        pad_id=0,
        allowed=allowed,
        after_step=lambda done: None,
    )


@torch.no_grad()
def _cross_entropy(causal: Any, *, allowed: torch.Tensor | None = None) -> float:
    """Of all lessons' tokens, one lesson at a time."""
    losses = []
    for lesson in LESSONS:
        ids = torch.tensor([[*lesson.prompt_ids, *lesson.completion_ids]])
        logits = causal(input_ids=ids).logits[0, len(lesson.prompt_ids) - 1 : -1]
        if allowed is not None:
            logits = logits.masked_fill(~allowed[: len(logits)], -torch.inf)
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(lesson.completion_ids), reduction="none"))
    return torch.cat(losses).mean().item()


def test_the_loss_is_the_cross_entropy_of_each_token_whatever_is_read_together(causal: Any) -> None:
    expected = _cross_entropy(causal)
    assert _run(causal)[0] == pytest.approx(expected, abs=1e-4)


def test_under_a_grammar_only_what_it_allows_counts(causal: Any) -> None:
    words = -(-causal.config.vocab_size // 32)
    bits_NW = torch.zeros((20, words), dtype=torch.int32)
    bits_NW[:, 3:5] = -1  # tokens 96 to 159
    expected = _cross_entropy(causal, allowed=unpacked(bits_NW, causal.config.vocab_size))
    losses = _run(causal, lambda lesson: bits_NW[: len(lesson.completion_ids)])
    assert losses[0] == pytest.approx(expected, abs=1e-4)


def test_the_policy_comes_nearer_to_its_lessons(causal: Any) -> None:
    before = _cross_entropy(causal)
    losses = _run(causal)
    assert len(losses) == PASSES
    assert _cross_entropy(causal) < losses[-1] < before - 0.5


def test_what_is_called_after_a_step_may_end_the_run(causal: Any) -> None:
    def after_step(done: int) -> None:
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        imitate(
            causal,
            LESSONS,
            steps=5,
            rows_per_step=2,
            learning_rate=0.02,
            seed=0,
            pad_id=0,
            allowed=lambda lesson: None,
            after_step=after_step,
        )


def test_each_lesson_is_met_once_before_one_comes_again_and_twice_in_all() -> None:
    met = list(in_passes(LESSONS, Random(1)))
    passes = [met[at : at + len(LESSONS)] for at in range(0, len(met), len(LESSONS))]
    assert len(passes) == PASSES == 2
    for pass_ in passes:
        assert {id(lesson) for lesson in pass_} == {id(lesson) for lesson in LESSONS}
    assert passes[0] != passes[1]


@pytest.mark.parametrize("lessons", [0, 1, 11, 12, 13, 24, 25, 40])
def test_there_are_as_many_steps_as_the_passes_fill(lessons: int) -> None:
    steps = steps_for(lessons, rows_per_step=24, most=80)
    assert 24 * (steps - 1) < PASSES * lessons <= 24 * steps
    assert steps_for(10_000, rows_per_step=24, most=80) == 80
