"""Merged for a while, an adapter computes what it did, and leaves no trace in the base."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from learner.merging import merged
from tests.tiny_model import build_tiny_model

# PEFT asks transformers for a property under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

IDS = torch.arange(10, 40)[None]


@pytest.fixture
def policy(tmp_path: Path) -> PeftModel:
    base = AutoModelForCausalLM.from_pretrained(build_tiny_model(tmp_path / "tiny"), dtype=torch.float32)
    policy = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    assert isinstance(policy, PeftModel)
    return policy


def _weights(policy: PeftModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()}


def test_the_merged_model_says_what_the_adapted_one_says_without_the_adapters_own_products(policy: PeftModel) -> None:
    with torch.no_grad():
        adapted = policy(input_ids=IDS).logits
        with policy.disable_adapter():
            assert (policy(input_ids=IDS).logits - adapted).abs().max() > 0.1, "the adapter changes nothing"
        with merged(policy):
            for layer in policy.modules():
                for part in getattr(layer, "lora_A", {}).values():
                    part.register_forward_hook(lambda *_: pytest.fail("the adapter was computed by itself"))
            assert torch.allclose(policy(input_ids=IDS).logits, adapted, atol=1e-4)


def test_afterwards_every_weight_is_what_it_was_even_where_a_rollout_failed(policy: PeftModel) -> None:
    before = _weights(policy)
    with pytest.raises(ZeroDivisionError), merged(policy):
        raise ZeroDivisionError
    after = _weights(policy)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_afterwards_the_adapter_goes_on_to_learn(policy: PeftModel) -> None:
    with torch.no_grad(), merged(policy):
        policy(input_ids=IDS)
    policy(input_ids=IDS).logits.mean().backward()
    learning = [p.grad for p in policy.parameters() if p.requires_grad]
    assert learning
    assert all(grad is not None for grad in learning)
