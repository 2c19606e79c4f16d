"""What the policy in process does beyond the contract: batching, residency, faults."""

import asyncio
import json
import random
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GPT2Config, Qwen2Config, Qwen2ForCausalLM

from runtime.errors import AdapterRejected, PolicyError, PolicyUnavailable, PromptTooLong, UnknownAdapter, UnknownModel
from runtime.policy.adapter_files import read_adapter
from runtime.policy.base import SamplingParams
from runtime.policy.embedded import EmbeddedPolicy
from tests.runtime.thread_builder import START
from tests.tiny_model import CONTEXT_LENGTH, build_adapter

GREEDY = SamplingParams(max_tokens=24)
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture
async def policy(tiny_model: Path) -> AsyncIterator[EmbeddedPolicy]:
    made = EmbeddedPolicy.load(tiny_model, max_adapters=2)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [build_adapter(folder / str(seed), tiny_model, seed=seed) for seed in range(3)]


def prompts(count: int) -> list[list[int]]:
    generator = random.Random(0)
    return [[generator.randrange(5, 400) for _ in range(generator.randrange(3, 90))] for _ in range(count)]


def expected(model: Any, prompt: list[int]) -> tuple[int, ...]:
    ids = torch.tensor([prompt])
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
    return tuple(written[0, len(prompt) :].tolist())


