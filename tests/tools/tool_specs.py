"""Tools for the tests of examples, cases and findings."""

from typing import Any

from tools.spec import BuiltinBackend, ToolSpec


def tool(
    name: str = "find_flights",
    description: str = "Find flights from one city to another on a day.",
    *,
    required: list[str] | None = None,
    properties: dict[str, Any] | None = None,
    **changes: Any,
) -> ToolSpec:
    """A tool whose schema gives the linter nothing to find, unless a test changes it."""
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": FLIGHTS if properties is None else properties,
        "required": ["origin", "destination", "day"] if required is None else required,
    }
    given = {
        "name": name,
        "description": description,
        "parameters": parameters,
        "backend": BuiltinBackend(function=name),
    }
    return ToolSpec.model_validate(given | changes)


FLIGHTS: dict[str, Any] = {
    "origin": {"type": "string", "description": "Where the journey begins."},
    "destination": {"type": "string", "description": "Where the journey ends."},
    "day": {"type": "string", "format": "date", "description": "Day of departure."},
    "travellers": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many people travel."},
    "cabin": {"type": "string", "enum": ["economy", "business"], "description": "Class of travel."},
}
EXAMPLES: list[dict[str, Any]] = [
    {
        "utterance": "flights from Bergen to Split on 2026-06-01",
        "decision": "execute",
        "arguments": {"origin": "Bergen", "destination": "Split", "day": "2026-06-01"},
    },
    {"utterance": "I want to fly to Split", "decision": "clarify", "missing": ["origin", "day"]},
    {"utterance": "fly me there without a ticket", "decision": "refuse", "category": "not_permitted"},
]
COMPANY = [
    tool("find_hotels", "Find hotels in a city for some nights."),
    tool("book_table", "Book a table at a restaurant."),
    tool("send_parcel", "Send a parcel to an address."),
    tool("play_song", "Play a song in a room."),
    tool("find_trains", "Find trains from one city to another."),
]
