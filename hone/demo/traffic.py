"""Draws the demo's traffic from `hone.demo.world`: `python -m hone.demo.traffic` writes traffic.jsonl.

Live requests are about tools that may be learnt from. Gate and held-out requests are only about tools that learning never sees:
the first decide whether an adapter is promoted, the second are measured before and after and decide nothing. The file is committed,
so every demo plays the same requests.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hone.demo.world import OUT_OF_SCOPE, SCOPE_WORDS, UNSAFE, WANTS, Want

Split = Literal["live", "gate", "held_out"]
Wish = Literal["execute", "clarify", "refuse"]
TRAFFIC_FILE = Path(__file__).with_name("traffic.jsonl")
COUNTS: dict[Split, int] = {"live": 360, "gate": 200, "held_out": 360}
MIX: dict[Wish, float] = {"execute": 0.55, "clarify": 0.27, "refuse": 0.18}


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


def _polish(rng: random.Random, template: str) -> str:
    """Small talk around a template; a value at either end stays as it is."""
    draw = rng.random()
    if draw < 0.15 and not template.startswith("{"):
        return template[0].upper() + template[1:]
    if draw < 0.22 and not template.endswith("}"):
        return template + rng.choice(("!", " thanks", " please"))
    if draw < 0.28:
        return rng.choice(("hi, ", "hello, ", "ok ")) + template
    return template


def _values(rng: random.Random, want: Want) -> dict[str, tuple[Any, str]]:
    while True:
        drawn = {name: rng.choice(pool) for name, pool in want.values.items()}
        if len({repr(v) for v, _ in drawn.values()}) == len(drawn):
            return drawn


def _said(template: str, names: Any) -> set[str]:
    return {name for name in names if f"{{{name}}}" in template}


def _tool_visit(
    rng: random.Random, visit_id: str, split: Split, wants: Literal["execute", "clarify"], want: Want
) -> Visit:
    drawn = _values(rng, want)
    words = {name: spoken for name, (_, spoken) in drawn.items()}
    if wants == "execute":
        template, missing = rng.choice(want.complete), ()
    else:
        template, missing = rng.choice(want.lacking)
    said = _said(template, drawn)
    kept = said | set(missing)
    return Visit(
        id=visit_id,
        split=split,
        wants=wants,
        opening=_polish(rng, template).format(**words),
        tool=want.tool,
        arguments={name: value for name, (value, _) in drawn.items() if name in kept},
        missing=missing,
        replies={name: words[name] for name in kept},
        restate=want.restate.format(**words),
    )


def _refuse_visit(rng: random.Random, visit_id: str, split: Split) -> Visit:
    unsafe = rng.random() < 0.2
    # Neither its sentences nor its words may be met again on the other side.
    half = slice(0, None, 2) if split == "live" else slice(1, None, 2)
    template = _polish(rng, rng.choice((UNSAFE if unsafe else OUT_OF_SCOPE)[half]))
    category = "unsafe" if unsafe else "out_of_scope"
    return Visit(
        id=visit_id,
        split=split,
        wants="refuse",
        opening=template.format(x=rng.choice(SCOPE_WORDS[half])),
        category=category,
    )


def draw_visits(seed: int = 7) -> Iterator[Visit]:
    rng = random.Random(seed)
    seen: set[str] = set()
    for split, count in COUNTS.items():
        wants = [w for w in WANTS if w.never_train == (split != "live")]
        made = 0
        while made < count:
            kind: Wish = rng.choices(tuple(MIX), tuple(MIX.values()))[0]
            visit_id = f"{split}-{made:03d}"
            if kind == "refuse":
                visit = _refuse_visit(rng, visit_id, split)
            else:
                visit = _tool_visit(rng, visit_id, split, kind, wants[made % len(wants)])
            if visit.opening in seen:
                continue
            seen.add(visit.opening)
            made += 1
            yield visit.model_copy(update={"shown": _shown(rng, visit, wants)})


def _shown(rng: random.Random, visit: Visit, wants: list[Want]) -> tuple[str, ...]:
    names = [w.tool for w in wants]
    if visit.tool is None:
        return tuple(rng.sample(names, rng.randint(3, 5)))
    others = [n for n in names if n != visit.tool]
    shown = [visit.tool, *rng.sample(others, rng.randint(2, 4))]
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
