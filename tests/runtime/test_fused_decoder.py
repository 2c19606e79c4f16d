"""Small models decoded by hone's own arithmetic: what is kept of earlier prompts, and what that must not change."""

import mmap
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from runtime.policy.base import SamplingParams
from runtime.policy.embedded.constraint import Constraint
from runtime.policy.embedded.decoder import Decoder
from runtime.policy.embedded.fused import FusedDecoder, FusedModel, can_fuse
from runtime.policy.embedded.guesses import Guess, guess
from runtime.policy.embedded.padded import PaddedDecoder
from runtime.policy.embedded.rows import Row

STOP = frozenset({2})


class Counted(FusedModel):
    """Counts the tokens that it reads, and fails on a prompt that ends in 399, 7."""

    read_tokens = 0

    def read(self, ids_BT: torch.Tensor, *places_and_cache: Any, **wanted: Any) -> torch.Tensor:
        self.read_tokens += ids_BT.numel()
        if ids_BT.tolist()[0][-2:] == [399, 7]:
            raise RuntimeError("out of memory")
        return super().read(ids_BT, *places_and_cache, **wanted)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model).eval()


@pytest.fixture
def fused(model: Any) -> Iterator[Counted]:
    with torch.inference_mode():
        yield Counted(model, lambda layer: layer.weight)


def row(prompt: Sequence[int], limit: int = 12) -> Row:
    return Row(tuple(prompt), SamplingParams(max_tokens=limit), None, limit=limit)


def tokens(length: int, seed: int) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(5, 399) for _ in range(length)]


def finish(decoder: Decoder) -> None:
    while decoder.rows:
        decoder.step()


def alone(model: Any, prompt: Sequence[int], limit: int) -> list[int]:
    """What the model gives as transformers calls it."""
    asked = row(prompt, limit)
    decoder = PaddedDecoder(lambda: model, STOP)
    decoder.admit([asked])
    finish(decoder)
    return asked.token_ids


def test_what_a_prompt_shares_with_one_before_is_not_read_again(fused: Counted, model: Any) -> None:
    decoder = FusedDecoder(fused, STOP)
    tools = tokens(60, seed=0)
    first, second = row([*tools, *tokens(20, seed=1)], limit=1), row([*tools, *tokens(30, seed=2)], limit=1)
    decoder.admit([first])
    assert fused.read_tokens == 80
    decoder.admit([second])
    assert fused.read_tokens == 80 + 30
    assert second.token_ids == alone(model, second.prompt_ids, 1)
    again = row(first.prompt_ids, limit=1)
    decoder.admit([again])
    assert fused.read_tokens == 80 + 30 + 1  # the last token, which says what comes next
    assert again.token_ids == first.token_ids


def test_a_conversation_goes_on_from_where_it_was(fused: Counted, model: Any) -> None:
    decoder = FusedDecoder(fused, STOP)
    begun = row(tokens(40, seed=3))
    decoder.admit([begun])
    others = [row(tokens(50, seed=seed)) for seed in range(20, 40)]
    decoder.admit(others[:2])
    finish(decoder)
    before = fused.read_tokens
    longer = row([*begun.prompt_ids, *begun.token_ids[:-1], *tokens(9, seed=4)], limit=1)
    decoder.admit([longer])
    assert fused.read_tokens - before == 9
    assert longer.token_ids == alone(model, longer.prompt_ids, 1)


def test_rows_that_come_and_go_with_beginnings_in_common_get_what_they_would_get_alone(
    fused: Counted, model: Any
) -> None:
    generator = random.Random(5)
    roots = [tokens(generator.randrange(16, 300), seed=seed) for seed in range(4)]
    asked: list[Row] = []
    decoder = FusedDecoder(fused, STOP)
    for seed in range(60):
        root = generator.choice([*roots, *([*r.prompt_ids, *r.token_ids] for r in asked)])
        cut = generator.randrange(1, len(root) + 1)
        asked.append(row([*root[:cut], *tokens(generator.randrange(1, 20), seed)], generator.randrange(1, 30)))
        decoder.admit([asked[-1]])
        for _ in range(generator.randrange(6)):
            if decoder.rows:
                decoder.step()
    finish(decoder)
    assert [r.token_ids for r in asked] == [alone(model, r.prompt_ids, r.limit) for r in asked]


def test_a_prompt_that_cannot_be_read_leaves_the_others_as_they_were(fused: Counted, model: Any) -> None:
    decoder = FusedDecoder(fused, STOP)
    running, broken = row(tokens(30, seed=6)), row([*tokens(20, seed=7), 399, 7])
    decoder.admit([running])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            decoder.admit([broken])
    assert list(decoder.rows) == [running]
    after = row([*broken.prompt_ids[:20], 8])
    decoder.admit([after])
    finish(decoder)
    for r in (running, after):
        assert r.token_ids == alone(model, r.prompt_ids, r.limit)


def test_a_row_that_was_read_beside_one_that_could_not_be_leaves_with_it(fused: Counted) -> None:
    decoder = FusedDecoder(fused, STOP)
    read, broken = row([3, *tokens(20, seed=9)], limit=1), row([4, *tokens(20, seed=7), 399, 7])
    with pytest.raises(RuntimeError, match="out of memory"):
        decoder.admit([read, broken])
    for each in (read, broken):
        each.future.set_exception(RuntimeError("out of memory"))
    finish(decoder)
    assert list(decoder.rows) == []


