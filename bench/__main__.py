"""`python -m bench`: the embedded policy beside plain `transformers.generate`, same model and prompts, in one run.

Prints new tokens per second at 1, 8 and 32 requests, greedy, best of three, and the ratio.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from hone.output import show_table
from learner.synth.rows import generate_rows
from runtime.policy.base import SamplingParams
from runtime.policy.embedded import EmbeddedPolicy
from runtime.prompt import Renderer
from runtime.settings import STARTER_MODEL

SIZES = (1, 8, 32)
TOKENS = 48


def prompts(count: int, renderer: Renderer) -> list[tuple[int, ...]]:
    return [renderer.render(row.prompt, row.tools).token_ids for row in generate_rows(9, "eval", count)]


def generate(model: Any, batch: Sequence[tuple[int, ...]], pad: int) -> int:
    """New tokens of one padded batch, end-of-turn tokens included and padding not."""
    width = max(len(p) for p in batch)
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in batch])
    out = model.generate(ids, attention_mask=(ids != pad).long(), max_new_tokens=TOKENS, do_sample=False)[:, width:]
    return int((out != pad).sum())


async def sample(policy: EmbeddedPolicy, batch: Sequence[tuple[int, ...]]) -> int:
    params = SamplingParams(max_tokens=TOKENS)
    return sum(len(c.token_ids) for c in await asyncio.gather(*(policy.sample(p, params) for p in batch)))


def best_rate(run: Callable[[], int]) -> float:
    """Tokens per second of the best of three, after one that is not counted."""
    run()
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        tokens = run()
        rates.append(tokens / (time.perf_counter() - started))
    return max(rates)


def main() -> None:
    renderer = Renderer.load(STARTER_MODEL)
    model: Any = AutoModelForCausalLM.from_pretrained(STARTER_MODEL, dtype=torch.float32)
    policy = EmbeddedPolicy.load(STARTER_MODEL)
    rows = []
    with asyncio.Runner() as runner:
        for size in SIZES:
            batch = prompts(size, renderer)
            plain = best_rate(lambda batch=batch: generate(model, batch, renderer.tokenizer.pad_token_id))
            ours = best_rate(lambda batch=batch: runner.run(sample(policy, batch)))
            rows.append([size, f"{plain:.0f}", f"{ours:.0f}", f"{ours / plain:.2f}"])
        runner.run(policy.close())
    show_table("New tokens per second", ("requests", "transformers.generate", "embedded policy", "ratio"), rows)


if __name__ == "__main__":
    main()
