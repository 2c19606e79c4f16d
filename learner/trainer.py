"""One run, imitation and then GRPO: rows in, a LoRA adapter out.

TRL's `GRPOTrainer` (`learner.grpo`) owns the algorithm (advantages, clipped loss, optimizer, schedule); PEFT owns the adapter.
Here is what surrounds them: prompts are the tokens that serving would send, rewards come from the tokens that were sampled,
groups without a signal are counted, and rollouts of a group share the computation of their prompt
(`learner.prefix_sharing`), which makes a step several times faster than the stock path and gives the same logprobs.

Before the first rollout the policy imitates the verified decisions (`learner.imitation`), and where no rollout of a group is
right, one gives way to the verified decision (`learner.demonstration`). A model whose rollouts cannot share prompts is trained on
TRL's own path: slower, and without grammar, imitation and demonstrations.

Nothing appears under `out_dir` until the run is complete: it works beside it and renames.
"""

import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, PrinterCallback
from transformers.utils import logging as transformers_logging

from learner import groups, prefix_sharing
from learner.demonstration import demonstrate
from learner.errors import BadRows, TrainingFailed, TrainingStopped
from learner.grpo import Constrain, Progress, SharingTrainer, Watch, configure, pad_id
from learner.imitation import Lesson, imitate, steps_for
from learner.merging import merged
from learner.probing import adapter_weights, probe
from learner.rewards import FULL, score_text
from learner.rows import Row
from learner.settings import TrainingSettings
from learner.training_report import TrainingReport
from runtime.policy.embedded.constraint import Constraint, Grammars
from runtime.prompt import Prompt, Renderer

Reward = Callable[[str, Row], float]
"""From a completion's text and its row."""


def rule_reward(text: str, row: Row) -> float:
    return score_text(text, row).reward