def test_a_row_whose_numbers_overflow_spoils_no_other(tiny_model: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    with torch.inference_mode():
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())  # it is tied to the embedding
        model.get_input_embeddings().weight[400] = torch.inf
        decoder = FusedDecoder(FusedModel(model, lambda layer: layer.weight), STOP)
        spoilt = [row([*tokens(200, seed), 400, *tokens(40, seed + 50)], limit=3) for seed in range(60, 76)]
        decoder.admit(spoilt)  # more than there are slots at first, so that each is taken over
        finish(decoder)
        well = [row(tokens(length, seed=length), limit=8) for length in range(20, 340, 20)]
        decoder.admit(well)
        finish(decoder)
        assert [r.token_ids for r in well] == [alone(model, r.prompt_ids, 8) for r in well]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_guesses_right_or_wrong_change_neither_tokens_nor_logprobs(fused: Counted, temperature: float) -> None:
    def rows() -> list[Row]:
        params = SamplingParams(max_tokens=20, temperature=temperature, seed=3)
        return [Row(tuple(tokens(30 + seed, seed)), params, None, limit=20 + seed) for seed in range(6)]

    def decoded(guess: Guess) -> tuple[list[Row], int]:
        decoder, asked, steps = FusedDecoder(fused, STOP, guess=guess), rows(), 0
        decoder.admit(asked)
        while decoder.rows:
            decoder.step()
            steps += 1
        return asked, steps

    plain, plain_steps = decoded(lambda row, read, most: [])
    known = {row.prompt_ids: row.token_ids for row in plain}
    generator = random.Random(1)

    def often_right(row: Row, read: Any, most: int) -> list[int]:
        coming = known[row.prompt_ids][len(row.token_ids) :]
        coming = coming[: min(generator.randrange(6), row.limit - len(row.token_ids) - 1)]
        return [token if generator.random() < 0.8 else generator.randrange(5, 399) for token in coming]

    guessed, steps = decoded(often_right)
    assert [row.token_ids for row in guessed] == [row.token_ids for row in plain]
    for a, b in zip(guessed, plain, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    assert steps < 0.8 * plain_steps


def test_a_wrong_guess_whose_numbers_overflow_spoils_no_other(tiny_model: Path) -> None:
    def guess(row: Row, read: Any, most: int) -> list[int]:
        return [400, 400][:most]

    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    with torch.inference_mode():
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())  # it is tied to the embedding
        model.get_input_embeddings().weight[400] = torch.inf
        decoder = FusedDecoder(FusedModel(model, lambda layer: layer.weight), STOP, guess=guess)
        for first in (0, 10):
            asked = [row(tokens(20 + seed, seed), limit=12) for seed in range(first, first + 10)]
            decoder.admit(asked)
            finish(decoder)
            assert [r.token_ids for r in asked] == [alone(model, r.prompt_ids, 12) for r in asked]


def test_a_row_goes_to_the_end_of_the_context_beside_a_short_one(fused: Counted, model: Any) -> None:
    decoder = FusedDecoder(fused, STOP)
    room = fused.places
    long, short = row(tokens(room - 5, seed=1), limit=5), row(tokens(20, seed=2), limit=30)
    decoder.admit([long, short])
    finish(decoder)
    assert [long.token_ids, short.token_ids] == [alone(model, r.prompt_ids, r.limit) for r in (long, short)]


def test_a_guess_is_what_the_grammar_leaves_no_choice_about_else_what_followed_the_last_token_before() -> None:
    asked = row([5, 6, 7, 8, 6, 9], limit=4)
    asked.token_ids = [6]
    read = np.array(asked.prompt_ids)
    assert guess(asked, read, 6) == [9]  # two at most: one of the four is there, and one comes by itself
    asked.token_ids, asked.limit = [7, 6], 9
    assert guess(asked, np.array([*asked.prompt_ids, 7]), 3) == [9, 7]
    assert guess(asked, np.array([5, 7, 6, 8, 1, 6, 3, 7]), 1) == [8]  # after the same two rather than the latest one
    asked.token_ids = [77]
    assert guess(asked, read, 6) == []
    assert guess(asked, read, 0) == []
    asked.constraint = cast(Constraint, Forcing())
    assert guess(asked, read, 2) == [1, 2]


class Forcing:
    def forced(self) -> list[int]:
        return [1, 2, 3]


def test_little_stays_in_memory_at_rest(fused: Counted) -> None:
    decoder = FusedDecoder(fused, STOP, kept_at_rest=1)
    decoder.admit([row(tokens(30, seed=8))])
    finish(decoder)
    assert decoder._keys_LSGPD.numel() == 0
    decoder.admit([row(tokens(30, seed=8), limit=1)])
    assert fused.read_tokens >= 60


def test_room_for_long_answers_takes_no_memory_until_they_are_written(fused: Counted) -> None:
    decoder = FusedDecoder(fused, STOP, kept_at_rest=2**20)
    before = _resident()
    decoder.admit(
        [row(tokens(30, seed=seed), limit=200_000) for seed in range(3)] + [row(tokens(400, seed=9), limit=3)]
    )
    where, room = decoder._keys_LSGPD.data_ptr(), 2 * decoder._keys_LSGPD.nbytes
    assert room > 2**28
    for running in decoder.rows:
        running.limit = 20
    finish(decoder)
    assert _resident() - before < room / 8
    assert decoder._keys_LSGPD.data_ptr() == where, "three short rows and a longer one are little, so they stay"
    read = fused.read_tokens
    decoder.admit([row([*tokens(400, seed=9), 5], limit=1)])
    assert fused.read_tokens - read < 30, "what the longer one read is still known"


def _resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_large_models_and_those_in_other_numbers_are_left_to_transformers(model: Any) -> None:
    assert can_fuse(model)
    assert not can_fuse(AutoModelForCausalLM.from_config(model.config, dtype=torch.bfloat16))
    assert not can_fuse(model, most=1000)
