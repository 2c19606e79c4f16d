"""A real HTTP service for the tests, well-behaved and not."""

import asyncio
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from pydantic import BaseModel

LARGE_BYTES = 20_000_000


class Order(BaseModel):
    drink: str
    cups: int = 1


def build_service() -> FastAPI:
    app = FastAPI()
    app.state.headers = []

    @app.post("/orders")
    async def order(body: Order, request: Request) -> dict[str, Any]:
        app.state.headers.append(dict(request.headers))
        return {"drink": body.drink, "cups": body.cups, "note": "à bientôt"}

    @app.get("/menu")
    async def menu(request: Request) -> dict[str, Any]:
        return {"query": [list(pair) for pair in request.query_params.multi_items()]}

    @app.api_route("/status/{status}", methods=["GET", "POST"], include_in_schema=False)
    async def answer(status: int) -> JSONResponse:
        return JSONResponse({"error": {"message": f"said {status}"}}, status_code=status)

    @app.post("/page")
    async def page() -> HTMLResponse:
        return HTMLResponse("<html><body>Welcome</body></html>")

    @app.post("/broken-page")
    async def broken_page() -> HTMLResponse:
        return HTMLResponse("<html><body>Bad Gateway</body></html>", status_code=502)

    @app.post("/plain")
    async def plain() -> PlainTextResponse:
        return PlainTextResponse("two cups left")

    @app.post("/empty")
    async def empty() -> Response:
        return Response(status_code=204)

    @app.post("/odd")
    async def odd() -> Response:
        return Response(b'{"text": "\\ud800 \\u0000", "number": 1}', media_type="application/json")

    @app.post("/nan")
    async def nan() -> Response:
        return Response(b'{"number": NaN}', media_type="application/json")

    @app.post("/elsewhere")
    async def elsewhere() -> RedirectResponse:
        return RedirectResponse("/orders")

    @app.post("/large")
    async def large() -> Response:
        return Response(b'"' + b"x" * LARGE_BYTES + b'"', media_type="application/json")

    @app.post("/endless")
    async def endless(request: Request) -> StreamingResponse:
        async def pieces():
            yield b'"' + b"x" * 100_000
            while not await request.is_disconnected():
                await asyncio.sleep(0.02)

        return StreamingResponse(pieces(), media_type="application/json")

    @app.post("/hang")
    async def hang(request: Request) -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(0.02)

    return app
