"""The policy in process: torch, a Hugging Face causal LM and PEFT adapters, fit for a laptop's CPU.

`policy` is what the rest of hone sees; `worker` is the thread that owns the model; `decoder` is how rows decode together, any
model's in `padded`, small ones' in `fused`; `residency` keeps the adapters. Torch is imported here and nowhere else in the runtime.
"""

from runtime.policy.embedded.policy import EmbeddedPolicy

__all__ = ["EmbeddedPolicy"]
