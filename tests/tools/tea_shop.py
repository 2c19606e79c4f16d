"""A real service with an operation of each kind: one whose argument is known, one whose is not, a broken one, a write."""

from fastapi import FastAPI, Query


def build_shop() -> FastAPI:
    """`state.orders` has what was ordered."""
    shop = FastAPI(servers=[])
    shop.state.orders = []

    @shop.get("/tea", operation_id="find_tea")
    def find_tea(kind: str = Query(examples=["green"])) -> dict[str, str]:
        """Finds a tea."""
        return {"found": f"{kind} tea"}

    @shop.get("/tea/{number}", operation_id="get_tea")
    def get_tea(number: int) -> dict[str, int]:
        """One tea."""
        return {"number": number}

    @shop.get("/broken", operation_id="broken")
    def broken() -> None:
        """Breaks."""
        raise RuntimeError

    @shop.post("/orders", operation_id="order_tea")
    def order_tea() -> str:
        """Orders tea."""
        shop.state.orders.append("tea")
        return "ordered"

    return shop
