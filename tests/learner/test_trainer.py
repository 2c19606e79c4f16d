"""A few real steps, of imitation and of GRPO, on a tiny model: they change the adapter, and what they leave can be served."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM
from trl.trainer.grpo_trainer import GRPOTrainer

from learner.demonstration import demonstrate
from learner.errors import BadRows, TrainingFailed, TrainingStopped
from learner.grpo import SharingTrainer, configure
from learner.rows import Row
from learner.settings import TrainingSettings
from learner.trainer import _policy, _quiet, rule_reward, train
from learner.training_report import TrainingReport
from runtime.policy.base import SamplingParams
from runtime.policy.embedded import EmbeddedPolicy
from runtime.prompt import Renderer
from tests.learner.case_rows import mixed_rows, row
from tests.tiny_model import build_tiny_model

# PEFT asks transformers for a property under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

SETTINGS = TrainingSettings(
    strength=1.0,
    imitation_steps=0,
    max_steps=3,
    prompts_per_step=2,
    rollouts_per_prompt=4,
    learning_rate=0.02,
    rank=4,
    max_completion_tokens=10,
    max_prompt_tokens=1500,
    probes=2,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def renderer(base: Path) -> Renderer:
    return Renderer.load(base)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return mixed_rows(6)


def likes_letters(text: str, of: Row) -> float:
    """A reward that a random model can raise: the share of lower-case letters."""
    return sum(c.islower() for c in text) / max(1, len(text))


@pytest.fixture(scope="module")
def trained(
    base: Path, renderer: Renderer, rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> TrainingReport:
    folder = tmp_path_factory.mktemp("run") / "adapter"
    return train(rows, model=base, renderer=renderer, out_dir=folder, settings=SETTINGS, reward=likes_letters)


def test_training_changes_the_adapter_and_says_what_it_did(trained: TrainingReport) -> None:
    assert trained.adapter_dir is not None
    assert {p.name for p in trained.adapter_dir.iterdir()} == {"adapter_model.safetensors", "adapter_config.json"}
    weights = load_file(trained.adapter_dir / "adapter_model.safetensors")
    assert any("lora_B" in name and tensor.abs().max() > 0 for name, tensor in weights.items())  # zero when untouched
    assert trained.steps == len(trained.rewards) == 3
    assert trained.groups_total == 6
    assert trained.drift > 0
    assert trained.shared_prompts
    assert not trained.no_signal
    assert not list(trained.adapter_dir.parent.glob(".*"))


async def test_what_was_trained_is_what_serves(
    base: Path, renderer: Renderer, rows: list[Row], trained: TrainingReport
) -> None:
    assert trained.adapter_dir is not None
    policy = EmbeddedPolicy.load(base, threads=1)
    try:
        await policy.load_adapter("candidate", trained.adapter_dir)
        for probe in trained.probes:
            served = await policy.score(probe.prompt_ids, probe.completion_ids, adapter="candidate")
            assert served == pytest.approx(probe.logprobs, abs=1e-3)
            assert await policy.score(probe.prompt_ids, probe.completion_ids) != pytest.approx(probe.logprobs, abs=1e-3)
        prompt = renderer.render(rows[0].prompt, rows[0].tools).token_ids
        completion = await policy.sample(prompt, SamplingParams(max_tokens=4), adapter="candidate")
        assert completion.adapter == "candidate"
    finally:
        await policy.close()


def test_training_goes_on_from_a_parent(
    base: Path, renderer: Renderer, rows: list[Row], trained: TrainingReport, tmp_path: Path
) -> None:
    assert trained.adapter_dir is not None
    settings = SETTINGS.model_copy(update={"max_steps": 1, "learning_rate": 1e-9, "rank": 8, "kl_beta": 0.01})
    report = train(
        rows,
        model=base,
        renderer=renderer,
        out_dir=tmp_path / "next",
        parent=trained.adapter_dir,
        settings=settings,
        reward=likes_letters,
    )
    assert report.adapter_dir is not None
    assert {p.name for p in report.adapter_dir.iterdir()} == {"adapter_model.safetensors", "adapter_config.json"}
    before, after = (load_file(d / "adapter_model.safetensors") for d in (trained.adapter_dir, report.adapter_dir))
    assert before.keys() == after.keys()
    assert all((before[name] - after[name]).abs().max() < 1e-6 for name in before)
    assert json.loads((report.adapter_dir / "adapter_config.json").read_text())["r"] == 4
    assert report.parent == str(trained.adapter_dir)
    assert report.kl == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("has_parent", [False, True])
def test_an_adapter_goes_a_part_of_the_way_that_the_run_went(
    base: Path, renderer: Renderer, rows: list[Row], trained: TrainingReport, tmp_path: Path, has_parent: bool
) -> None:
    parent = trained.adapter_dir if has_parent else None
    whole, half = (
        train(
            rows,
            model=base,
            renderer=renderer,
            out_dir=tmp_path / f"{strength}",
            parent=parent,
            settings=SETTINGS.model_copy(update={"max_steps": 1, "strength": strength}),
            reward=likes_letters,
        ).adapter_dir
        for strength in (1.0, 0.5)
    )
    assert whole is not None
    assert half is not None
    ended, kept = (load_file(folder / "adapter_model.safetensors") for folder in (whole, half))
    began = load_file(parent / "adapter_model.safetensors") if parent else {}
    for name, weight in ended.items():
        start = began.get(name, torch.zeros_like(weight)) if "lora_B" in name else weight
        assert torch.allclose(kept[name], (start + weight) / 2, atol=1e-4)
    assert any((ended[name] - kept[name]).abs().max() > 1e-3 for name in ended)


def test_equal_rewards_are_reported_and_leave_nothing(
    base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path
) -> None:
    out = tmp_path / "adapter"
    noise = iter([0.0, 1.5e-8] * 100)
    report = train(
        rows, model=base, renderer=renderer, out_dir=out, settings=SETTINGS, reward=lambda text, of: 0.3 + next(noise)
    )
    assert report.no_signal
    assert report.adapter_dir is None
    assert report.groups_equal == report.groups_total == 6
    assert report.batches_without_signal == 3
    assert report.drift == pytest.approx(0.0, abs=1e-5)
    assert list(tmp_path.iterdir()) == []


def test_a_group_without_a_signal_is_counted_beside_others(
    base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path
) -> None:
    flat = rows[0].extra_info["id"]
    report = train(
        rows[:2],
        model=base,
        renderer=renderer,
        out_dir=tmp_path / "adapter",
        settings=SETTINGS,
        reward=lambda text, of: 0.5 if of.extra_info["id"] == flat else likes_letters(text, of),
    )
    assert report.groups_equal >= 3
    assert report.groups_total == 6
    assert report.batches_without_signal < 3
    assert report.adapter_dir is not None


def test_a_group_that_never_finds_the_right_decision_learns_it_from_the_verified_one(
    base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"max_steps": 12, "max_completion_tokens": 96})
    report = train(rows[:2], model=base, renderer=renderer, out_dir=tmp_path / "a", settings=settings)
    assert report.groups_demonstrated > 0
    assert report.adapter_dir is not None
    assert max(report.rewards) < 0.5, "a random model is right by itself: the test shows nothing"
    text = demonstrate(rows[0])
    assert text is not None
    assert (
        _logprob(base, report.adapter_dir, renderer, rows[0], text) > _logprob(base, None, renderer, rows[0], text) + 5
    )


IMITATION = SETTINGS.model_copy(
    update={
        "imitation_steps": 50,
        "imitation_rows": 1,
        "imitation_rate": 0.02,
        "max_steps": 1,
        "learning_rate": 1e-9,
        "max_completion_tokens": 96,
        "demonstrate": False,
    }
)


def test_what_was_verified_is_imitated_before_the_first_rollout_at_most_twice(
    base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    report = train(
        rows[:2],
        model=base,
        renderer=renderer,
        out_dir=tmp_path / "a",
        settings=IMITATION,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert not report.no_signal
    assert (report.imitated, len(report.imitation_losses), report.steps) == (2, 4, 1)
    assert seen == [(step, 5) for step in range(1, 6)]
    assert report.adapter_dir is not None
    for of in rows[:2]:
        text = demonstrate(of)
        assert text is not None
        assert _logprob(base, report.adapter_dir, renderer, of, text) > _logprob(base, None, renderer, of, text) + 5


def test_what_the_reward_does_not_hold_right_is_not_imitated(
    base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path
) -> None:
    report = train(
        rows[:2],
        model=base,
        renderer=renderer,
        out_dir=tmp_path / "a",
        settings=IMITATION,
        reward=lambda text, of: 0.5,
    )
    assert (report.imitated, report.imitation_losses, report.no_signal) == (0, (), True)


def test_without_demonstrations_the_same_groups_teach_nothing(
    base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"demonstrate": False})
    report = train(rows[:2], model=base, renderer=renderer, out_dir=tmp_path / "a", settings=settings)
    assert report.no_signal
    assert report.groups_demonstrated == 0


def _logprob(base: Path, adapter: Path | None, renderer: Renderer, of: Row, text: str) -> float:
    """Of the whole text as the completion of a row's prompt, in nats."""
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    model = model if adapter is None else PeftModel.from_pretrained(model, str(adapter))
    prompt = renderer.render(of.prompt, of.tools).token_ids
    tokens = renderer.tokenizer(text=text, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[*prompt, *tokens]])
    with torch.no_grad():
        logprobs = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return float(logprobs.gather(-1, torch.tensor(tokens)[:, None]).sum())


