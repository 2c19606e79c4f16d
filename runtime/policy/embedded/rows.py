"""Requests on their way through the model, and the choice of their next tokens.

What a row is given depends on its own prompt, parameters and seed, never on the rows that it is decoded with (but for float noise).

Shapes: B rows, V vocabulary.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch

from runtime.policy.base import Phases, SamplingParams
from runtime.policy.embedded.constraint import Constraint, allowed

Sampled = tuple[tuple[int, ...], tuple[float, ...], Phases]
"""Token ids, their logprobs, and where the time went."""


@dataclass(eq=False, slots=True)
class Row:
    """One request."""

    prompt_ids: tuple[int, ...]
    params: SamplingParams
    adapter: str | None
    limit: int
    """The most tokens that it may be given."""
    constraint: Constraint | None = None
    future: "Future[Sampled]" = field(default_factory=Future)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    generator: torch.Generator = field(default_factory=torch.Generator)
    came_at: float = field(default_factory=time.perf_counter)
    began_at: float = 0.0
    """When the model began to read its prompt."""
    first_at: float = 0.0
    """When the first token was chosen."""

    def __post_init__(self) -> None:
        if self.params.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(self.params.seed & 0x7FFF_FFFF_FFFF_FFFF)

    def has_ended(self, stop_ids: frozenset[int]) -> bool:
        """Whether it has all its tokens, or nobody waits for it any more."""
        return len(self.token_ids) >= self.limit or self.token_ids[-1] in stop_ids or self.future.done()

    def sampled(self) -> Sampled:
        """What it was given, now that it is done."""
        phases = Phases(
            queue_s=self.began_at - self.came_at,
            prefill_s=self.first_at - self.began_at,
            decode_s=time.perf_counter() - self.first_at,
        )
        return tuple(self.token_ids), tuple(self.logprobs), phases


def choose(rows: Sequence[Row], logits_BV: torch.Tensor) -> None:
    """Gives each row its next token, with its logprob at temperature 1 among the tokens that the grammar allows, as vLLM has it."""
    logits_BV = logits_BV.float().cpu()
    bound = [(index, row.constraint) for index, row in enumerate(rows) if row.constraint is not None]
    if bound:
        places, constraints = zip(*bound, strict=True)
        at = list(places)
        logits_BV[at] = logits_BV[at].masked_fill(~allowed(constraints), -torch.inf)
    logprobs_BV = torch.log_softmax(logits_BV, dim=-1)
    likeliest_B = logprobs_BV.argmax(dim=-1).tolist()
    tokens = [
        likeliest if row.params.temperature <= 0 else _draw(row, logprobs_V)
        for row, likeliest, logprobs_V in zip(rows, likeliest_B, logprobs_BV, strict=True)
    ]
    chosen_B = logprobs_BV.gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist()
    now = time.perf_counter()
    for row, token, logprob in zip(rows, tokens, chosen_B, strict=True):
        if row.constraint is not None:
            row.constraint.advance(token)
        if not row.token_ids:
            row.first_at = now
        row.token_ids.append(token)
        row.logprobs.append(logprob)


def _draw(row: Row, logprobs_V: torch.Tensor) -> int:
    probabilities_V = torch.softmax(logprobs_V / row.params.temperature, dim=-1)
    if row.params.top_p < 1:
        probabilities_V = _nucleus(probabilities_V, row.params.top_p)
    return int(torch.multinomial(probabilities_V, 1, generator=row.generator))


def _nucleus(probabilities_V: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zeroes all but the likeliest tokens that together reach `top_p`; the likeliest always stays."""
    ordered_V, order_V = probabilities_V.sort(descending=True)
    beyond_V = ordered_V.cumsum(dim=-1) - ordered_V >= top_p
    beyond_V[0] = False
    return probabilities_V.index_fill(0, order_V[beyond_V], 0.0)
