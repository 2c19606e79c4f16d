"""TRL's GRPO as a run uses it: its options, and a trainer that reads a group's prompt once. The only module that imports TRL.

What differs from TRL's defaults: float32 throughout, no gradient checkpointing, no checkpoints and no reporting;
truncated completions are not masked, since running on is a fault to unlearn; rows of groups without a signal skip the
backward pass, to which they would add nothing.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from learner import prefix_sharing
from learner.errors import TrainingFailed
from learner.settings import TrainingSettings
from runtime.policy.embedded.constraint import Constraint

Constrain = Callable[[tuple[int, ...]], Constraint]
"""From a prompt's tokens."""

Progress = Callable[[int, int], None]
"""Called with steps done and steps in all."""

_SIGNAL = 1e-3
"""Advantages below this come from float noise: TRL divides it by a standard deviation of nearly nothing."""


class SharingTrainer(GRPOTrainer):
    """TRL's trainer with two of its inner steps made cheaper; what they compute stays the same."""

    share_prompts = True
    constrain: Constrain | None = None

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any, Any]:
        """Logprobs of the completions, each distinct prompt being read once."""
        if not self.share_prompts:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        mask = attention_mask.bool()
        places: dict[tuple[int, ...], list[int]] = {}
        completions: list[list[int]] = []
        for place in range(len(input_ids)):
            prompt = input_ids[place, :-logits_to_keep][mask[place, :-logits_to_keep]]
            completions.append(input_ids[place, -logits_to_keep:][mask[place, -logits_to_keep:]].tolist())
            places.setdefault(tuple(prompt.tolist()), []).append(place)
        order = [place for members in places.values() for place in members]
        branches = [[completions[i] for i in members] for members in places.values()]
        packed = prefix_sharing.pack(list(places), branches, pad_id(self._tokenizer))
        logprobs_N, entropy_N = prefix_sharing.completion_logprobs(
            self.accelerator.unwrap_model(model).get_base_model(),
            packed,
            temperature=self.temperature,
            entropy=True,
            allowed_NW=self._allowed(list(places), branches),
        )
        rows = torch.tensor([i for i in order for _ in completions[i]], device=input_ids.device)
        columns = torch.tensor([c for i in order for c in range(len(completions[i]))], device=input_ids.device)
        out = logprobs_N.new_zeros(len(input_ids), logits_to_keep)
        entropies = None if entropy_N is None else out.index_put((rows, columns), entropy_N)
        return out.index_put((rows, columns), logprobs_N), entropies, None

    def _allowed(self, prompts: list[tuple[int, ...]], branches: list[list[list[int]]]) -> Any:
        """What the grammar allowed at each completion token, in the order of `Pack.targets_N`; None: no grammar."""
        if self.constrain is None:
            return None
        walked: list[torch.Tensor] = []
        for prompt, group in zip(prompts, branches, strict=True):
            for completion in group:
                bits = self.constrain(prompt).walk(completion)
                if bits is None:
                    raise TrainingFailed("a rollout breaks the grammar that it was sampled under")
                walked.append(bits)
        return torch.cat(walked)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Leaves out rows whose advantage is zero: without a KL term they add nothing to the loss or its gradient."""
        advantages = inputs["advantages"]
        alive = advantages.abs() > _SIGNAL
        if self.beta == 0.0 and self.loss_type == "dapo" and not alive.all():
            if not alive.any():
                alive[:1] = True  # something must run, for the trainer to take a step that changes nothing
                inputs = inputs | {"advantages": torch.zeros_like(advantages)}
            inputs = {
                name: value[alive] if torch.is_tensor(value) and value.shape[:1] == alive.shape else value
                for name, value in inputs.items()
            }
        return super()._compute_loss(model, inputs)


class Watch(TrainerCallback):
    """Reports progress, gathers the KL, and ends the run when asked."""

    def __init__(
        self, progress: Progress | None, stop: threading.Event | None, kls: list[float], *, before: int
    ) -> None:
        """Args: before: steps of the run that TRL does not count."""
        self._progress, self._stop, self._kls, self._before = progress, stop, kls, before

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._progress:
            self._progress(self._before + state.global_step, self._before + state.max_steps)
        if self._stop is not None and self._stop.is_set():
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and logs.get("kl") is not None:
            self._kls.append(float(logs["kl"]))


def configure(folder: Path, settings: TrainingSettings, *, prompts_per_step: int) -> GRPOConfig:
    """Every choice of TRL's options in one place."""
    return GRPOConfig(
        output_dir=str(folder),
        max_steps=settings.max_steps,
        per_device_train_batch_size=prompts_per_step * settings.rollouts_per_prompt,
        num_generations=settings.rollouts_per_prompt,
        num_iterations=settings.updates_per_rollout,
        max_completion_length=settings.max_completion_tokens,
        temperature=settings.temperature,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=settings.max_steps // 20,
        weight_decay=0.0,
        max_grad_norm=1.0,
        beta=settings.kl_beta,
        loss_type="dapo",  # token-level, normalised over the batch (arXiv:2503.14476, §3.3)
        epsilon_high=0.28,  # the same, §3.1
        scale_rewards="group",
        mask_truncated_completions=False,
        seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        fp16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to=[],
        push_to_hub=False,
        logging_steps=1,
        disable_tqdm=True,
        log_level="error",
    )


def pad_id(tokenizer: Any) -> int:
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
