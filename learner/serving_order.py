"""Rows as serving would show them: the likeliest tool first.

A policy learns how far the order of its tools can be trusted. That is only true of rows whose tools stand in the order in which the
same search would put them for a user.
"""

from collections.abc import Sequence
from typing import Any

from learner.rows import Row
from runtime.prompt import called_tools, recent_words
from tools.retrieval import Retriever, describe


def in_serving_order(rows: Sequence[Row], retriever: Retriever, *, limit: int = 0) -> list[Row]:
    """The same rows; of each the tools are put in order by what its user says.

    Args: limit: the most that a row shows, what its conversation called last among them; 0: all.
    """
    return [_arranged(row, retriever, limit) for row in rows]


def _arranged(row: Row, retriever: Retriever, limit: int) -> Row:
    described = tuple(_described(tool["function"]) for tool in row.tools)
    places = {tool["function"]["name"]: i for i, tool in enumerate(row.tools)}
    kept = [places[name] for name in called_tools(row.prompt) if name in places]
    order = retriever.order(described, recent_words(row.prompt), limit=limit, keep=kept)
    return row.model_copy(update={"tools": tuple(row.tools[i] for i in order)})


def _described(function: dict[str, Any]) -> str:
    return describe(function["name"], function.get("description", ""), function.get("parameters", {}))
