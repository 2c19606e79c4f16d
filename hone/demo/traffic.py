"""Draws the demo's traffic from `hone.demo.scenes`: `python -m hone.demo.traffic` writes traffic.jsonl.

Live requests are about tools that may be learnt from. Gate and held-out requests are only about tools that learning never sees:
the first decide whether an adapter is promoted, the second are measured before and after and decide nothing. The file is committed,
so every demo plays the same requests.
"""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hone.demo.scenes import SPLITS, Request, Scene, Split, ToolScene, read_scenes, restated, spoken
from runtime.decision import RefusalCategory

Wish = Literal["execute", "clarify", "refuse"]
TRAFFIC_FILE = Path(__file__).with_name("traffic.jsonl")
_ABSENT = 1
"""Requests of each tool that are made where the tool is not at hand, and so are to be refused."""
_NONE_SPLITS: tuple[Split, ...] = ("live", "gate", "live", "held_out")
"""Whose the messages are that no tool of a scene serves, in turn."""


class Visit(BaseModel):
    """One user with one wish: how it begins, and what this user says if the agent asks or errs."""

    model_config = ConfigDict(frozen=True)

    id: str
    split: Split
    wants: Wish
    """The right first decision."""
    opening: str
    tool: str | None = None
    arguments: dict[str, Any] = {}
    """What the user has in mind, said or not."""
    missing: tuple[str, ...] = ()
    replies: dict[str, str] = {}
    """Words for each argument, when asked for it."""
    restate: str = ""
    category: str | None = None
    shown: tuple[str, ...] = ()
    """Names of the tools that are shown to the policy, as an application limits its users to its own."""

    @property
    def forbidden(self) -> bool:
        """Whether a tool that is shown would serve it, and a rule of the house does not let it."""
        return self.category == RefusalCategory.NOT_PERMITTED


def draw_visits(seed: int = 7) -> Iterator[Visit]:
    """Every request of every scene once, in mixed order."""
    scenes = read_scenes()
    for split in SPLITS:
        rng = random.Random(f"{seed}/{split}")
        everywhere = [t.tool for scene in scenes for t in scene.tools if _beside(t, split)]
        visits = [visit for scene in scenes for visit in _visits(rng, split, scene, everywhere)]
        visits += [visit for scene in scenes for visit in _forbidden(rng, split, scene, everywhere)]
        rng.shuffle(visits)
        for number, visit in enumerate(visits):
            yield visit.model_copy(update={"id": f"{split}-{number:04d}"})


def _beside(tool: ToolScene, split: Split) -> bool:
    """Whether a tool may be shown to users of a split: what learning never sees is not at hand in live traffic."""
    return split != "live" or tool.split == "live"


def _visits(rng: random.Random, split: Split, scene: Scene, everywhere: Sequence[str]) -> Iterator[Visit]:
    here = [tool.tool for tool in scene.tools if _beside(tool, split)]
    for tool in scene.tools:
        if tool.split != split:
            continue
        absent = rng.sample(tool.requests, _ABSENT)
        for request in tool.requests:
            if request in absent:
                yield _refused(rng, split, request.says, "out_of_scope", _others(rng, tool, here, everywhere))
            else:
                yield _served(rng, split, tool, request, here, everywhere)
    for place, none in enumerate(scene.none):
        if _NONE_SPLITS[place % len(_NONE_SPLITS)] == split:
            yield _refused(rng, split, none.says, none.category.value, here)


def _forbidden(rng: random.Random, split: Split, scene: Scene, everywhere: Sequence[str]) -> Iterator[Visit]:
    here = [tool.tool for tool in scene.tools if _beside(tool, split)]
    for tool in scene.tools:
        for says in tool.forbidden if tool.split == split else ():
            others = _others(rng, tool, here, everywhere)
            yield _refused(rng, split, says, RefusalCategory.NOT_PERMITTED.value, others, needed=[tool.tool])


def _served(
    rng: random.Random, split: Split, tool: ToolScene, request: Request, here: Sequence[str], everywhere: Sequence[str]
) -> Visit:
    others = _others(rng, tool, here, everywhere)
    return Visit(
        id="",
        split=split,
        wants="clarify" if request.missing else "execute",
        opening=request.says,
        tool=tool.tool,
        arguments=request.arguments,
        missing=request.missing,
        replies={name: spoken(value) for name, value in request.arguments.items()},
        restate=restated(tool, request.arguments),
        shown=_shown(rng, [tool.tool], others),
    )


def _refused(
    rng: random.Random, split: Split, says: str, category: str, others: Sequence[str], *, needed: Sequence[str] = ()
) -> Visit:
    shown = _shown(rng, needed, others)
    return Visit(id="", split=split, wants="refuse", opening=says, category=category, shown=shown)


def _others(rng: random.Random, tool: ToolScene, here: Sequence[str], everywhere: Sequence[str]) -> list[str]:
    """What may be shown beside a tool: of its scene, or of any."""
    return [name for name in rng.choice((here, everywhere)) if name != tool.tool]


def _shown(rng: random.Random, needed: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """Three to five tools in mixed order, fewer where there are no more."""
    wanted = rng.randint(3, 5) - len(needed)
    shown = [*needed, *rng.sample(others, min(wanted, len(others)))]
    rng.shuffle(shown)
    return tuple(shown)


def read_traffic(path: Path = TRAFFIC_FILE) -> list[Visit]:
    """Raises: ValueError naming file and line."""
    visits = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            visits.append(Visit.model_validate_json(line))
        except ValueError as e:
            raise ValueError(f"{path}:{number}: not a visit: {e}") from e
    return visits


if __name__ == "__main__":
    lines = [json.dumps(v.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False) for v in draw_visits()]
    TRAFFIC_FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} visits in {TRAFFIC_FILE}")
