"""Packed families are an optimisation only: each situation is computed as in a row of its own."""

import random

import torch

from learner.branched import Branches, use_branched_attention
from learner.starter import build_model
from learner.synth.packing import IGNORED, Layout, pack_family
from learner.synth.scenarios import invent_family
from runtime.prompt import Renderer
from runtime.settings import STARTER_MODEL


def test_a_packed_branch_has_the_logits_of_a_row_of_its_own() -> None:
    renderer = Renderer.load(STARTER_MODEL)
    torch.manual_seed(0)
    plain = build_model("tiny", renderer.tokenizer).eval()
    branched = build_model("tiny", renderer.tokenizer).eval()
    branched.load_state_dict(plain.state_dict())
    use_branched_attention(branched)
    layout = Layout(prefix=256, slot=192, slots=2)
    family = invent_family(random.Random(3), "train", tools=(2, 3), situations=6)
    packed = pack_family(family, renderer, layout, random.Random(0))
    assert packed is not None
    ids, owners = torch.from_numpy(packed.token_ids)[None], torch.from_numpy(packed.branches)[None]
    branches = Branches.of(owners, prefix=layout.prefix, slot=layout.slot)
    with torch.no_grad():
        together = branched(
            input_ids=ids, position_ids=torch.from_numpy(packed.positions)[None], branches=branches, use_cache=False
        ).logits[0]
        prefix = ids[0, owners[0] == 0]
        for number in range(1, int(owners.max()) + 1):
            own = owners[0] == number
            alone = plain(input_ids=torch.cat([prefix, ids[0, own]])[None], use_cache=False).logits[0, len(prefix) :]
            torch.testing.assert_close(together[own], alone, atol=2e-4, rtol=1e-3)


def test_targets_are_what_the_policy_writes() -> None:
    renderer = Renderer.load(STARTER_MODEL)
    family = invent_family(random.Random(5), "train", tools=(1, 2), situations=4)
    packed = pack_family(family, renderer, Layout(), random.Random(0))
    assert packed is not None
    written = renderer.decode([t for t in packed.targets.tolist() if t != IGNORED])
    assert written.count("<tool_call>") <= sum(len(s.messages) for s in family.situations) * 2
    assert written