def train(
    rows: Sequence[Row],
    *,
    model: str | Path,
    renderer: Renderer,
    out_dir: Path,
    parent: Path | None = None,
    settings: TrainingSettings | None = None,
    reward: Reward = rule_reward,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> TrainingReport:
    """Trains for `imitation_steps` and then `max_steps`, and leaves the adapter in `out_dir`, which is replaced as a whole.

    Args:
        model: folder or name of the base model.
        parent: adapter to continue from, in PEFT's format; its rank stays.
        stop: when set, the run ends after the current step.

    Raises:
        BadRows: no row fits, so there is nothing to train on.
        TrainingStopped: `stop` was set; nothing is left behind.
        TrainingFailed: TRL or the model broke; nothing is left behind.
    """
    settings = settings or TrainingSettings()
    started = time.monotonic()
    staging = out_dir.parent / f".{out_dir.name}.training"
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    staging.mkdir(parents=True)
    try:
        with _quiet(), _threads(settings.threads):
            run = _Run(rows, str(model), renderer, parent, settings, reward)
            run.imitate(progress, stop)
            run.train(staging / "trl", progress, stop)
            run.hold_back()
            adapter = None if run.no_signal else _save(run.policy, staging / "adapter", out_dir)
            return run.report(adapter, parent, time.monotonic() - started)
    except (BadRows, TrainingStopped, TrainingFailed):
        raise
    except (RuntimeError, ValueError, OSError, KeyError, TypeError, AttributeError) as e:
        # What a foreign model or TRL may raise; our own errors passed above.
        raise TrainingFailed(f"training on {str(model)!r} failed: {e}") from e
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _Run:
    """The state of one run: the policy in training, its prompts, and what was seen."""

    def __init__(
        self,
        rows: Sequence[Row],
        model: str,
        renderer: Renderer,
        parent: Path | None,
        settings: TrainingSettings,
        reward: Reward,
    ) -> None:
        self._renderer, self._settings, self._reward = renderer, settings, reward
        torch.manual_seed(settings.seed)  # the adapter's first weights are drawn at random
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self.policy = _policy(base, parent, settings.rank)
        self._fit(rows, getattr(base.config, "max_position_embeddings", None) or settings.max_prompt_tokens)
        self._start = adapter_weights(self.policy)
        self._pad_id = pad_id(renderer.tokenizer)
        self._stop_ids = sorted(_stop_ids(base, renderer.tokenizer))
        self._shared = prefix_sharing.agrees(base, self._prompts[0].token_ids, self._pad_id)
        self._constrain_after = self._constrain(base) if self._shared else None
        self._imitated = 0
        self._imitation_losses: tuple[float, ...] = ()
        self._batches: list[groups.StepGroups] = []  # one for each time that rollouts were sampled
        self._shown: list[bool] = []  # of the last batch's rollouts, whether each is a demonstration
        self._optimizer_steps = 0
        self._kls: list[float] = []
        self._tokens = 0

    def _fit(self, rows: Sequence[Row], context: int) -> None:
        """Keeps the rows whose prompt and longest completion fit."""
        limit = min(self._settings.max_prompt_tokens, context - self._settings.max_completion_tokens)
        prompts = [self._renderer.render(row.prompt, row.tools) for row in rows]
        fits = [len(prompt.token_ids) <= limit for prompt in prompts]
        self._too_long = tuple(
            str(row.extra_info.get("id", place)) for place, row in enumerate(rows) if not fits[place]
        )
        self._rows = [row for row, fit in zip(rows, fits, strict=True) if fit]
        self._prompts: list[Prompt] = [prompt for prompt, fit in zip(prompts, fits, strict=True) if fit]
        if not self._rows:
            raise BadRows(f"none of {len(rows)} rows has a prompt of at most {limit} tokens: nothing to train on")

    def _constrain(self, base: Any) -> Constrain | None:
        """Gives, for a prompt's tokens, what may follow them; None: anything."""
        if self._renderer.grammar(()) is None:
            return None
        vocabulary = int(base.get_input_embeddings().num_embeddings)
        grammars = Grammars(self._renderer.tokenizer, vocabulary=vocabulary, stop_ids=frozenset(self._stop_ids))
        tools = {prompt.token_ids: row.tools for prompt, row in zip(self._prompts, self._rows, strict=True)}

        @lru_cache(maxsize=2 * self._settings.prompts_per_step)
        def begin(prompt_ids: tuple[int, ...]) -> Constraint:
            grammar = self._renderer.grammar(tools[prompt_ids])
            assert grammar is not None
            return grammars.start(grammar)

        return begin

    @property
    def no_signal(self) -> bool:
        return not self._imitation_losses and all(batch.no_signal for batch in self._batches)

    def imitate(self, progress: Progress | None, stop: threading.Event | None) -> None:
        """The supervised part, for a model whose rows can be packed; without a lesson there is none."""
        settings = self._settings
        lessons = list(self._lessons(stop)) if settings.imitation_steps and self._shared else []
        steps = steps_for(len(lessons), rows_per_step=settings.imitation_rows, most=settings.imitation_steps)
        self._imitated = min(len(lessons), steps * settings.imitation_rows)

        def after_step(done: int) -> None:
            if progress:
                progress(done, steps + settings.max_steps)
            _end_if_asked(stop)

        self._imitation_losses = imitate(
            self.policy.to("cuda" if torch.cuda.is_available() else "cpu").get_base_model(),  # where TRL will have it
            lessons,
            steps=steps,
            rows_per_step=settings.imitation_rows,
            learning_rate=settings.imitation_rate,
            seed=settings.seed,
            pad_id=self._pad_id,
            allowed=self._allowed_in,
            after_step=after_step,
        )

    def _lessons(self, stop: threading.Event | None) -> Iterator[Lesson]:
        """Of a refusal whose category is not told there is none: any will do, and one would be taught."""
        for prompt, row in zip(self._prompts, self._rows, strict=True):
            _end_if_asked(stop)
            if row.truth.decision != "refuse" or row.truth.category is not None:
                lesson = self._lesson(prompt.token_ids, row)
                if lesson is not None:
                    yield lesson

    def _lesson(self, prompt_ids: tuple[int, ...], row: Row) -> Lesson | None:
        """The verified decision as the policy would write it; None where there is none that earns the full reward, fits, and keeps
        to the grammar: nothing that the policy could ever write."""
        text = demonstrate(row)
        if text is None or self._reward(text, row) < FULL:
            return None
        tokens = self._renderer.tokenizer(text=text, add_special_tokens=False)["input_ids"]
        completion = (*tokens, self._renderer.tokenizer.eos_token_id)
        if len(completion) > self._settings.max_completion_tokens:
            return None
        lesson = Lesson(prompt_ids, completion)
        return None if self._constrain_after is not None and self._allowed_in(lesson) is None else lesson

    def _allowed_in(self, lesson: Lesson) -> torch.Tensor | None:
        if self._constrain_after is None:
            return None
        return self._constrain_after(lesson.prompt_ids).walk(lesson.completion_ids)

    def train(self, folder: Path, progress: Progress | None, stop: threading.Event | None) -> None:
        config = configure(
            folder, self._settings, prompts_per_step=min(self._settings.prompts_per_step, len(self._rows))
        )
        # Imitation went through all rows. Without it GRPO must meet those that come first, which are the selected ones.
        met = len(self._rows) if self._imitated else min(len(self._rows), self._settings.rollout_prompts)
        data = Dataset.from_dict({"prompt": [p.text for p in self._prompts[:met]], "row": list(range(met))})
        if not self._shared:
            self._require_same_tokens()
        trainer = SharingTrainer(
            model=self.policy,
            reward_funcs=self._rewards,
            args=config,
            train_dataset=data,
            processing_class=self._renderer.tokenizer,
            callbacks=[Watch(progress, stop, self._kls, before=len(self._imitation_losses))],
            rollout_func=self._rollout if self._shared else None,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.share_prompts, trainer.constrain = self._shared, self._constrain_after
        trainer.train()
        _end_if_asked(stop)
        self._optimizer_steps = trainer.state.global_step
        if not self._batches:
            raise TrainingFailed("TRL took no step: the rows do not fill one batch")

    def hold_back(self) -> None:
        """Leaves the adapter at its strength. The second matrices alone are moved: the change of the weights is linear in them."""
        strength, ended = self._settings.strength, adapter_weights(self.policy)
        second = {name: weight for name, weight in ended.items() if "lora_B" in name}
        moved = {name: torch.lerp(self._start[name].to(weight), weight, strength) for name, weight in second.items()}
        set_peft_model_state_dict(self.policy, ended | moved)

    def _require_same_tokens(self) -> None:
        """TRL tokenizes the prompts by itself here; the tokens must be those of serving."""
        for prompt in self._prompts:
            if tuple(self._renderer.tokenizer(text=prompt.text)["input_ids"]) != prompt.token_ids:
                raise TrainingFailed("the tokenizer adds tokens to a prompt: training would differ from serving")

    def _rollout(self, prompts: list[str], _: Any) -> dict[str, Any]:
        """Completions of a step; `prompts` holds each prompt as often as its group has rollouts."""
        known = {p.text: (p.token_ids, row) for p, row in zip(self._prompts, self._rows, strict=True)}
        size, begin = self._settings.rollouts_per_prompt, self._constrain_after
        asked = [known[text] for text in prompts[::size]]
        with merged(self.policy):
            sampled = prefix_sharing.sample(
                self.policy.get_base_model(),
                [ids for ids, _ in asked],
                rollouts=size,
                max_tokens=self._settings.max_completion_tokens,
                temperature=self._settings.temperature,
                stop_ids=self._stop_ids,
                pad_id=self._pad_id,
                constraints_B=None if begin is None else [begin(ids) for ids, _ in asked],
            )
        shown = [self._demonstrated(group, *of) for group, of in zip(sampled, asked, strict=True)]
        completions = [completion for group in shown for completion in group]
        self._shown = [
            new is not old
            for group, was in zip(shown, sampled, strict=True)
            for new, old in zip(group, was, strict=True)
        ]
        return {
            "prompt_ids": [list(known[text][0]) for text in prompts],
            "completion_ids": completions,
            "logprobs": None,  # on-policy: TRL takes those of the training pass
        }

    def _demonstrated(self, group: list[list[int]], prompt_ids: tuple[int, ...], row: Row) -> list[list[int]]:
        """The group; where no rollout is right, its last one gives way to the verified decision."""
        if not self._settings.demonstrate:
            return group
        if any(self._reward(self._renderer.decode(ids), row) >= FULL for ids in group):
            return group
        lesson = self._lesson(prompt_ids, row)
        return group if lesson is None else [*group[:-1], list(lesson.completion_ids)]

    def _rewards(self, completion_ids: list[list[int]], row: list[int], **_: Any) -> list[float | None]:
        """Scores the tokens that were sampled, as serving would read them, and counts the groups."""
        texts = [self._renderer.decode(ids) for ids in completion_ids]
        rewards = [self._reward(text, self._rows[place]) for text, place in zip(texts, row, strict=True)]
        self._batches.append(groups.count(rewards, self._settings.rollouts_per_prompt, self._shown))
        self._tokens += sum(map(len, completion_ids))
        return [*rewards]

    def report(self, adapter: Path | None, parent: Path | None, seconds: float) -> TrainingReport:
        every = max(1, len(self._prompts) // self._settings.probes)
        probed = [prompt.token_ids for prompt in self._prompts[::every][: self._settings.probes]]
        probes, drift = probe(self.policy, probed, start=self._start, stop_ids=self._stop_ids, pad_id=self._pad_id)
        return TrainingReport(
            adapter_dir=adapter,
            parent=None if parent is None else str(parent),
            imitated=self._imitated,
            imitation_losses=self._imitation_losses,
            steps=self._optimizer_steps,
            rewards=tuple(batch.mean_reward for batch in self._batches),
            groups_total=sum(batch.groups for batch in self._batches),
            groups_equal=sum(batch.equal for batch in self._batches),
            groups_demonstrated=sum(batch.demonstrated for batch in self._batches),
            batches_without_signal=sum(batch.no_signal for batch in self._batches),
            no_signal=self.no_signal,
            too_long=self._too_long,
            drift=drift,
            kl=sum(self._kls) / len(self._kls) if self._kls else None,
            completion_tokens=self._tokens,
            shared_prompts=self._shared,
            seconds=seconds,
            probes=probes,
        )


def _policy(base: Any, parent: Path | None, rank: int) -> PeftModel:
    if parent is not None:
        return PeftModel.from_pretrained(base, str(parent), is_trainable=True)
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    policy = get_peft_model(base, lora)
    assert isinstance(policy, PeftModel)
    return policy


def _end_if_asked(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise TrainingStopped("training was stopped; nothing was kept")


def _save(policy: PeftModel, staging: Path, out_dir: Path) -> Path:
    policy.save_pretrained(str(staging), selected_adapters=["default"], save_embedding_layers=False)
    (staging / "README.md").unlink(missing_ok=True)  # PEFT's model card, of which nothing is filled in
    if out_dir.exists():
        shutil.rmtree(out_dir)
    os.replace(staging, out_dir)
    return out_dir


def _stop_ids(base: Any, tokenizer: Any) -> set[int]:
    """Every token that ends a turn: the tokenizer's, and those that the model declares."""
    declared = base.generation_config.eos_token_id
    declared = [declared] if isinstance(declared, int) else declared or []
    return {tokenizer.eos_token_id, *declared} - {None}


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """The libraries below warn about each other's deprecations and print their logs; none of it is for our users."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
