"""What a training run says of itself. Plain data, so that the daemon can read it without importing a trainer."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from runtime.policy.manifest import Probe


class TrainingReport(BaseModel):
    model_config = ConfigDict(frozen=True)

    adapter_dir: Path | None
    """What PEFT saved; None when there was no signal."""
    parent: str | None
    """Folder of the adapter that training began with; None: a new one on the base."""
    imitated: int = 0
    """Rows whose verified decision was imitated before the first rollout. Of the others none can be written out that earns the full
    reward, fits and keeps to the grammar, or steps did not suffice."""
    imitation_losses: tuple[float, ...] = ()
    """Of each step of that, in nats per token."""
    steps: int
    """Of GRPO's optimizer."""
    rewards: tuple[float, ...]
    """Mean reward of each batch of rollouts, demonstrations left out; a batch serves `updates_per_rollout` steps."""
    groups_total: int
    groups_equal: int
    """Groups whose rewards are all equal: they teach nothing."""
    groups_demonstrated: int = 0
    """Groups in which no rollout was right and the verified decision took the place of one."""
    batches_without_signal: int
    """Batches of which every group was equal."""
    no_signal: bool
    """Every group of the run was equal and nothing was imitated: the adapter is unchanged and not kept."""
    too_long: tuple[str, ...]
    """Ids of rows whose prompt is over the limit; they were left out."""
    drift: float
    """Mean absolute change of the probes' logprobs from the start of the run, in nats."""
    kl: float | None
    """Mean KL that TRL measured towards what GRPO began with; None when `kl_beta` is 0."""
    completion_tokens: int
    """Sampled in all."""
    shared_prompts: bool
    """Whether rollouts of a group shared their prompt's computation; False is slower, and without imitation."""
    seconds: float
    probes: tuple[Probe, ...]
