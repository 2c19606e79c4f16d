"""What a set of rows covers: decisions, tools, calls, kinds of arguments, turns, and how requests are worded. Pure."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from learner.duplicates import said_in
from learner.rows import Row


@dataclass(frozen=True, slots=True)
class Coverage:
    rows: int
    tools: int
    """Definitions with different names."""
    words: int
    """Different words of users."""
    median_words: float
    """Of a row's user messages together."""
    counts: Mapping[str, Mapping[str, int]]
    """Heading → what → how many rows; of arguments: how many arguments of right calls."""


def coverage_of(rows: Sequence[Row]) -> Coverage:
    counts: dict[str, Counter[str]] = {
        heading: Counter()
        for heading in ("source", "decision", "tools shown", "calls", "missing", "category", "turns", "argument")
    }
    for row in rows:
        truth = row.truth
        counts["source"][row.data_source] += 1
        counts["decision"][truth.decision] += 1
        counts["tools shown"][_range(len(row.tools))] += 1
        if truth.decision == "execute":
            counts["calls"][str(len(truth.tool_calls))] += 1
        elif truth.decision == "clarify":
            counts["missing"][str(len(truth.missing)) if truth.missing else "any question"] += 1
        elif truth.decision == "refuse":
            counts["category"][truth.category or "any"] += 1
        counts["turns"][_turns(row)] += 1
        counts["argument"].update(_arguments(row))
    said = [said_in(row).split() for row in rows]
    return Coverage(
        rows=len(rows),
        tools=len({tool["function"]["name"] for row in rows for tool in row.tools}),
        words=len({word for words in said for word in words}),
        median_words=statistics.median(map(len, said)) if said else 0.0,
        counts={heading: dict(sorted(counter.items())) for heading, counter in counts.items() if counter},
    )


def _range(count: int) -> str:
    return str(count) if count < 7 else "7 to 20" if count <= 20 else "more than 20"


def _turns(row: Row) -> str:
    users = sum(message["role"] == "user" for message in row.prompt)
    after = ", after a result" if row.prompt[-1]["role"] == "tool" else ""
    had = ", with results before" if not after and any(m["role"] == "tool" for m in row.prompt) else ""
    return f"{min(users, 5)}{'+' if users > 5 else ''}{after}{had}"


def _arguments(row: Row) -> Iterator[str]:
    """The kind of each argument of the right calls, by its schema."""
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in row.tools}
    for call in row.truth.tool_calls:
        properties: Mapping[str, Any] = schemas.get(call.name, {}).get("properties") or {}
        for name in call.arguments:
            yield kind_of(properties.get(name) or {})


def kind_of(schema: Any) -> str:
    """Such as "integer", "date", "enum", "array of string" or "object"."""
    if not isinstance(schema, Mapping):
        return "any"
    if "enum" in schema:
        return "enum"
    kind = schema.get("type", "any")
    if kind in ("array", "tuple", "list") and schema.get("items"):
        return f"array of {kind_of(schema['items'])}"
    return str(schema.get("format") or kind)
