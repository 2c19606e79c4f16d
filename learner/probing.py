"""What a policy in training gives a few prompts: the proof against which a served copy is held.

Measured with plain forward passes, as any server computes them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

from runtime.policy.manifest import Probe

MAX_TOKENS = 32
"""Of a probe's completion."""


def adapter_weights(policy: PeftModel) -> dict[str, torch.Tensor]:
    """A copy of the adapter as it is now."""
    return {name: value.clone() for name, value in get_peft_model_state_dict(policy).items()}


def probe(
    policy: PeftModel,
    prompts: Sequence[tuple[int, ...]],
    *,
    start: dict[str, torch.Tensor],
    stop_ids: Sequence[int],
    pad_id: int,
) -> tuple[tuple[Probe, ...], float]:
    """Greedy completions with their logprobs, and how far these moved from the weights `start`.

    Returns the probes and the mean absolute change of a logprob, in nats. The policy is left in evaluation mode with
    the weights that it had.
    """
    policy.eval()
    pairs = [(prompt, _greedy(policy, prompt, stop_ids, pad_id)) for prompt in prompts]
    after = [_score(policy, *pair) for pair in pairs]
    trained = adapter_weights(policy)
    set_peft_model_state_dict(policy, start)
    before = [_score(policy, *pair) for pair in pairs]
    set_peft_model_state_dict(policy, trained)
    drift = (torch.cat(after) - torch.cat(before)).abs().mean().item()
    probes = tuple(
        Probe(prompt_ids=prompt, completion_ids=completion, logprobs=tuple(logprobs.tolist()))
        for (prompt, completion), logprobs in zip(pairs, after, strict=True)
    )
    return probes, drift


@torch.no_grad()
def _greedy(policy: Any, prompt: Sequence[int], stop_ids: Sequence[int], pad_id: int) -> tuple[int, ...]:
    ids = torch.tensor([prompt], device=policy.device)
    written = policy.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=MAX_TOKENS,
        eos_token_id=list(stop_ids),
        pad_token_id=pad_id,
    )
    return tuple(written[0, ids.shape[1] :].tolist())


@torch.no_grad()
def _score(policy: Any, prompt: Sequence[int], completion: Sequence[int]) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *completion]], device=policy.device)
    logits = policy(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
    return torch.log_softmax(logits, dim=-1).gather(-1, ids[0, len(prompt) :, None])[:, 0].cpu()
