"""Sharing a prompt among rollouts changes the cost and nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from learner.few_tokens import FORBIDDEN, allow_few, logits_of_allowed
from learner.prefix_sharing import agrees, completion_logprobs, pack, sample
from runtime.policy.embedded.constraint import Constraint, Grammars, allowed_bits, unpacked
from tests.tiny_model import build_tiny_model

# PEFT asks transformers for a property under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

PROMPTS = [list(range(10, 40)), list(range(50, 57)), list(range(100, 150))]
COMPLETIONS = [[[5, 6, 7], [8], [9, 10, 11, 12]], [[13, 14], [15, 16, 17]], [[18]]]
PAD = 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _plain(model: Any, temperature: float = 1.0) -> torch.Tensor:
    found = []
    for prompt, completions in zip(PROMPTS, COMPLETIONS, strict=True):
        for completion in completions:
            logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
            logprobs = torch.log_softmax(logits / temperature, dim=-1)
            found.append(logprobs.gather(-1, torch.tensor(completion)[:, None])[:, 0])
    return torch.cat(found)


def test_logprobs_are_those_of_separate_sequences(model: Any) -> None:
    packed = pack(PROMPTS, COMPLETIONS, PAD)
    assert torch.allclose(completion_logprobs(model, packed)[0], _plain(model), atol=1e-3)
    warm, entropy = completion_logprobs(model, packed, temperature=1.7, entropy=True)
    assert torch.allclose(warm, _plain(model, 1.7), atol=1e-3)
    assert entropy is not None
    assert entropy.shape == warm.shape
    assert (entropy >= 0).all()


def test_gradients_are_those_of_separate_sequences(model: Any) -> None:
    policy = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    weights = [p for p in policy.parameters() if p.requires_grad]
    packed, _ = completion_logprobs(policy.get_base_model(), pack(PROMPTS, COMPLETIONS, PAD))
    shared = torch.autograd.grad(packed.mean(), weights)
    separate = torch.autograd.grad(_plain(policy).mean(), weights)
    for a, b in zip(shared, separate, strict=True):
        assert torch.allclose(a, b, atol=1e-4 * max(1.0, b.abs().max().item()))


def test_a_head_in_chunks_gives_the_same(model: Any) -> None:
    packed = pack(PROMPTS, COMPLETIONS, PAD)
    whole = completion_logprobs(model, packed, entropy=True)
    chunked = completion_logprobs(model, packed, entropy=True, max_logits=model.config.vocab_size * 4)
    assert whole[1] is not None
    assert chunked[1] is not None
    assert torch.allclose(whole[0], chunked[0])
    assert torch.allclose(whole[1], chunked[1])


def test_greedy_rollouts_are_what_the_model_generates(model: Any) -> None:
    stop = 50  # an id that comes up; a random model seldom writes its end of turn
    sampled = sample(model, PROMPTS, rollouts=3, max_tokens=24, temperature=0, stop_ids=[stop], pad_id=PAD)
    for prompt, group in zip(PROMPTS, sampled, strict=True):
        ids = torch.tensor([prompt])
        expected = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=24,
            eos_token_id=stop,
            pad_token_id=PAD,
        )[0, len(prompt) :].tolist()
        assert group == [expected] * 3


def test_rollouts_follow_the_models_distribution(model: Any) -> None:
    torch.manual_seed(0)
    (group,) = sample(model, PROMPTS[:1], rollouts=4000, max_tokens=1, temperature=20.0, stop_ids=[], pad_id=PAD)
    counts = torch.bincount(torch.tensor([c[0] for c in group]), minlength=model.config.vocab_size) / 4000
    with torch.no_grad():
        expected = torch.softmax(model(input_ids=torch.tensor(PROMPTS[:1])).logits[0, -1] / 20.0, dim=-1)
    assert (counts - expected).abs().sum() < 0.35  # total variation that 4,000 draws leave by chance


def test_rollouts_of_a_group_differ_and_stop_by_themselves(model: Any) -> None:
    torch.manual_seed(0)
    stops = list(range(0, model.config.vocab_size, 8))
    sampled = sample(model, PROMPTS, rollouts=8, max_tokens=30, temperature=30.0, stop_ids=stops, pad_id=PAD)
    lengths = {len(c) for group in sampled for c in group}
    assert len(lengths) > 3
    for group in sampled:
        assert len({tuple(c) for c in group}) > 1
        for completion in group:
            assert not set(completion[:-1]) & set(stops)
            assert completion[-1] in stops or len(completion) == 30


ONLY = "start: /[a-f]{1,6}/"


@pytest.fixture(scope="module")
def constraint(folder: Path) -> Constraint:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    grammars = Grammars(tokenizer, vocabulary=len(tokenizer), stop_ids=frozenset({tokenizer.eos_token_id}))
    return grammars.start(ONLY)


@pytest.mark.parametrize("few", [0, 8, 10_000])
def test_constrained_rollouts_keep_to_their_grammar_and_are_drawn_among_what_it_allows(
    model: Any, folder: Path, constraint: Constraint, few: int
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    sampled = sample(
        model,
        PROMPTS,
        rollouts=16,
        max_tokens=12,
        temperature=1.0,
        stop_ids=[tokenizer.eos_token_id],
        pad_id=PAD,
        constraints_B=[constraint] * len(PROMPTS),
        few=few,
    )
    rollouts = [rollout for group in sampled for rollout in group]
    assert len({tuple(rollout) for rollout in rollouts}) > 8
    for rollout in rollouts:
        assert re.fullmatch("[a-f]{1,6}", tokenizer.decode(rollout, skip_special_tokens=True))
        assert constraint.walk(rollout) is not None


def test_constrained_logprobs_are_those_among_the_allowed_tokens(
    model: Any, folder: Path, constraint: Constraint
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    completion = [*tokenizer.encode("abf", add_special_tokens=False), tokenizer.eos_token_id]
    allowed_NW = constraint.walk(completion)
    assert allowed_NW is not None
    packed = pack(PROMPTS[:1], [[completion]], PAD)
    got, entropy = completion_logprobs(model, packed, entropy=True, allowed_NW=allowed_NW)
    logits = model(input_ids=torch.tensor([PROMPTS[0] + completion])).logits[0, len(PROMPTS[0]) - 1 : -1]
    masked = logits.masked_fill(~unpacked(allowed_NW, logits.shape[-1]), -torch.inf)
    expected = torch.log_softmax(masked, dim=-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]
    assert torch.allclose(got, expected, atol=1e-3)
    assert entropy is not None
    assert entropy.isfinite().all()
    chunked, _ = completion_logprobs(model, packed, allowed_NW=allowed_NW, max_logits=logits.shape[-1])
    assert torch.allclose(got, chunked)


@pytest.mark.parametrize("few", [0, 10_000])
def test_constrained_rollouts_follow_the_models_distribution_among_what_is_allowed(
    model: Any, constraint: Constraint, few: int
) -> None:
    torch.manual_seed(0)
    (group,) = sample(
        model,
        PROMPTS[:1],
        rollouts=2000,
        max_tokens=1,
        temperature=20.0,
        stop_ids=[],
        pad_id=PAD,
        constraints_B=[constraint],
        few=few,
    )
    counts = torch.bincount(torch.tensor([c[0] for c in group]), minlength=model.config.vocab_size) / 2000
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(PROMPTS[:1])).logits[0, -1] / 20.0
    is_allowed = unpacked(allowed_bits([constraint]), model.config.vocab_size)[0]
    expected = torch.softmax(logits.masked_fill(~is_allowed, -torch.inf), dim=-1)
    assert (counts - expected).abs().sum() < 0.1


def test_logits_that_are_no_numbers_end_the_sampling(model: Any) -> None:
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(torch.nan)
    with pytest.raises(RuntimeError, match="not finite"):
        sample(model, PROMPTS, rollouts=2, max_tokens=2, temperature=1.0, stop_ids=[], pad_id=PAD)


def test_logits_of_the_few_allowed_tokens_are_those_of_the_whole_head(model: Any, constraint: Constraint) -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(8, constraint.vocabulary)
    hidden_FH, bits_FW = torch.randn(2, 8), allowed_bits([constraint, constraint])
    bits_FW[1] = 0
    bits_FW[1, 0] = 0b1010_0000  # tokens 5 and 7
    logits_FK, ids_FK = logits_of_allowed(head, hidden_FH, bits_FW)
    whole_FV = head(hidden_FH)
    for place, line in enumerate(unpacked(bits_FW, constraint.vocabulary)):
        allowed = line.nonzero()[:, 0]
        assert ids_FK[place, : len(allowed)].tolist() == allowed.tolist()
        assert torch.allclose(logits_FK[place, : len(allowed)], whole_FV[place, allowed], atol=1e-5)
        assert (logits_FK[place, len(allowed) :] == FORBIDDEN).all()
    assert allow_few(bits_FW).tolist() == [True, True]
    bits_FW[0] = -1
    assert allow_few(bits_FW).tolist() == [False, True]


@pytest.mark.parametrize("few", [0, 10_000])
def test_constrained_logprobs_and_gradients_are_the_same_with_few_logits_and_with_all(
    model: Any, folder: Path, constraint: Constraint, few: int
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    policy = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    weights = [p for p in policy.parameters() if p.requires_grad]
    completions = [[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in ("abf", "e")]
    walked = [constraint.walk(completion) for completion in completions]
    packed = pack(PROMPTS[:1], [completions], PAD)

    def measured(most: int) -> tuple[torch.Tensor, ...]:
        logprobs, entropy = completion_logprobs(
            policy.get_base_model(),
            packed,
            temperature=1.3,
            entropy=True,
            allowed_NW=torch.cat([bits for bits in walked if bits is not None]),
            few=most,
        )
        assert entropy is not None
        return logprobs, entropy, *torch.autograd.grad(logprobs.mean(), weights)

    for got, expected in zip(measured(few), measured(8), strict=True):
        assert torch.allclose(got, expected, atol=1e-4)


def test_a_completion_that_the_grammar_does_not_allow_has_no_way_through_it(
    folder: Path, constraint: Constraint
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert constraint.walk(tokenizer.encode("abx", add_special_tokens=False)) is None
    assert constraint.walk([tokenizer.eos_token_id]) is None


def test_a_model_that_sees_positions_in_its_own_way_is_found_out(model: Any) -> None:
    assert agrees(model, PROMPTS[2], PAD)
    windowed = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=256,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            initializer_range=0.5,
            use_sliding_window=True,
            sliding_window=4,
            max_window_layers=0,
        )
    ).eval()
    assert not agrees(windowed, PROMPTS[2], PAD)
