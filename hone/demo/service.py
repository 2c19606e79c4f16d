"""The demo's third party: a city service over HTTP, a real FastAPI application that knows nothing of hone.

Its answers follow from the arguments alone, so that every run sees the same world; some requests fail, as in life.
"""

import hashlib
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field


class TableRequest(BaseModel):
    restaurant: str
    guests: Annotated[int, Field(ge=1)]
    time: str


class ParcelRequest(BaseModel):
    parcel: str


class TaxiRequest(BaseModel):
    pickup: str
    destination: str


class FlightRequest(BaseModel):
    origin: str
    destination: str
    date: str


class BikeRequest(BaseModel):
    station: str
    hours: Annotated[int, Field(ge=1)]
    kind: Literal["city", "mountain", "electric"] = "city"


class ForecastRequest(BaseModel):
    city: str


def _number(text: str, low: int, high: int) -> int:
    digest = int.from_bytes(hashlib.sha256(text.lower().encode()).digest()[:4])
    return low + digest % (high - low)


def build_service() -> FastAPI:
    service = FastAPI(title="City services")

    @service.post("/tables")
    def reserve_table(request: TableRequest) -> dict[str, Any]:
        if request.guests > 12:
            raise HTTPException(422, f"no table for {request.guests} guests; the largest seats 12")
        return {"status": "reserved", "code": f"T{_number(request.restaurant + request.time, 100, 999)}"}

    @service.post("/parcels")
    def track_parcel(request: ParcelRequest) -> dict[str, Any]:
        if _number(request.parcel, 0, 12) == 0:
            raise HTTPException(404, f"no parcel {request.parcel}")
        if _number(request.parcel, 0, 12) == 1:
            raise HTTPException(503, "the depot does not answer")
        return {"status": ("in transit", "delivered", "at the depot")[_number(request.parcel, 0, 3)]}

    @service.post("/taxis")
    def order_taxi(request: TaxiRequest) -> dict[str, Any]:
        return {"minutes": _number(request.pickup, 3, 20), "price": _number(request.destination, 8, 60)}

    @service.post("/forecasts")
    def forecast(request: ForecastRequest) -> dict[str, Any]:
        return {"temperature": _number(request.city, -5, 32), "wind": _number(request.city + "w", 0, 60)}

    @service.post("/flights")
    def find_flights(request: FlightRequest) -> dict[str, Any]:
        return {
            "flight": f"H{_number(request.origin + request.date, 100, 999)}",
            "price": _number(request.destination, 40, 400),
        }

    @service.post("/bikes")
    def rent_bike(request: BikeRequest) -> dict[str, Any]:
        return {
            "bike": _number(request.station, 1, 200),
            "price": request.hours * (4 if request.kind == "electric" else 3),
        }

    return service


def definitions(base_url: str) -> list[dict[str, Any]]:
    """How the service's developer registers its operations: JSON schema and endpoint."""
    text = {"type": "string"}

    def tool(
        name: str,
        description: str,
        path: str,
        properties: dict[str, Any],
        required: list[str],
        side_effect: str = "read",
        *,
        never_train: bool = False,
    ) -> dict[str, Any]:
        parameters = {"type": "object", "properties": properties, "required": required}
        endpoint = {"url": f"{base_url}{path}", "method": "POST"}
        return {
            "name": name,
            "description": description,
            "parameters": parameters,
            "endpoint": endpoint,
            "side_effect": side_effect,
            "never_train": never_train,
        }

    return [
        tool(
            "reserve_table",
            "Reserve a table at a restaurant.",
            "/tables",
            {"restaurant": text, "guests": {"type": "integer"}, "time": text},
            ["restaurant", "guests", "time"],
            "write",
        ),
        tool("track_parcel", "Track a parcel by its number.", "/parcels", {"parcel": text}, ["parcel"]),
        tool(
            "order_taxi",
            "Order a taxi.",
            "/taxis",
            {"pickup": text, "destination": text},
            ["pickup", "destination"],
            "write",
        ),
        tool("get_forecast", "Get the weather forecast of a city.", "/forecasts", {"city": text}, ["city"]),
        tool(
            "find_flights",
            "Find flights between two cities.",
            "/flights",
            {"origin": text, "destination": text, "date": {"type": "string", "format": "date"}},
            ["origin", "destination", "date"],
            never_train=True,
        ),
        tool(
            "rent_bike",
            "Rent a bike from a station.",
            "/bikes",
            {
                "station": text,
                "hours": {"type": "integer"},
                "kind": {"type": "string", "enum": ["city", "mountain", "electric"]},
            },
            ["station", "hours"],
            "write",
            never_train=True,
        ),
    ]
