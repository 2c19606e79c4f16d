"""The knobs that an operator of the learner turns; everything else is fixed where it is used.

Values come from the caller or from HONE_LEARN_* variables (`HONE_LEARN_TRAINING__MAX_STEPS=100`).
"""

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SelectionSettings(_Section):
    """Which verified traces become training rows."""

    min_rows: int = Field(default=16, ge=1)
    """Fewer rows than this: nothing is trained."""
    max_rows: int = Field(default=2000, ge=1)
    """Of more, and of more than a run has steps for beside other rows, some of each class are taken, in proportion."""
    max_per_thread: int = Field(default=16, ge=1)
    """Rows that one conversation may give, so that no user shapes the policy alone."""
    max_per_tool: int = Field(default=400, ge=1)
    """Rows that one tool may give; a row of several tools counts for each."""
    max_class_share: float = Field(default=0.7, gt=0, le=1)
    """The most that one decision class may take: a batch of only executes makes a policy that always executes."""
    min_classes: int = Field(default=2, ge=1, le=4)
    """Decision classes that a batch must hold."""


class TrainingSettings(_Section):
    """One run: the verified decisions are imitated, then GRPO goes on from there."""

    imitation_steps: int = Field(default=100, ge=0)
    """The most optimizer steps on the verified decisions themselves, before the first rollout; for few rows there are fewer. A
    model that cannot share prompts among rollouts has none."""
    imitation_rows: int = Field(default=24, ge=1)
    """Rows of such a step."""
    imitation_rate: float = Field(default=4e-3, gt=0)
    """Peak of AdamW's rate in these steps; its course is that of `learning_rate`."""
    max_steps: int = Field(default=40, ge=1)
    """Optimizer steps of GRPO."""
    prompts_per_step: int = Field(default=8, ge=1)
    """Groups of a step."""
    rollouts_per_prompt: int = Field(default=8, ge=2)
    """Size of a group; a group of one has no advantage."""
    demonstrate: bool = True
    """Where no rollout of a group is right, the verified decision takes the place of one."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of AdamW's rate in GRPO; warmed up over the first 5 % of its steps, then along a cosine to a tenth."""
    rank: int = Field(default=16, ge=1, le=256)
    """Rank of a new LoRA adapter; one that continues a parent keeps the parent's."""
    strength: float = Field(default=0.9, gt=0, le=1)
    """How far the adapter goes from where the run began to where it ended; less than the whole way forgets less (WiSE-FT,
    arXiv:2109.01903)."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the rollouts."""
    updates_per_rollout: int = Field(default=1, ge=1)
    """Optimizer steps on each batch of rollouts; `max_steps` counts them all. More than one trains off-policy."""
    kl_beta: float = Field(default=0.0, ge=0)
    """Weight of the KL term towards what GRPO began with, the imitation being over; 0 saves the reference pass."""
    max_completion_tokens: int = Field(default=96, ge=1)
    """Of a rollout; a longer one is cut."""
    max_prompt_tokens: int = Field(default=1024, ge=1)
    """Longer prompts are left out and counted."""
    seed: int = 0
    """Of the adapter's first weights, the order of the rows and the rollouts."""
    threads: int | None = Field(default=None, ge=1)
    """Torch threads; None leaves torch's own choice."""
    probes: int = Field(default=4, ge=1)
    """Prompts whose logprobs go into the manifest as proof of what was trained."""

    @property
    def steps(self) -> int:
        """The most optimizer steps of the whole run."""
        return self.imitation_steps + self.max_steps

    @property
    def rollout_prompts(self) -> int:
        """Rows that GRPO meets, if there are so many."""
        return -(-self.max_steps // self.updates_per_rollout) * self.prompts_per_step

    @property
    def prompts(self) -> int:
        """Rows that the whole run meets, if there are so many."""
        return max(self.rollout_prompts, self.imitation_steps * self.imitation_rows)


class EvaluationSettings(_Section):
    """How a policy is measured."""

    max_tokens: int = Field(default=160, ge=1)
    """Tokens of a completion; a longer one is cut and most likely invalid."""
    concurrency: int = Field(default=32, ge=1)
    """Requests under way at a time, where rows are not decided in one batch."""
    batch_rows: int = Field(default=64, ge=1)
    """Rows that are decided together; a run that is broken off loses at most these."""
    resamples: int = Field(default=2000, ge=100)
    """Bootstrap resamples."""
    seed: int = 0
    """Of the resamples."""


class GateSettings(_Section):
    """When a candidate may replace the incumbent."""

    min_rows: int = Field(default=50, ge=1)
    """Fewer paired rows than this: no promotion."""
    min_gain: float = Field(default=0.0, ge=0)
    """The lower bound of the overall paired gain must exceed this."""
    max_class_drop: float = Field(default=0.1, ge=0)
    """A class whose mean reward falls by more than this blocks, even within noise."""
    resamples: int = Field(default=4000, ge=100)
    """Bootstrap resamples."""
    seed: int = 0
    """Of the resamples."""


class LearnerSettings(BaseSettings):
    """All of the learner's settings."""

    model_config = SettingsConfigDict(
        env_prefix="HONE_LEARN_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
        use_attribute_docstrings=True,
    )

    selection: SelectionSettings = SelectionSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    gate: GateSettings = GateSettings()
    variants: int = Field(default=500, ge=0)
    """Rows that follow from the selected ones (`learner.variants`) and are trained on beside them, if steps suffice."""
    contrasts: int = Field(default=200, ge=0)
    """Usual requests with words by which a selected one broke a refuse rule, to be declined (`learner.contrasts`), that are trained
    on beside the traces if steps suffice; 0: none."""
    replay: int = Field(default=900, ge=0)
    """Requests of everyday life, to be served, asked about or refused, that are trained on beside the traces if steps suffice; 0:
    none."""
    curriculum: int = Field(default=200, ge=0)
    """Cases of the registered tools that are trained on beside the traces; as many of never-train tools measure; 0: none."""
    seed: int = 0
    """Of the selection, the replay and the curriculum."""
    interval_s: float = Field(default=300.0, gt=0)
    """Pause between two cycles of `run_forever`, in seconds."""