def test_a_batch_of_rollouts_may_serve_several_steps(
    base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"max_steps": 4, "updates_per_rollout": 2})
    report = train(rows, model=base, renderer=renderer, out_dir=tmp_path / "a", settings=settings, reward=likes_letters)
    assert (report.steps, len(report.rewards), report.groups_total) == (4, 2, 4)


def test_imitation_of_the_same_seed_goes_the_same_way(
    base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path
) -> None:
    first, again = (
        train(rows, model=base, renderer=renderer, out_dir=tmp_path / name, settings=IMITATION) for name in "ab"
    )
    assert first.imitation_losses
    assert again.imitation_losses == pytest.approx(first.imitation_losses, rel=1e-3)


def test_a_refusal_of_no_stated_category_is_left_to_the_rollouts(
    base: Path, renderer: Renderer, tmp_path: Path
) -> None:
    refusals = [row(f"no {name}", decision="refuse", category=name) for name in (None, "unsafe")]
    report = train(refusals, model=base, renderer=renderer, out_dir=tmp_path / "a", settings=IMITATION)
    assert report.imitated == 1


def test_the_same_seed_gives_the_same_adapter(
    base: Path, renderer: Renderer, rows: list[Row], trained: TrainingReport, tmp_path: Path
) -> None:
    again = train(rows, model=base, renderer=renderer, out_dir=tmp_path / "a", settings=SETTINGS, reward=likes_letters)
    assert again.rewards == trained.rewards
    assert again.drift == pytest.approx(trained.drift, rel=1e-3)


