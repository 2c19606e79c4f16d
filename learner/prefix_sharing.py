"""One prompt, many completions, read once: rollouts of a group share their prompt in generation and in training.

A group's rollouts differ only after the prompt, which is most of the tokens. Here a group is one sequence, the prompt
followed by its completions as branches; an attention mask keeps the branches from seeing each other, and positions go
on from the prompt in each. The logprobs are those of separate sequences up to float noise (`agrees` measures it), at a
fraction of the work. Plain torch on a Hugging Face causal LM; nothing of GRPO is here.

Shape letters: B groups, R rollouts per group, P prompt tokens, C completion tokens, L tokens of a packed group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import log_softmax
from torch.utils.checkpoint import checkpoint

from learner.few_tokens import FEW, FORBIDDEN, allow_few, logits_of_allowed
from runtime.policy.embedded.constraint import Constraint, allowed_bits, unpacked

TOLERANCE = 2e-3
"""The most by which a packed logprob may differ from a plain one, in nats."""

MAX_LOGITS = 32_000_000
"""Logits held at once; with more, the head runs in recomputed chunks."""

Tokens = Sequence[int]


@dataclass(frozen=True, slots=True)
class Pack:
    """Groups as sequences, padded on the right."""

    input_ids_BL: torch.Tensor
    position_ids_BL: torch.Tensor
    mask_B1LL: torch.Tensor
    """True where attention is allowed."""
    predictors_N: torch.Tensor
    """Flat places (in B x L) whose output predicts each completion token, in order of group, rollout, token."""
    targets_N: torch.Tensor


def pack(prompts_B: Sequence[Tokens], completions_BR: Sequence[Sequence[Tokens]], pad_id: int) -> Pack:
    """Lays each prompt and its completions out as one sequence."""
    lengths = [len(p) + sum(map(len, cs)) for p, cs in zip(prompts_B, completions_BR, strict=True)]
    width = max(lengths)
    ids = torch.full((len(prompts_B), width), pad_id)
    positions = torch.zeros((len(prompts_B), width), dtype=torch.long)
    branches = torch.full((len(prompts_B), width), -1)  # 0 the prompt, 1.. a completion, -1 padding
    predictors: list[int] = []
    for group, (prompt, completions) in enumerate(zip(prompts_B, completions_BR, strict=True)):
        start = len(prompt)
        ids[group, :start] = torch.tensor(prompt)
        positions[group, :start] = torch.arange(start)
        branches[group, :start] = 0
        for branch, completion in enumerate(completions, 1):
            end = start + len(completion)
            ids[group, start:end] = torch.tensor(completion, dtype=torch.long)
            positions[group, start:end] = torch.arange(len(prompt), len(prompt) + len(completion))
            branches[group, start:end] = branch
            base = group * width
            if completion:
                predictors += [base + len(prompt) - 1, *range(base + start, base + end - 1)]
            start = end
    targets = [token for completions in completions_BR for completion in completions for token in completion]
    places = (torch.tensor(predictors, dtype=torch.long), torch.tensor(targets, dtype=torch.long))
    return Pack(ids, positions, _branch_mask(branches), *places)


def _branch_mask(branches_BL: torch.Tensor) -> torch.Tensor:
    width = branches_BL.shape[1]
    earlier = torch.ones((width, width), dtype=torch.bool).tril()
    query, key = branches_BL[:, :, None], branches_BL[:, None, :]
    # Padding sees itself: a row of the mask with nothing in it would give NaN.
    return (earlier & ((key == 0) | (key == query)))[:, None]


def completion_logprobs(
    causal: Any,
    packed: Pack,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    allowed_NW: torch.Tensor | None = None,
    max_logits: int = MAX_LOGITS,
    few: int = FEW,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logprob (and entropy) of each completion token, in the order of `Pack.targets_N`.

    Args:
        causal: the causal LM itself (adapters injected), not its PEFT wrapper.
        allowed_NW: tokens that a grammar allowed at each place, as 32-bit words; the logprobs are then among these. None: all.
        few: where no more than so many are allowed, no other logits are computed.
    """
    device = next(causal.parameters()).device
    hidden_BLH = causal.base_model(
        input_ids=packed.input_ids_BL.to(device),
        attention_mask=packed.mask_B1LL.to(device),
        position_ids=packed.position_ids_BL.to(device),
        use_cache=False,
    ).last_hidden_state
    hidden_NH = hidden_BLH.flatten(0, 1)[packed.predictors_N.to(device)]
    head, targets_N = causal.get_output_embeddings(), packed.targets_N.to(device)
    rows = max(1, max_logits // head.weight.shape[0])
    if allowed_NW is None or not _is_plain(head):
        chosen_N, entropy_N = _in_parts(_of_all, rows, hidden_NH, targets_N, allowed_NW, head, temperature)
        return chosen_N, entropy_N if entropy else None
    few_N = allow_few(allowed_NW, few)
    chosen_N, entropy_N = hidden_NH.new_zeros(2, len(hidden_NH), dtype=torch.float32)
    for those_N, of in ((few_N, _of_few), (~few_N, _of_all)):
        here_N = those_N.to(device)  # grammars are read on the CPU, where the masks stay
        chosen, spread = _in_parts(
            of, rows, hidden_NH[here_N], targets_N[here_N], allowed_NW[those_N], head, temperature
        )
        chosen_N, entropy_N = chosen_N.masked_scatter(here_N, chosen), entropy_N.masked_scatter(here_N, spread)
    return chosen_N, entropy_N if entropy else None


def _is_plain(head: Any) -> bool:
    return type(head) is torch.nn.Linear


def _in_parts(
    of: Callable[..., tuple[torch.Tensor, torch.Tensor]],
    rows: int,
    hidden_NH: torch.Tensor,
    targets_N: torch.Tensor,
    allowed_NW: torch.Tensor | None,
    head: Any,
    temperature: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logprobs and entropies, with the logits of at most so many rows at once."""
    if len(hidden_NH) <= rows:
        return of(hidden_NH, targets_N, allowed_NW, head, temperature)
    parts = [
        checkpoint(
            of,
            hidden_NH[i : i + rows],
            targets_N[i : i + rows],
            None if allowed_NW is None else allowed_NW[i : i + rows],
            head,
            temperature,
            use_reentrant=False,
        )
        for i in range(0, len(hidden_NH), rows)
    ]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def _of_all(
    hidden_NH: torch.Tensor, targets_N: torch.Tensor, allowed_NW: torch.Tensor | None, head: Any, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    logits_NV = head(hidden_NH).float() / temperature
    if allowed_NW is not None:
        allowed_NV = unpacked(allowed_NW, logits_NV.shape[1]).to(logits_NV.device)
        logits_NV = logits_NV.masked_fill(~allowed_NV, FORBIDDEN)
    return _chosen(logits_NV, targets_N)


def _of_few(
    hidden_NH: torch.Tensor, targets_N: torch.Tensor, allowed_NW: torch.Tensor, head: Any, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    logits_NK, ids_NK = logits_of_allowed(head, hidden_NH, allowed_NW)
    is_target_NK = (logits_NK > FORBIDDEN).logical_and(ids_NK == targets_N[:, None])
    chosen_N, entropy_N = _chosen(logits_NK / temperature, is_target_NK.long().argmax(-1))
    return chosen_N.masked_fill(~is_target_NK.any(-1), FORBIDDEN), entropy_N


def _chosen(logits_NX: torch.Tensor, at_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logprob of one of X tokens, and the entropy among all."""
    logprobs_NX = log_softmax(logits_NX, dim=-1)
    chosen_N = logprobs_NX.gather(-1, at_N[:, None])[:, 0]
    detached = logprobs_NX.detach()  # entropy is watched, not trained
    return chosen_N, -(detached.exp() * detached).sum(-1)


@torch.no_grad()
def sample(
    causal: Any,
    prompts_B: Sequence[Tokens],
    *,
    rollouts: int,
    max_tokens: int,
    temperature: float,
    stop_ids: Sequence[int],
    pad_id: int,
    constraints_B: Sequence[Constraint] | None = None,
    few: int = FEW,
) -> list[list[list[int]]]:
    """`rollouts` completions of each prompt, the stop token included where one was reached.

    Args:
        temperature: 0 means greedy.
        constraints_B: of each prompt, at its beginning; None: anything may be written.
        few: as of `completion_logprobs`.
    """
    from transformers import DynamicCache

    device = next(causal.parameters()).device
    stops = torch.tensor(list(stop_ids), device=device)
    head, cache = causal.get_output_embeddings(), DynamicCache()
    alone = pack(prompts_B, [[] for _ in prompts_B], pad_id)
    lengths_B = torch.tensor([len(p) for p in prompts_B], device=device)
    hidden = causal.base_model(
        input_ids=alone.input_ids_BL.to(device),
        attention_mask=alone.mask_B1LL.to(device),
        position_ids=alone.position_ids_BL.to(device),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    last_BH = hidden[torch.arange(len(prompts_B), device=device), lengths_B - 1]
    ways = None if constraints_B is None else [[c.copy() for _ in range(rollouts)] for c in constraints_B]
    done_BR = torch.zeros((len(prompts_B), rollouts), dtype=torch.bool, device=device)
    tokens_BR = _choose(head, last_BH[:, None].expand(-1, rollouts, -1), temperature, ways, done_BR, few)

    sampled: list[list[list[int]]] = [[[] for _ in range(rollouts)] for _ in prompts_B]
    alive = torch.arange(len(prompts_B), device=device)  # groups with an unfinished rollout
    in_prompt_BP = torch.arange(alone.input_ids_BL.shape[1], device=device)[None] < lengths_B[:, None]
    own_RR = torch.eye(rollouts, dtype=torch.bool, device=device)
    for step in range(max_tokens):
        _append(sampled, alive, tokens_BR, done_BR)
        done_BR = done_BR | torch.isin(tokens_BR, stops)
        unfinished = (~done_BR.all(dim=1)).nonzero()[:, 0]
        if not len(unfinished) or step + 1 == max_tokens:
            break
        if len(unfinished) < len(alive):
            cache.batch_select_indices(unfinished)
            alive, tokens_BR, done_BR = alive[unfinished], tokens_BR[unfinished], done_BR[unfinished]
            ways = None if ways is None else [ways[i] for i in unfinished.tolist()]
        prompt_mask = in_prompt_BP[alive][:, None, None].expand(-1, 1, rollouts, -1)
        branch_mask = own_RR.repeat(1, step + 1)[None, None].expand(len(alive), 1, -1, -1)
        hidden = causal.base_model(
            input_ids=tokens_BR,
            attention_mask=torch.cat([prompt_mask, branch_mask], dim=-1),
            position_ids=(lengths_B[alive][:, None] + step).expand(-1, rollouts),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        tokens_BR = _choose(head, hidden, temperature, ways, done_BR, few)
    return sampled


def _choose(
    head: Any,
    hidden_BRH: torch.Tensor,
    temperature: float,
    ways: Sequence[Sequence[Constraint]] | None,
    done_BR: torch.Tensor,
    few: int,
) -> torch.Tensor:
    """The next token of each rollout that is not done, whose constraint goes one token on; of the others 0."""
    going_BR = ~done_BR
    hidden_NH = hidden_BRH[going_BR]
    if ways is None:
        tokens_N = _draw(head(hidden_NH).float(), temperature)
    else:
        going = [ways[b][r] for b, r in going_BR.nonzero().tolist()]
        tokens_N = _draw_allowed(head, hidden_NH, allowed_bits(going), temperature, few)
        for way, token in zip(going, tokens_N.tolist(), strict=True):
            way.advance(token)
    return torch.zeros_like(done_BR, dtype=torch.long).masked_scatter(going_BR, tokens_N)


def _draw_allowed(
    head: Any, hidden_NH: torch.Tensor, bits_NW: torch.Tensor, temperature: float, few: int
) -> torch.Tensor:
    few_N = allow_few(bits_NW, few) if _is_plain(head) else torch.zeros(len(bits_NW), dtype=torch.bool)
    tokens_N = torch.zeros(len(bits_NW), dtype=torch.long, device=hidden_NH.device)
    if few_N.any():
        logits_FK, ids_FK = logits_of_allowed(head, hidden_NH[few_N], bits_NW[few_N])
        tokens_N[few_N] = ids_FK.gather(-1, _draw(logits_FK, temperature)[:, None])[:, 0]
    if not few_N.all():
        logits_MV = head(hidden_NH[~few_N]).float()
        allowed_MV = unpacked(bits_NW[~few_N], logits_MV.shape[1]).to(logits_MV.device)
        tokens_N[~few_N] = _draw(logits_MV.masked_fill(~allowed_MV, FORBIDDEN), temperature)
    return tokens_N


def _draw(logits_NV: torch.Tensor, temperature: float) -> torch.Tensor:
    """Where a uniform number falls among the summed probabilities: `multinomial` draws one for each word of the vocabulary, which
    took a seventh of a training step."""
    if temperature == 0:
        return logits_NV.argmax(-1)
    summed_NV = torch.softmax(logits_NV / temperature, dim=-1).cumsum(-1, dtype=torch.float64)
    whole_N1 = summed_NV[:, -1:]
    if not whole_N1.isfinite().all():
        raise RuntimeError("the model's logits are not finite")
    at_N1 = torch.minimum(torch.rand_like(whole_N1) * whole_N1, torch.nextafter(whole_N1, torch.zeros_like(whole_N1)))
    return torch.searchsorted(summed_NV, at_N1, right=True)[:, 0]


def _append(
    sampled: list[list[list[int]]], alive: torch.Tensor, tokens_BR: torch.Tensor, done_BR: torch.Tensor
) -> None:
    for group, tokens, done in zip(alive.tolist(), tokens_BR.tolist(), done_BR.tolist(), strict=True):
        for rollout, (token, finished) in enumerate(zip(tokens, done, strict=True)):
            if not finished:
                sampled[group][rollout].append(token)


@torch.no_grad()
def agrees(causal: Any, prompt: Tokens, pad_id: int) -> bool:
    """Whether this model gives packed tokens the logprobs of plain ones.

    Models whose layers look at positions in their own way (sliding windows, recurrent layers, other mask forms) may
    not; this measures it instead of keeping a list.
    """
    device = next(causal.parameters()).device
    third = max(1, len(prompt) // 3)
    head, branches = list(prompt[:-third] or prompt[:1]), [list(prompt[-third:]), list(prompt[:third])]
    packed, _ = completion_logprobs(causal, pack([head, head[: len(head) // 2 + 1]], [branches, branches], pad_id))
    plain: list[torch.Tensor] = []
    for start in (head, head[: len(head) // 2 + 1]):
        for branch in branches:
            ids = torch.tensor([start + branch], device=device)
            logits = causal(input_ids=ids, use_cache=False).logits[0, len(start) - 1 : -1]
            plain.append(log_softmax(logits.float(), dim=-1).gather(-1, ids[0, len(start) :, None])[:, 0])
    return bool((packed - torch.cat(plain)).abs().max() < TOLERANCE)
