"""How much a key, a tenant and the whole server may do: requests and tokens a minute, requests at a time, running turns.

All of it is counted in memory, by each process for itself: with several, each gives the full measure. What is over a bound is
refused at once, before its body is read, so that overload costs nothing that grows.

A turn is paid for when it has ended, by the tokens that it took, so a bucket may go below nothing; what is owed is waited for.
"""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from runtime.errors import Overloaded, RateLimited

MINUTE_S = 60.0
_MOST_KEPT = 50_000
"""Buckets; those that were not used for longest are forgotten, and are full when they come again."""


class Clock(Protocol):
    def __call__(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Measure:
    """What somebody may use; None: no bound."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


@dataclass(slots=True)
class Bucket:
    """Fills evenly up to `size` a minute; may be owed to."""

    size: int
    level: float
    at: float
    """When the level was this; seconds."""

    def look(self, now: float) -> float:
        self.level = min(float(self.size), self.level + (now - self.at) * self.size / MINUTE_S)
        self.at = now
        return self.level

    def wait_s(self, wanted: float) -> float:
        """Seconds until the level, as it was looked at, reaches `wanted`."""
        return max(0.0, (wanted - self.level) * MINUTE_S / self.size)


@dataclass(frozen=True, slots=True)
class Figures:
    """What is told of one bound in `x-ratelimit-*`."""

    limit: int
    remaining: int
    reset_s: float
    """Until it is full again."""


@dataclass(frozen=True, slots=True)
class Told:
    requests: Figures | None = None
    tokens: Figures | None = None

    def headers(self) -> dict[str, str]:
        """As OpenAI names them."""
        told: dict[str, str] = {}
        for name, figures in (("requests", self.requests), ("tokens", self.tokens)):
            if figures is not None:
                told[f"x-ratelimit-limit-{name}"] = str(figures.limit)
                told[f"x-ratelimit-remaining-{name}"] = str(figures.remaining)
                told[f"x-ratelimit-reset-{name}"] = f"{figures.reset_s:.3f}s"
        return told


@dataclass(frozen=True, slots=True)
class Payer:
    """Who a request counts against, the key before its tenant."""

    name: str
    """For people, as in `key 1a2b3c4d`."""
    measure: Measure


class Limits:
    """Belongs to one event loop."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()
        self._at_once: dict[str, int] = {}

    def enter(self, payers: tuple[Payer, ...]) -> Told:
        """One request more, which `leave` must follow. Raises: RateLimited: nothing was counted."""
        told = self.told(payers)
        for payer in payers:
            self._check(payer, told)
        for payer in payers:
            self._at_once[payer.name] = self._at_once.get(payer.name, 0) + 1
            requests = self._bucket(payer.name, "requests", payer.measure.requests_per_minute)
            if requests is not None:
                requests.level -= 1
        return self.told(payers)

    def leave(self, payers: tuple[Payer, ...]) -> None:
        for payer in payers:
            left = self._at_once.get(payer.name, 0) - 1
            if left > 0:
                self._at_once[payer.name] = left
            else:
                self._at_once.pop(payer.name, None)

    def pay(self, payers: tuple[Payer, ...], tokens: int) -> None:
        for payer in payers:
            bucket = self._bucket(payer.name, "tokens", payer.measure.tokens_per_minute)
            if bucket is not None:
                bucket.level -= tokens

    def told(self, payers: tuple[Payer, ...]) -> Told:
        """Of each kind of bound the one that is nearest."""
        return Told(
            self._nearest(payers, "requests", lambda measure: measure.requests_per_minute),
            self._nearest(payers, "tokens", lambda measure: measure.tokens_per_minute),
        )

    def _nearest(self, payers: tuple[Payer, ...], kind: str, bound: Callable[[Measure], int | None]) -> Figures | None:
        buckets = [self._bucket(payer.name, kind, bound(payer.measure)) for payer in payers]
        figures = [Figures(b.size, max(0, math.floor(b.level)), b.wait_s(b.size)) for b in buckets if b is not None]
        return min(figures, key=lambda f: f.remaining, default=None)

    def _check(self, payer: Payer, told: Told) -> None:
        """Raises: RateLimited."""
        measure = payer.measure
        requests = self._bucket(payer.name, "requests", measure.requests_per_minute)
        if requests is not None and requests.level < 1:
            why = f"{payer.name} may send {requests.size} requests a minute"
            raise RateLimited(why, retry_s=requests.wait_s(1), told=told.headers())
        tokens = self._bucket(payer.name, "tokens", measure.tokens_per_minute)
        if tokens is not None and tokens.level <= 0:
            why = f"{payer.name} may use {tokens.size} tokens a minute"
            raise RateLimited(why, retry_s=tokens.wait_s(1), told=told.headers())
        if measure.concurrency is not None and self._at_once.get(payer.name, 0) >= measure.concurrency:
            why = f"{payer.name} may have {measure.concurrency} requests under way at a time"
            raise RateLimited(why, retry_s=1.0, told=told.headers())

    def _bucket(self, name: str, kind: str, size: int | None) -> Bucket | None:
        """As it stands now; a bound that was changed begins full."""
        if size is None:
            return None
        now, key = self._clock(), (name, kind)
        bucket = self._buckets.pop(key, None)
        if bucket is None or bucket.size != size:
            bucket = Bucket(size, float(size), now)
        bucket.look(now)
        self._buckets[key] = bucket
        if len(self._buckets) > _MOST_KEPT:
            self._buckets.popitem(last=False)
        return bucket


class WaitingRoom:
    """A bounded number of running turns, and a bounded waiting room in front of them. Belongs to one event loop."""

    def __init__(self, *, running: int, waiting: int, wait_s: float) -> None:
        """
        Args:
            running: turns at a time.
            waiting: requests that wait for one to end.
            wait_s: seconds that one waits at most.
        """
        self._most_running, self._most_waiting, self._wait_s = running, waiting, wait_s
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._followers: set[asyncio.Task[None]] = set()

    def keep(self, follower: asyncio.Task[None]) -> None:
        """Holds on to what follows a turn to its end."""
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)

    @property
    def running(self) -> int:
        return self._running

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def check_room(self) -> None:
        """Raises: Overloaded: the next one could not even wait."""
        if self._running >= self._most_running and len(self._waiting) >= self._most_waiting:
            raise Overloaded(
                f"the server runs {self._running} turns and {len(self._waiting)} wait: send the request again later"
            )

    async def enter(self) -> "Place":
        """A place for one turn, in the order of coming. Raises: Overloaded: the room is full, or none came free in time."""
        self.check_room()
        if self._running < self._most_running and not self._waiting:
            self._running += 1
            return Place(self)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(turn, self._wait_s)
        except BaseException as e:
            if turn.done() and not turn.cancelled():
                self.give_back()  # it came free just when nobody wanted it any more
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(e, TimeoutError):
                told = f"no turn ended within {self._wait_s:g} s: send the request again later"
                raise Overloaded(told) from e
            raise
        return Place(self)

    def give_back(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the place goes from one to the next
                return
        self._running -= 1


class Place:
    """One of the running turns; given back once, whoever asks first."""

    def __init__(self, room: WaitingRoom) -> None:
        self._room: WaitingRoom | None = room

    def give_back(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.give_back()


@contextmanager
def returned_on_error(place: Place) -> Iterator[None]:
    """Until the turn runs, whatever goes wrong gives its place back."""
    try:
        yield
    except BaseException:
        place.give_back()
        raise