def test_rewards_see_what_serving_would_see(base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    def watch(text: str, of: Row) -> float:
        seen.append((text, of.extra_info["id"]))
        return likes_letters(text, of)

    settings = SETTINGS.model_copy(update={"demonstrate": False})
    train(rows, model=base, renderer=renderer, out_dir=tmp_path / "a", settings=settings, reward=watch)
    assert len(seen) == 3 * 2 * 4
    assert all(len({row_id for _, row_id in seen[i : i + 4]}) == 1 for i in range(0, 24, 4))
    assert not any("<|im_end|>" in text for text, _ in seen)
    call = renderer.tokenizer.encode('<tool_call>{"name": "timer"}</tool_call><|im_end|>', add_special_tokens=False)
    assert renderer.decode(call) == '<tool_call>{"name": "timer"}</tool_call>'


def test_the_tokenizer_adds_nothing_to_a_rendered_prompt(renderer: Renderer, rows: list[Row]) -> None:
    for r in rows:
        prompt = renderer.render(r.prompt, r.tools)
        assert tuple(renderer.tokenizer(text=prompt.text)["input_ids"]) == prompt.token_ids


def test_prompts_too_long_are_named(base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path) -> None:
    long = row("long", "word " * 2000, decision="refuse")
    settings = SETTINGS.model_copy(update={"max_steps": 1})
    report = train(
        [*rows, long], model=base, renderer=renderer, out_dir=tmp_path / "a", settings=settings, reward=likes_letters
    )
    assert report.too_long == ("long",)
    with pytest.raises(BadRows, match="none of 1 rows"):
        train([long], model=base, renderer=renderer, out_dir=tmp_path / "b", settings=settings)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("settings", "steps", "reward"), [(SETTINGS, 3, likes_letters), (IMITATION, 1 + 2 * 6, rule_reward)]
)
def test_progress_is_told_and_a_stop_ends_the_run(
    base: Path,
    renderer: Renderer,
    rows: list[Row],
    tmp_path: Path,
    settings: TrainingSettings,
    steps: int,
    reward: Callable[[str, Row], float],
) -> None:
    stop, seen = threading.Event(), []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        stop.set()

    with pytest.raises(TrainingStopped):
        train(
            rows,
            model=base,
            renderer=renderer,
            out_dir=tmp_path / "adapter",
            settings=settings,
            reward=reward,
            progress=progress,
            stop=stop,
        )
    assert seen == [(1, steps)]
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_cleared(base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path) -> None:
    for leftover in (tmp_path / ".adapter.training" / "adapter", tmp_path / "adapter"):
        leftover.mkdir(parents=True)
        (leftover / "adapter_model.safetensors").write_bytes(b"half")
    settings = SETTINGS.model_copy(update={"max_steps": 1})
    report = train(
        rows, model=base, renderer=renderer, out_dir=tmp_path / "adapter", settings=settings, reward=likes_letters
    )
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]
    assert report.adapter_dir is not None
    assert load_file(report.adapter_dir / "adapter_model.safetensors")


