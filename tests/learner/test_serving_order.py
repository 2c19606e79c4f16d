"""Rows are trained and measured on with their tools in the order in which a user's request would find them."""

from learner.rows import GroundTruth, RewardModel, Row
from learner.serving_order import in_serving_order
from tools.embedding import MiniLm
from tools.retrieval import Retriever


def tool(name: str, description: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": {}}}


PAY, FORECAST, PIZZA = (
    tool("pay", "Settle an invoice"),
    tool("forecast", "Weather of a city"),
    tool("pizza", "Bring food"),
)


def row(*said: str) -> Row:
    return Row(
        data_source="test",
        prompt=tuple({"role": "user", "content": text} for text in said),
        tools=(PAY, FORECAST, PIZZA),
        reward_model=RewardModel(ground_truth=GroundTruth(decision="refuse")),
        extra_info={"id": "a"},
    )


def test_the_tool_that_the_user_means_comes_first_and_nothing_else_changes() -> None:
    hungry, wet = in_serving_order([row("I'm hungry"), row("will it rain?", "in Oslo")], Retriever(MiniLm()))
    assert hungry.tools[0] == PIZZA
    assert wet.tools[0] == FORECAST
    assert sorted(map(str, hungry.tools)) == sorted(map(str, row("x").tools))
    assert hungry.model_copy(update={"tools": row("x").tools}) == row("I'm hungry")