async def test_requests_that_come_and_go_between_steps_get_what_they_would_get_alone(
    policy: EmbeddedPolicy, tiny_model: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    asked = prompts(60)
    running: list[asyncio.Task[Any]] = []
    for index, prompt in enumerate(asked):
        running.append(asyncio.create_task(policy.sample(prompt, GREEDY)))
        if index % 7 == 0:  # lets some run ahead, so that later ones join a batch under way
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    answers = await asyncio.gather(*running)
    assert [answer.token_ids for answer in answers] == [expected(model, prompt) for prompt in asked]


KINDS = {
    "absolute positions": GPT2Config(vocab_size=402, n_positions=256, n_embd=64, n_layer=2, n_head=2),
    "sliding windows": Qwen2Config(
        vocab_size=402,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        use_sliding_window=True,
        sliding_window=16,
        max_window_layers=1,
    ),
    "shared keys, a head of its own": Qwen2Config(
        vocab_size=402,
        hidden_size=72,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=256,
        rms_norm_eps=1e-2,
        tie_word_embeddings=False,
    ),
}


def build(kind: str) -> Any:
    """A model of random weights, among them its norms' and biases'."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(KINDS[kind]).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8) if weight.dim() == 2 else weight.add_(torch.randn_like(weight) * 0.2)
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = 2
    return model


@pytest.mark.parametrize("kind", KINDS)
async def test_models_of_other_kinds_are_batched_as_truly(kind: str, tiny_model: Path) -> None:
    model = build(kind)
    asked = prompts(12)
    alone = [expected(model, prompt) for prompt in asked]
    policy = EmbeddedPolicy(model, AutoTokenizer.from_pretrained(tiny_model), name=kind)
    running = []
    for prompt in asked:
        running.append(asyncio.create_task(policy.sample(prompt, GREEDY)))
        await policy.score([5], [6])  # answered between rounds: so the next one comes to a batch under way
    assert [answer.token_ids for answer in await asyncio.gather(*running)] == alone
    await policy.close()


async def test_adapters_and_base_mixed_at_once_each_answer_as_peft_alone_does(
    policy: EmbeddedPolicy, tiny_model: Path, adapters: list[Path]
) -> None:
    from peft import PeftModel

    await policy.load_adapter("one", adapters[0])
    await policy.load_adapter("two", adapters[1])
    models: dict[str | None, Any] = {None: AutoModelForCausalLM.from_pretrained(tiny_model)}
    for name, path in (("one", adapters[0]), ("two", adapters[1])):
        models[name] = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(path))
    asked = [(prompt, [None, "one", "two"][index % 3]) for index, prompt in enumerate(prompts(18))]
    answers = await asyncio.gather(*(policy.sample(prompt, GREEDY, adapter=name) for prompt, name in asked))
    assert [answer.token_ids for answer in answers] == [expected(models[name], prompt) for prompt, name in asked]


async def test_a_seed_gives_the_same_alone_and_among_others(policy: EmbeddedPolicy) -> None:
    params = SamplingParams(max_tokens=24, temperature=1.0, top_p=0.95, seed=4)
    prompt, *others = prompts(12)
    alone = await policy.sample(prompt, params)
    free = SamplingParams(max_tokens=12, temperature=1.3)
    together, *_ = await asyncio.gather(policy.sample(prompt, params), *(policy.sample(p, free) for p in others))
    assert together.token_ids == alone.token_ids
    assert (await policy.sample(prompt, SamplingParams(24, 1.0, 0.95, seed=5))).token_ids != alone.token_ids


async def test_logprobs_are_at_temperature_one_whatever_was_sampled_with(policy: EmbeddedPolicy) -> None:
    prompt = prompts(1)[0]
    completion = await policy.sample(prompt, SamplingParams(max_tokens=40, temperature=1.8, top_p=0.7, seed=2))
    assert completion.logprobs == pytest.approx(await policy.score(prompt, completion.token_ids), abs=1e-4)


async def test_the_smallest_nucleus_is_greedy(policy: EmbeddedPolicy) -> None:
    prompt = prompts(1)[0]
    narrow = await policy.sample(prompt, SamplingParams(max_tokens=24, temperature=1.0, top_p=1e-6, seed=1))
    assert narrow.token_ids == (await policy.sample(prompt, GREEDY)).token_ids


async def test_the_end_of_turn_token_ends_an_answer_and_is_not_in_its_text(policy: EmbeddedPolicy) -> None:
    wild = [SamplingParams(max_tokens=400, temperature=3.0, seed=seed) for seed in range(8)]
    answers = await asyncio.gather(*(policy.sample([5, 6, 7], params) for params in wild))
    ended = [answer for answer in answers if answer.finish_reason == "stop"]
    assert ended
    for answer in ended:
        assert answer.token_ids.index(2) == len(answer.token_ids) - 1
        assert "<|im_end|>" not in answer.text


async def test_the_context_bounds_the_answer_and_the_prompt(policy: EmbeddedPolicy) -> None:
    completion = await policy.sample([9] * (CONTEXT_LENGTH - 3), SamplingParams(max_tokens=50))
    assert len(completion.token_ids) == 3
    assert completion.finish_reason == "length"
    with pytest.raises(PromptTooLong, match="2048"):
        await policy.sample([9] * CONTEXT_LENGTH, GREEDY)
    with pytest.raises(PromptTooLong):
        await policy.score([9] * CONTEXT_LENGTH, [9])


@pytest.mark.parametrize("tokens", [[], [5, 100_000], [-1]])
async def test_tokens_that_the_model_does_not_know_are_refused(policy: EmbeddedPolicy, tokens: list[int]) -> None:
    with pytest.raises(PolicyError):
        await policy.sample(tokens, GREEDY)
    assert (await policy.sample([5], GREEDY)).token_ids


async def test_a_cancelled_request_harms_no_other(policy: EmbeddedPolicy) -> None:
    long = SamplingParams(max_tokens=1500, temperature=1.0, seed=1)
    cancelled = [asyncio.create_task(policy.sample([5, 6], long)) for _ in range(3)]
    other = asyncio.create_task(policy.sample([7, 8, 9], GREEDY))
    await policy.score([5], [6])  # answered between rounds: the requests have been taken in
    for task in cancelled:
        task.cancel()
    assert (await other).token_ids == (await policy.sample([7, 8, 9], GREEDY)).token_ids
    assert all(
        isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*cancelled, return_exceptions=True)
    )


async def test_scoring_without_pause_does_not_hold_up_a_running_request(policy: EmbeddedPolicy) -> None:
    running = asyncio.create_task(policy.sample([5, 6, 7], GREEDY))
    scored = 0
    while not running.done():
        await policy.score([5], [6])
        scored += 1
        assert scored <= 2 * GREEDY.max_tokens


async def test_an_adapter_leaves_when_the_requests_that_use_it_are_done(
    policy: EmbeddedPolicy, adapters: list[Path]
) -> None:
    await policy.load_adapter("one", adapters[0])
    alone = await policy.sample([5, 6, 7], GREEDY, adapter="one")
    running = asyncio.create_task(policy.sample([5, 6, 7], GREEDY, adapter="one"))
    await asyncio.sleep(0)
    await asyncio.gather(policy.unload_adapter("one"), policy.unload_adapter("one"))
    assert (await running).token_ids == alone.token_ids
    with pytest.raises(UnknownAdapter, match="one"):
        await policy.sample([5], GREEDY, adapter="one")
    with pytest.raises(UnknownAdapter):
        await policy.score([5], [6], adapter="one")
    assert await policy.adapters() == frozenset()


async def test_an_adapter_that_is_leaving_takes_no_new_requests(policy: EmbeddedPolicy, adapters: list[Path]) -> None:
    await policy.load_adapter("one", adapters[0])
    long = SamplingParams(max_tokens=1500, temperature=1.0, seed=1)
    running = asyncio.create_task(policy.sample([5, 6], long, adapter="one"))
    await asyncio.sleep(0)
    leaving = asyncio.create_task(policy.unload_adapter("one"))
    await asyncio.sleep(0)
    with pytest.raises(UnknownAdapter):
        await policy.sample([7], GREEDY, adapter="one")
    assert not running.done()
    running.cancel()
    await leaving


async def test_there_is_room_for_so_many_adapters_and_no_more(policy: EmbeddedPolicy, adapters: list[Path]) -> None:
    await policy.load_adapter("one", adapters[0])
    await policy.load_adapter("two", adapters[1])
    with pytest.raises(PolicyUnavailable, match="unload one"):
        await policy.load_adapter("three", adapters[2])
    await policy.unload_adapter("one")
    await policy.load_adapter("three", adapters[2])
    assert await policy.adapters() == {"two", "three"}


async def test_a_name_never_stands_for_other_weights(policy: EmbeddedPolicy, adapters: list[Path]) -> None:
    await policy.load_adapter("one", adapters[0])
    await policy.unload_adapter("one")
    with pytest.raises(AdapterRejected, match="never reused"):
        await policy.load_adapter("one", adapters[1])
    await policy.load_adapter("one", adapters[0])


def _cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def _append(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + bytes(8))


def _lose_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def _lose_config(folder: Path) -> None:
    (folder / CONFIG).unlink()


def _break_config(folder: Path) -> None:
    (folder / CONFIG).write_text("{")


def _poison(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-4:] = b"\x00\x00\xc0\x7f"  # a float32 NaN
    (folder / WEIGHTS).write_bytes(data)


def _misstate_rank(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"r": 4}))


def _use_dora(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"use_dora": True}))


BREAKS: list[Callable[[Path], None]] = [
    _cut,
    _append,
    _lose_weights,
    _lose_config,
    _break_config,
    _poison,
    _misstate_rank,
    _use_dora,
]


@pytest.mark.parametrize("spoil", BREAKS)
async def test_a_broken_adapter_is_refused_and_the_base_is_as_before(
    policy: EmbeddedPolicy, adapters: list[Path], tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    before = await policy.sample([5, 6, 7], GREEDY)
    shutil.copytree(adapters[0], tmp_path / "broken")
    spoil(tmp_path / "broken")
    with pytest.raises(AdapterRejected, match="broken"):
        await policy.load_adapter("one", tmp_path / "broken")
    assert await policy.adapters() == frozenset()
    assert await policy.sample([5, 6, 7], GREEDY) == before
    await policy.load_adapter("one", adapters[0])


@pytest.mark.parametrize(
    "change", [{"intermediate_size": 64}, {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}]
)
async def test_an_adapter_of_another_base_is_refused(
    policy: EmbeddedPolicy, tiny_model: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    config: Any = AutoConfig.from_pretrained(tiny_model)
    for key, value in change.items():
        setattr(config, key, value)
    Qwen2ForCausalLM(config).save_pretrained(str(tmp_path / "other"))
    with pytest.raises(AdapterRejected, match="another base"):
        await policy.load_adapter("one", build_adapter(tmp_path / "foreign", tmp_path / "other"))
    assert await policy.adapters() == frozenset()


async def test_a_manifest_of_another_base_is_refused(
    policy: EmbeddedPolicy, adapters: list[Path], tmp_path: Path
) -> None:
    from runtime.policy.manifest import write_adapter

    manifest = write_adapter(
        tmp_path, adapters[0], version=1, base_model="other", base_sha256="0" * 64, created_at=START
    )
    with pytest.raises(AdapterRejected, match="made for base"):
        await policy.load_adapter(manifest.name, tmp_path / manifest.name)


def test_every_cut_of_the_weights_is_refused(adapters: list[Path], tmp_path: Path) -> None:
    shutil.copytree(adapters[0], tmp_path / "cut")
    whole = (adapters[0] / WEIGHTS).read_bytes()
    for length in [*range(0, 64), *range(64, len(whole), 997), len(whole) - 1]:
        (tmp_path / "cut" / WEIGHTS).write_bytes(whole[:length])
        with pytest.raises(AdapterRejected):
            read_adapter(tmp_path / "cut")


def test_a_model_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    for model in (tmp_path / "nothing", tmp_path):
        with pytest.raises(UnknownModel, match="give a folder"):
            EmbeddedPolicy.load(model)


def test_weights_that_cannot_be_read_are_named_with_the_remedy(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UnknownModel, match="cut"):
        EmbeddedPolicy.load(tmp_path / "cut")


def break_on_399(model: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Fails on prompts that hold a certain token, as a kernel or the memory may."""
    if bool((kwargs["input_ids"] == 399).any()):
        raise RuntimeError("out of memory")


async def test_a_model_that_fails_ends_the_request_and_not_the_policy(tiny_model: Path) -> None:
    model = build("absolute positions")
    model.register_forward_pre_hook(break_on_399, with_kwargs=True)
    policy = EmbeddedPolicy(model, AutoTokenizer.from_pretrained(tiny_model), name="gpt2")
    with pytest.raises(PolicyUnavailable, match="out of memory"):
        await policy.sample([5, 399], GREEDY)
    with pytest.raises(PolicyUnavailable, match="out of memory"):
        await policy.score([5], [399])
    assert (await policy.sample([5, 6], SamplingParams(max_tokens=1))).token_ids
    await policy.close()


async def test_an_adapter_whose_numbers_overflow_ends_its_requests_and_not_the_policy(
    policy: EmbeddedPolicy, tiny_model: Path, adapters: list[Path], tmp_path: Path
) -> None:
    await policy.load_adapter("wild", build_adapter(tmp_path / "wild", tiny_model, strength=1e30))
    await policy.load_adapter("tame", adapters[0])
    drawn = SamplingParams(max_tokens=24, temperature=1.0, seed=1)
    alone = await policy.sample([5, 6, 7], drawn, adapter="tame")
    asked = [policy.sample(prompt, drawn, adapter="wild") for prompt in prompts(3)]
    *failed, tame = await asyncio.gather(
        *asked, policy.sample([5, 6, 7], drawn, adapter="tame"), return_exceptions=True
    )
    assert [type(each) for each in failed] == [PolicyUnavailable] * 3
    assert tame == alone


async def test_closing_ends_what_is_unfinished_and_may_be_repeated(tiny_model: Path) -> None:
    policy = EmbeddedPolicy.load(tiny_model)
    long = SamplingParams(max_tokens=2000, temperature=1.0, seed=1)
    unfinished = asyncio.create_task(policy.sample([5, 6], long))
    await policy.score([5], [6])
    await policy.close()
    await policy.close()
    with pytest.raises(PolicyUnavailable, match="closed"):
        await unfinished
    with pytest.raises(PolicyUnavailable, match="closed"):
        await policy.sample([5], GREEDY)
