"""The policy in process: torch, a Hugging Face causal LM and PEFT adapters, fit for a laptop's CPU.

`policy` is what the rest of hone sees; `worker` is the thread that owns the model; `batch` is the arithmetic of
sampling many requests at once; `residency` keeps the adapters. Torch is imported here and nowhere else in the runtime.
"""

from runtime.policy.embedded.policy import EmbeddedPolicy

__all__ = ["EmbeddedPolicy"]
