"""Packed families are an optimisation only: each situation is computed as in a row of its own."""

import random
from typing import Any

import numpy as np
import torch

from learner.branched import Branches, use_branched_attention
from learner.starter import build_model
from learner.synth.packing import IGNORED, Layout, pack_family
from learner.synth.scenarios import invent_family
from runtime.decision import Execute, ToolCall, write_decision
from runtime.prompt import Renderer
from runtime.settings import STARTER_MODEL


def test_a_packed_branch_has_the_logits_of_a_row_of_its_own() -> None:
    renderer = Renderer.load(STARTER_MODEL)
    torch.manual_seed(0)
    plain = build_model("tiny", renderer.tokenizer).eval()
    branched = build_model("tiny", renderer.tokenizer).eval()
    branched.load_state_dict(plain.state_dict())
    use_branched_attention(branched)
    seen = set[str]()
    for seed, layout in ((3, Layout(240, 192, 2)), (4, Layout(240, 880, 1, long=True)), (5, Layout(240, 192, 2))):
        weights = {"conversation": 1.0} if layout.long else None
        family = invent_family(random.Random(seed), "train", tools=(2, 3), situations=6, weights=weights)
        packed = pack_family(family, renderer, layout, random.Random(seed))
        assert packed is not None
        ids, owners, positions = (
            torch.from_numpy(array)[None] for array in (packed.token_ids, packed.branches, packed.positions)
        )
        branches = Branches.of(owners, prefix=layout.prefix, slot=layout.slot)
        with torch.no_grad():
            together = branched(input_ids=ids, position_ids=positions, branches=branches, use_cache=False).logits[0]
            first = owners[0] == 0
            for number in range(1, int(owners.max()) + 1):
                own = owners[0] == number
                whole = torch.cat([ids[0, first], ids[0, own]])[None]
                alone = plain(
                    input_ids=whole,
                    position_ids=torch.cat([positions[0, first], positions[0, own]])[None],
                    attention_mask=torch.ones_like(whole),  # else a gap would read as the seam of two sequences
                    use_cache=False,
                ).logits[0, int(first.sum()) :]
                torch.testing.assert_close(together[own], alone, atol=2e-4, rtol=1e-3)
                seen.add("apart" if positions[0, own][0] > first.sum() else "beside")
    assert seen == {"apart", "beside"}


def test_in_a_long_conversation_every_decision_is_taught_under_the_prompt_that_serving_gives() -> None:
    renderer = Renderer.load(STARTER_MODEL)
    layout = Layout(240, 1600, 1, long=True)
    taught = 0
    for seed in range(12):
        family = invent_family(random.Random(seed), "train", tools=(1, 2), situations=1, weights={"conversation": 1.0})
        packed = pack_family(family, renderer, layout, random.Random(seed))
        if packed is None:
            continue
        (made,) = family.situations
        numbers = np.flatnonzero(packed.targets != IGNORED)
        spans = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
        written = [renderer.decode(packed.targets[span].tolist()) for span in spans]
        messages = [made.messages[at] for at in made.taught]
        assert written[-1] == write_decision(made.decision)
        assert len(written) == len(messages) + 1
        for text, message in zip(written, messages, strict=False):
            assert text == (message["content"] or "".join(map(_as_written, message["tool_calls"])))
        taught += len(messages)
    assert taught > 12


def _as_written(call: dict[str, Any]) -> str:
    return write_decision(Execute(calls=(ToolCall(**call["function"]),)))


def test_targets_are_what_the_policy_writes() -> None:
    renderer = Renderer.load(STARTER_MODEL)
    family = invent_family(random.Random(5), "train", tools=(1, 2), situations=4)
    packed = pack_family(family, renderer, Layout(240, 288, 2), random.Random(0))
    assert packed is not None
    written = renderer.decode([t for t in packed.targets.tolist() if t != IGNORED])
    assert written.count("<tool_call>") <= sum(len(s.messages) for s in family.situations) * 2
    assert written
