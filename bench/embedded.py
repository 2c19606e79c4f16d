"""`python -m bench.embedded`: the embedded policy beside plain `transformers.generate` and vLLM built for CPU.

Same model, same prompts, greedy, in one run: new tokens per second at 1, 8 and 32 requests at once, on the base and with an adapter
(rank 8, PEFT's for `generate`); the two policies also under the grammar of decisions, as hone serves. Each size is played a few
times, all in turns, with other prompts each time, for two of them remember what they have read; printed are the medians.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from hone.output import show_table, write_json
from learner.synth.rows import generate_rows
from runtime.policy.base import Policy, SamplingParams
from runtime.policy.embedded import EmbeddedPolicy
from runtime.policy.vllm import VllmPolicy
from runtime.prompt import Renderer
from runtime.settings import STARTER_MODEL
from tests.runtime.policies import VLLM_PYTHON, vllm_server
from tests.tiny_model import build_adapter

SIZES = (1, 8, 32)
TOKENS = 48
ADAPTER = "bench"


class Asked(NamedTuple):
    ids: tuple[int, ...]
    grammar: str | None
    """Of the tools that it shows."""


Prompts = Sequence[Asked]
Run = Callable[[Prompts, bool], int]
"""Answers some prompts, on the adapter or on the base, and says how many tokens it wrote."""


def prompts(count: int, renderer: Renderer, limit: int) -> Prompts:
    """Those of generated decisions that leave room for an answer."""
    found: list[Asked] = []
    for row in generate_rows(9, "eval", 8 * count):
        ids = renderer.render(row.prompt, row.tools).token_ids
        if len(ids) + TOKENS <= limit:
            found.append(Asked(ids, renderer.grammar(row.tools)))
    return found[:count]


def plain(adapter: Path, pad: int) -> Run:
    """`transformers.generate` on one padded batch."""
    base: Any = AutoModelForCausalLM.from_pretrained(STARTER_MODEL, dtype=torch.float32)
    own: Any = AutoModelForCausalLM.from_pretrained(STARTER_MODEL, dtype=torch.float32)
    adapted: Any = PeftModel.from_pretrained(own, str(adapter))

    def run(batch: Prompts, on_adapter: bool) -> int:
        width = max(len(p.ids) for p in batch)
        ids = torch.tensor([[pad] * (width - len(p.ids)) + list(p.ids) for p in batch])
        model = adapted if on_adapter else base
        out = model.generate(input_ids=ids, attention_mask=(ids != pad).long(), max_new_tokens=TOKENS, do_sample=False)[
            :, width:
        ]
        return int((out != pad).sum())

    return run


def of_policy(policy: Policy, runner: asyncio.Runner, *, constrained: bool) -> Run:
    def params(asked: Asked) -> SamplingParams:
        return SamplingParams(max_tokens=TOKENS, grammar=asked.grammar if constrained else None)

    async def sample(batch: Prompts, adapter: str | None) -> int:
        done = await asyncio.gather(*(policy.sample(p.ids, params(p), adapter=adapter) for p in batch))
        return sum(len(completion.token_ids) for completion in done)

    return lambda batch, on_adapter: runner.run(sample(batch, ADAPTER if on_adapter else None))


def measure(runs: dict[str, Run], batches: Sequence[Prompts], on_adapter: bool) -> dict[str, float]:
    """Tokens per second of each, the first batch not counted."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number, batch in enumerate(batches):
        for name, run in runs.items():
            started = time.perf_counter()
            tokens = run(batch, on_adapter)
            if number:
                found[name].append(tokens / (time.perf_counter() - started))
    return {name: statistics.median(rates) for name, rates in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.embedded", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-vllm", action="store_true", help="where there is no environment of it")
    parser.add_argument("--json", metavar="FILE", help="write the figures there; - is standard output")
    given = parser.parse_args()
    if not given.without_vllm and not VLLM_PYTHON.exists():
        parser.error(f"no {VLLM_PYTHON}: run make vllm first, or give --without-vllm")
    renderer = Renderer.load(STARTER_MODEL)
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runner = stack.enter_context(asyncio.Runner())
        adapter = build_adapter(folder / "adapter", STARTER_MODEL)
        policies: dict[str, Any] = {"embedded policy": EmbeddedPolicy.load(STARTER_MODEL)}
        if not given.without_vllm:
            url = stack.enter_context(vllm_server(folder / "vllm.log", seats=max(SIZES), eager=False))
            policies["vLLM on CPU"] = VllmPolicy.load(url, model=str(STARTER_MODEL))
        runs = {"transformers.generate": plain(adapter, renderer.tokenizer.pad_token_id)}
        for name, policy in policies.items():
            runner.run(policy.load_adapter(ADAPTER, adapter))
            stack.callback(lambda policy=policy: runner.run(policy.close()))
            runs[name] = of_policy(policy, runner, constrained=False)
            runs[f"{name}, grammar"] = of_policy(policy, runner, constrained=True)
        limit = min(policy.context_length for policy in policies.values())
        for on_adapter in (False, True):
            for size in SIZES:
                asked = prompts(size * (given.rounds + 1), renderer, limit)
                rates = measure(runs, [asked[i : i + size] for i in range(0, len(asked), size)], on_adapter)
                rows.append(
                    {"weights": "adapter" if on_adapter else "base", "requests": size, "tokens_per_second": rates}
                )
    if given.json:
        write_json({"embedded": rows}, given.json)
        return
    names = list(runs)
    pairs = [(a, b) for a in names if a.startswith("embedded") for b in names if _are_compared(a, b)]
    shown = [
        [
            row["weights"],
            row["requests"],
            *(f"{row['tokens_per_second'][name]:.0f}" for name in names),
            *(f"{row['tokens_per_second'][a] / row['tokens_per_second'][b]:.2f}" for a, b in pairs),
        ]
        for row in rows
    ]
    show_table("New tokens per second", ("weights", "requests", *names, *(f"{a} / {b}" for a, b in pairs)), shown)


def _are_compared(ours: str, other: str) -> bool:
    """`generate` knows no grammar; vLLM is compared under the same conditions."""
    return other.startswith("transformers") or (
        other.startswith("vLLM") and ours.endswith("grammar") == other.endswith("grammar")
    )


if __name__ == "__main__":
    main()
