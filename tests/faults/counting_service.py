"""A tool developer's service that counts, for the fault tests: what arrived, signed by whom, and what it did.

It outlives the servers that call it. Bookings (`/write`) are done as often as they arrive; keyed ones (`/keyed`) once for each key;
`/read` does nothing.
"""

import asyncio
import json
import random
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from standardwebhooks import Webhook, WebhookVerificationError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LONGEST_PAUSE_S = 0.04


@dataclass
class CountingService:
    arrivals: Counter[str] = field(default_factory=Counter)
    """Call id → requests, whether answered or not."""
    effects: Counter[str] = field(default_factory=Counter)
    """Call id → how often its work was done."""
    asked: defaultdict[tuple[str, int], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Tool and its argument `n` → call id → requests."""
    forged: int = 0
    """Requests without a signature of ours."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(7)

    def app(self) -> FastAPI:
        app = FastAPI()
        app.post("/write")(self.write)
        app.post("/keyed")(self.keyed)
        app.post("/read")(self.read)
        return app

    async def write(self, request: Request) -> JSONResponse:
        return await self._serve(request, once=False)

    async def keyed(self, request: Request) -> JSONResponse:
        return await self._serve(request, once=True)

    async def read(self, request: Request) -> JSONResponse:
        return await self._serve(request, once=True)

    async def _serve(self, request: Request, *, once: bool) -> JSONResponse:
        body = await request.body()
        try:
            Webhook(SECRET).verify(body, dict(request.headers), json_parse=False)
        except WebhookVerificationError as e:
            self.forged += 1
            return JSONResponse({"error": str(e)}, status_code=403)
        key = request.headers["webhook-id"]  # also where a read has no idempotency key
        await self._pause()
        with self._lock:
            self.arrivals[key] += 1
            self.asked[request.url.path.removeprefix("/"), json.loads(body)["n"]][key] += 1
            if not (once and self.effects[key]):
                self.effects[key] += 1
        await self._pause()
        return JSONResponse({"done": key})

    async def _pause(self) -> None:
        """So that a kill meets requests before and after their effect."""
        await asyncio.sleep(self._random.uniform(0, LONGEST_PAUSE_S))
