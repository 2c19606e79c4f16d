"""An adapter within its base's weights, for a while: a rollout then costs no more than the base's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer


@contextmanager
def merged(policy: PeftModel) -> Iterator[None]:
    """The base's weights are afterwards what they were, to the bit, and the adapter goes on to be trained. Costs a second copy of
    the weights that are adapted."""
    tuner: Any = policy.base_model
    adapted = (layer for layer in policy.modules() if isinstance(layer, BaseTunerLayer))
    weights: list[Any] = [layer.get_base_layer().weight for layer in adapted]
    own = [weight.data for weight in weights]
    for weight in weights:
        weight.data = weight.data.clone()
    try:
        tuner.merge_adapter()
        yield
    finally:
        tuner.unmerge_adapter()
        for weight, data in zip(weights, own, strict=True):
            weight.data = data
