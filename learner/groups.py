"""Groups of rollouts: their advantages, and whether there is anything to learn from them.

A group whose rewards are all equal has no advantage and teaches nothing. Rewards pass through float32 on their way, so
"equal" allows for float noise: with a strict comparison such groups would look alive. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

TOLERANCE = 1e-6
"""Rewards no further apart than this are equal."""


def all_equal(rewards_G: Sequence[float], tolerance: float = TOLERANCE) -> bool:
    return max(rewards_G) - min(rewards_G) <= tolerance


def advantages(rewards_G: Sequence[float], *, scale: bool = True) -> tuple[float, ...]:
    """Reward less the group's mean, over the group's standard deviation when `scale` (GRPO, arXiv:2402.03300, §4.1).

    All zero for a group without a signal.
    """
    if all_equal(rewards_G):
        return (0.0,) * len(rewards_G)
    mean = fmean(rewards_G)
    spread = pstdev(rewards_G) if scale else 1.0
    return tuple((reward - mean) / spread for reward in rewards_G)


@dataclass(frozen=True, slots=True)
class StepGroups:
    """What one step's groups looked like."""

    groups: int
    equal: int
    """Groups whose rewards are all equal."""
    mean_reward: float
    """Of what the policy sampled itself."""
    demonstrated: int = 0
    """Groups in which a demonstration took the place of a rollout."""

    @property
    def no_signal(self) -> bool:
        return self.equal == self.groups


def split(rewards: Sequence[float], size: int) -> list[Sequence[float]]:
    """Consecutive groups. Raises: ValueError: the last group would be short."""
    if not rewards or len(rewards) % size:
        raise ValueError(f"{len(rewards)} rewards do not split into groups of {size}")
    return [rewards[start : start + size] for start in range(0, len(rewards), size)]


def count(rewards: Sequence[float], size: int, demonstrated: Sequence[bool] = ()) -> StepGroups:
    """Counts the groups of one step, given its rewards in group order.

    Args:
        demonstrated: for each reward, whether it belongs to a demonstration; empty: none does.
    """
    groups = split(rewards, size)
    own = (
        [reward for reward, given in zip(rewards, demonstrated, strict=True) if not given] if demonstrated else rewards
    )
    return StepGroups(len(groups), sum(map(all_equal, groups)), fmean(own), sum(demonstrated))
