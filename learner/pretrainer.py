"""One step of pretraining: model, the mean of its weights, optimisers. Muon moves the matrices, AdamW the rest."""

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch.optim.swa_utils import AveragedModel

from learner.branched import Branches, use_branched_attention
from learner.synth.packing import IGNORED, Batch

_LEAST = 2e-5
"""Of a gradient, for AdamW to make a whole step of it. A word that a batch does not write has one of about 1e-6: as a whole step,
each time, it would drive the embeddings of rare words away from where the layers can copy them."""


def _loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean, in nats. logits: [N, V]; targets: [N]. It is compiled, so that no float32 copy of the logits is written for each of its
    steps, which took a seventh of a training step where V is 19,337."""
    return torch.nn.functional.cross_entropy(logits.float(), targets)


def averaging(model: Any, steps: int) -> AveragedModel:
    """A mean of a model's weights along its training, to be told of each step: of all of them while they are no more than `steps`,
    then an exponential one, in which a step begins with a share of 1 / `steps` and fades."""

    def nearer(mean: torch.Tensor, now: torch.Tensor, told: torch.Tensor | int) -> torch.Tensor:
        return mean.lerp(now, 1 / min(int(told) + 1, steps))

    return AveragedModel(model, avg_fn=nearer)


class Pretrainer:
    """Model, the mean of its weights, optimisers and one step."""

    def __init__(self, model: Any, arguments: argparse.Namespace) -> None:
        self.model = model
        use_branched_attention(model)
        self.mean = averaging(model, arguments.average)
        if arguments.compile:
            for layer in model.model.layers:  # each like the first: what was compiled for that one serves them all
                layer.compile(dynamic=False)
        self.loss = torch.compile(_loss, dynamic=True) if arguments.compile else _loss
        matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
        chosen = {id(p) for p in matrices}
        others = [p for p in model.parameters() if id(p) not in chosen]
        self.optimizers = [
            torch.optim.Muon(
                matrices, lr=arguments.lr, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(others, lr=arguments.lr, betas=(0.9, 0.95), eps=_LEAST, weight_decay=0.0, fused=True),
        ]
        self.lr = arguments.lr
        self.device = next(model.parameters()).device
        self.autocast = torch.autocast(self.device.type, torch.bfloat16) if arguments.bf16 else nullcontext()

    def step(
        self, ids: torch.Tensor, positions: torch.Tensor, branches: Branches, targets: torch.Tensor, share: float
    ) -> torch.Tensor:
        """One update with `share` of the full learning rate; returns the mean loss in nats per written token."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * share
        loss = self._loss_of(self.model, ids, positions, branches, targets)
        loss.backward()
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.mean.update_parameters(self.model)
        return loss.detach()

    @torch.no_grad()
    def held_out_loss(self, batches: Sequence[Batch]) -> float:
        """Of the mean model: mean over batches, in nats per written token."""
        losses = [self._loss_of(self.mean.module, *on_device(batch, self.device)).item() for batch in batches]
        return sum(losses) / len(losses)

    def _loss_of(
        self, model: Any, ids: torch.Tensor, positions: torch.Tensor, branches: Branches, targets: torch.Tensor
    ) -> torch.Tensor:
        with self.autocast:
            hidden = model.model(
                input_ids=ids, position_ids=positions, branches=branches, use_cache=False
            ).last_hidden_state
            written = targets.reshape(-1) != IGNORED
            logits = model.lm_head(hidden.reshape(-1, hidden.shape[-1])[written])
        return self.loss(logits, targets.reshape(-1)[written])

    def _average_gradients(self) -> None:
        if not dist.is_initialized():
            return
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        for gradient, mean in zip(
            gradients, (flat / dist.get_world_size()).split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(mean.view_as(gradient))


def on_device(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, Branches, torch.Tensor]:
    """Ids, positions, branches and targets."""
    ids, positions, owners, targets = (torch.as_tensor(part).to(device) for part in batch[:4])
    return ids, positions, Branches.of(owners, prefix=batch.layout.prefix, slot=batch.layout.slot), targets
