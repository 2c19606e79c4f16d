"""What every policy keeps, run on the embedded one and on a real vLLM server."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import llguidance
import llguidance.hf
import llguidance.torch
import pytest
import torch
from transformers import AutoModelForCausalLM

from learner.settings import TrainingSettings
from learner.synth.rows import generate_rows
from learner.trainer import train
from runtime.decision import Invalid, parse_decision
from runtime.errors import AdapterRejected, PolicyError, PromptTooLong, UnknownAdapter
from runtime.policy.base import Policy, SamplingParams
from runtime.policy.embedded import EmbeddedPolicy
from runtime.policy.vllm import VllmPolicy
from runtime.prompt import Prompt, Renderer
from tests.runtime.policies import STARTER, vllm_server
from tests.tiny_model import build_adapter

pytestmark = pytest.mark.timeout(400)

TOOL = {
    "type": "function",
    "function": {
        "name": "find_recipe",
        "description": "Find a recipe",
        "parameters": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
    },
}
OTHER = {
    "type": "function",
    "function": {
        "name": "order_cab",
        "parameters": {"type": "object", "properties": {"street": {"type": "string"}, "seats": {"type": "integer"}}},
    },
}
GREEDY = SamplingParams(max_tokens=40)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer.load(STARTER)


@pytest.fixture(scope="module")
def prompt(renderer: Renderer) -> Prompt:
    return renderer.render([{"role": "user", "content": "find recipe called lemon soup"}], [TOOL])


@pytest.fixture(scope="module")
def vllm_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with vllm_server(tmp_path_factory.mktemp("vllm") / "server.log") as url:
        yield url


@pytest.fixture(params=["embedded", "vllm"])
async def policy(request: pytest.FixtureRequest) -> AsyncIterator[Policy]:
    made: Policy
    if request.param == "embedded":
        made = EmbeddedPolicy.load(STARTER)
    else:
        made = await asyncio.to_thread(VllmPolicy.load, request.getfixturevalue("vllm_url"), base=STARTER)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Path:
    """An adapter out of real GRPO steps, at a rate that moves it far."""
    report = train(
        list(generate_rows(8, "train", 32)),
        model=STARTER,
        renderer=renderer,
        out_dir=tmp_path_factory.mktemp("learned") / "adapter",
        settings=TrainingSettings(strength=1.0, imitation_steps=0, max_steps=2, prompts_per_step=4, learning_rate=2e-2),
    )
    assert report.adapter_dir is not None
    return report.adapter_dir


def new_name() -> str:
    return f"test-{uuid4().hex[:8]}"


async def test_greedy_writes_what_transformers_writes(policy: Policy, prompt: Prompt, renderer: Renderer) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(STARTER, dtype=torch.float32)
    ids = torch.tensor([prompt.token_ids])
    expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)[
        0, ids.shape[1] :
    ]
    completion = await policy.sample(prompt.token_ids, GREEDY)
    assert list(completion.token_ids) == expected.tolist()
    assert completion.text == renderer.decode(completion.token_ids)
    assert completion.finish_reason == "stop"


async def test_logprobs_are_those_of_the_tokens_that_were_sampled(policy: Policy, prompt: Prompt) -> None:
    completion = await policy.sample(prompt.token_ids, SamplingParams(max_tokens=40, temperature=1.0, seed=3))
    assert len(completion.token_ids) == len(completion.logprobs)
    scored = await policy.score(prompt.token_ids, completion.token_ids)
    assert completion.logprobs == pytest.approx(scored, abs=5e-3)


async def test_a_seed_gives_the_same_completion_again(policy: Policy, prompt: Prompt) -> None:
    params = SamplingParams(max_tokens=40, temperature=1.0, seed=11)
    first, *others = await asyncio.gather(*(policy.sample(prompt.token_ids, params) for _ in range(4)))
    assert {other.token_ids for other in others} == {first.token_ids}


async def test_under_a_grammar_nothing_else_is_written_and_logprobs_are_among_what_it_allowed(
    policy: Policy, prompt: Prompt, renderer: Renderer
) -> None:
    # not of the tool that the prompt shows, so that it rules out what the policy would write
    grammar = renderer.grammar([OTHER])
    assert grammar is not None

    def params(seed: int) -> SamplingParams:
        return SamplingParams(max_tokens=60, temperature=1.5, seed=seed, grammar=grammar)

    completions = await asyncio.gather(*(policy.sample(prompt.token_ids, params(seed)) for seed in range(12)))
    ended = [completion for completion in completions if completion.finish_reason == "stop"]
    assert len(ended) >= 4, "a model this hot writes nonsense, but mostly comes to an end"
    for completion in ended:
        decision = parse_decision(completion.text, ["order_cab"])
        assert not isinstance(decision, Invalid), completion.text
        expected = masked_logprobs(prompt, completion.token_ids, grammar, renderer)
        assert completion.logprobs == pytest.approx(expected, abs=5e-3)
    told = [await policy.score(prompt.token_ids, completion.token_ids) for completion in ended]
    gains = [sum(c.logprobs) - sum(before) for c, before in zip(ended, told, strict=True)]
    assert max(gains) > 1, "among fewer tokens each is likelier"


def masked_logprobs(prompt: Prompt, token_ids: Sequence[int], grammar: str, renderer: Renderer) -> list[float]:
    """By transformers and llguidance alone."""
    model: Any = AutoModelForCausalLM.from_pretrained(STARTER, dtype=torch.float32)
    with torch.inference_mode():
        logits_TV = model(torch.tensor([[*prompt.token_ids, *token_ids]])).logits[0, len(prompt.token_ids) - 1 : -1]
    width = logits_TV.shape[1]
    tokenizer = llguidance.hf.from_tokenizer(renderer.tokenizer, n_vocab=width)
    matcher, bits = llguidance.LLMatcher(tokenizer, grammar), llguidance.torch.allocate_token_bitmask(1, width)
    found = []
    for logits_V, token in zip(logits_TV, token_ids, strict=True):
        llguidance.torch.fill_next_token_bitmask(matcher, bits)
        llguidance.torch.apply_token_bitmask_inplace(logits_V, bits[0])
        found.append(float(torch.log_softmax(logits_V, dim=-1)[token]))
        matcher.consume_token(token)
    return found


async def test_a_grammar_that_is_none_is_refused(policy: Policy, prompt: Prompt) -> None:
    with pytest.raises(PolicyError):
        await policy.sample(prompt.token_ids, SamplingParams(grammar="start: ("))


async def test_an_adapter_under_a_new_name_changes_the_answer_and_leaves_the_base(
    policy: Policy, prompt: Prompt, tmp_path: Path
) -> None:
    base = await policy.sample(prompt.token_ids, GREEDY)
    first, second = new_name(), new_name()
    await policy.load_adapter(first, build_adapter(tmp_path / "first", STARTER, seed=1))
    await policy.load_adapter(second, build_adapter(tmp_path / "second", STARTER, seed=2))
    names = (None, first, second, None)
    answers = await asyncio.gather(*(policy.sample(prompt.token_ids, GREEDY, adapter=name) for name in names))
    assert answers[0].token_ids == answers[3].token_ids == base.token_ids
    assert len({answer.token_ids for answer in answers}) == 3
    assert [answer.adapter for answer in answers] == list(names)
    assert {first, second} <= await policy.adapters()
    await policy.unload_adapter(first)
    assert first not in await policy.adapters()


async def test_what_learning_made_is_served_under_a_new_name_and_changes_answers(
    policy: Policy, renderer: Renderer, learned: Path
) -> None:
    rendered = [renderer.render(row.prompt, row.tools).token_ids for row in generate_rows(9, "eval", 24)]
    prompts = [ids for ids in rendered if len(ids) + GREEDY.max_tokens <= policy.context_length][:12]
    name = new_name()
    before = await asyncio.gather(*(policy.sample(p, GREEDY) for p in prompts))
    await policy.load_adapter(name, learned)
    after = await asyncio.gather(*(policy.sample(p, GREEDY, adapter=name) for p in prompts))
    assert {answer.adapter for answer in after} == {name}
    assert [a.token_ids for a in after] != [b.token_ids for b in before]
    again = await asyncio.gather(*(policy.sample(p, GREEDY) for p in prompts))
    assert [a.token_ids for a in again] == [b.token_ids for b in before]


async def test_an_adapter_that_is_not_resident_is_named(policy: Policy, prompt: Prompt) -> None:
    with pytest.raises(UnknownAdapter, match="no-such-adapter"):
        await policy.sample(prompt.token_ids, GREEDY, adapter="no-such-adapter")


async def test_a_corrupt_adapter_is_refused_and_nothing_stays(policy: Policy, prompt: Prompt, tmp_path: Path) -> None:
    whole = build_adapter(tmp_path / "whole", STARTER)
    cut = tmp_path / "cut"
    shutil.copytree(whole, cut)
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    name = new_name()
    with pytest.raises(AdapterRejected):
        await policy.load_adapter(name, cut)
    assert name not in await policy.adapters()
    assert (await policy.sample(prompt.token_ids, GREEDY)).text


async def test_many_requests_at_once_each_get_their_own_answer(policy: Policy, renderer: Renderer) -> None:
    words = ["apple", "bread", "cheese", "lemon", "salad", "pasta", "pizza", "rice"] * 2
    prompts = [renderer.render([{"role": "user", "content": f"find recipe called {w}"}], [TOOL]) for w in words]
    together = await asyncio.gather(*(policy.sample(p.token_ids, GREEDY) for p in prompts))
    alone = [await policy.sample(p.token_ids, GREEDY) for p in prompts[:4]]
    assert [c.text for c in together[:4]] == [c.text for c in alone]


async def test_a_prompt_without_room_is_refused(policy: Policy) -> None:
    with pytest.raises(PromptTooLong):
        await policy.sample([300] * 4000, GREEDY)
