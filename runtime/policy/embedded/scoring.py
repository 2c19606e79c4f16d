"""How likely given tokens are.

Shapes: T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch


def score(model: Any, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> tuple[float, ...]:
    """Logprobs of a given completion under the weights as they are now."""
    input_1T = torch.tensor([[*prompt_ids, *completion_ids]], device=model.device)
    count = len(completion_ids)
    logits_TV = model(input_ids=input_1T, use_cache=False, logits_to_keep=count + 1).logits[0, -count - 1 : -1]
    logprobs_TV = torch.log_softmax(logits_TV.float(), dim=-1)
    chosen_T = logprobs_TV.gather(1, input_1T[0, -count:, None])[:, 0]
    return tuple(chosen_T.tolist())