def test_a_reward_that_breaks_is_a_failed_run(base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path) -> None:
    def broken(text: str, of: Row) -> float:
        raise ValueError("no such rule")

    with pytest.raises(TrainingFailed, match="no such rule"):
        train(rows, model=base, renderer=renderer, out_dir=tmp_path / "adapter", settings=SETTINGS, reward=broken)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_share_prompts_is_trained_the_plain_way_on_the_first_rows_and_imitates_nothing(
    base: Path, renderer: Renderer, rows: list[Row], tmp_path: Path
) -> None:
    seen: set[str] = set()

    def seen_with_letters(text: str, of: Row) -> float:
        seen.add(of.extra_info["id"])
        return likes_letters(text, of)

    config = Qwen2Config.from_pretrained(base)
    config.use_sliding_window, config.sliding_window, config.max_window_layers = True, 8, 0
    config.layer_types = ["sliding_attention"] * config.num_hidden_layers
    torch.manual_seed(0)
    windowed = Qwen2ForCausalLM(config)
    for weights in windowed.parameters():
        weights.data.mul_(8)
    windowed.save_pretrained(tmp_path / "windowed")
    renderer.tokenizer.save_pretrained(tmp_path / "windowed")
    report = train(
        rows,
        model=tmp_path / "windowed",
        renderer=renderer,
        out_dir=tmp_path / "adapter",
        settings=IMITATION.model_copy(update={"learning_rate": 0.02, "max_completion_tokens": 10}),
        reward=seen_with_letters,
    )
    assert not report.shared_prompts
    assert report.imitated == 0
    assert seen == {rows[0].extra_info["id"], rows[1].extra_info["id"]}
    assert report.adapter_dir is not None
    assert report.drift > 0


def test_shared_prompts_give_the_loss_of_the_plain_way(base: Path, renderer: Renderer, tmp_path: Path) -> None:
    with _quiet():
        trainer = SharingTrainer(
            model=_policy(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), None, 4),
            reward_funcs=lambda **_: [],
            args=configure(tmp_path, SETTINGS, prompts_per_step=2),
            train_dataset=Dataset.from_dict({"prompt": ["a", "b"]}),
            processing_class=renderer.tokenizer,
        )
    policy = trainer.model
    assert policy is not None
    weights = [p for p in policy.parameters() if p.requires_grad]
    torch.manual_seed(0)
    for weight in weights:
        torch.nn.init.normal_(weight, std=0.05)
    # Two prompts of different lengths, their rollouts mixed, padded on both sides; half of them without an advantage.
    prompt_mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]]).repeat(4, 1)
    completion_mask = (torch.arange(5) < torch.tensor([5, 3, 1, 4, 2, 5, 3, 1])[:, None]).long()
    inputs = {
        "prompt_ids": torch.randint(10, 200, (2, 6)).repeat(4, 1) * prompt_mask,
        "prompt_mask": prompt_mask,
        "completion_ids": torch.randint(10, 200, (8, 5)) * completion_mask,
        "completion_mask": completion_mask,
        "advantages": torch.tensor([1.0, 0.0, -1.0, 1.5e-4, 0.5, 0.0, -0.5, -1.5e-4]),
        "num_items_in_batch": completion_mask.sum(),
    }
    trainer.current_gradient_accumulation_steps = 1
    shared = trainer._compute_loss(policy, inputs)
    trainer.share_prompts = False
    plain = GRPOTrainer._compute_loss(trainer, policy, inputs)
    assert shared.item() == pytest.approx(plain.item(), abs=1e-4)
    for a, b in zip(torch.autograd.grad(shared, weights), torch.autograd.grad(plain, weights), strict=True):
        assert torch.allclose(a, b, atol=1e-3 * max(1.0, b.abs().max().item()))
