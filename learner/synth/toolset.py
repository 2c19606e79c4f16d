"""The tools that a family shows, and which of them its requests are about."""

import random
from collections.abc import Sequence

from learner.synth.invention import InventedTool

CHANCES = (0.78, 0.13, 0.05, 0.02, 0.01, 0.01)
"""How often the search puts the right tool first, second and so on: measured on 500 generated rows of tools that were never trained
on (0.80, 0.13, 0.04; `docs/decisions/0039-*.md`)."""


class Toolset(list[InventedTool]):
    """Tools in the order in which they are shown."""

    def __init__(self, tools: Sequence[InventedTool], *, by_fit: bool = False) -> None:
        """Args: by_fit: requests are about the first tool as often as serving puts the right one first; else about any alike."""
        super().__init__(tools)
        self._by_fit = by_fit

    def pick(self, rng: random.Random, among: Sequence[InventedTool] | None = None) -> InventedTool:
        """A tool to ask for. Args: among: only these; default all."""
        able = self if among is None else among
        if not self._by_fit:
            return rng.choice(able)
        chances = dict(zip((tool.name for tool in self), CHANCES, strict=False))
        return rng.choices(able, [chances.get(tool.name, CHANCES[-1]) for tool in able])[0]

    def pick_two(self, rng: random.Random, among: Sequence[InventedTool] | None = None) -> list[InventedTool]:
        """Two different tools, in any order: of a request for both, the search finds both."""
        first = self.pick(rng, among)
        second = self.pick(rng, [tool for tool in (self if among is None else among) if tool is not first])
        return rng.sample([first, second], 2)
