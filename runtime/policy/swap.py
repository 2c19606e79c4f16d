"""`LivePolicy`: follows the deployment pointer, so that the adapter it names serves, without a restart.

Each poll looks where the pointer stands. An adapter that is not resident is checked, loaded and attested before it
serves; one that fails is unloaded and refused, and what served goes on serving. A turn holds a `lease` on the adapter
it began with, which stays resident until the turn ends. Adapters that served lately stay too, so that going back is at
once. This module moves nothing in the deployment: which adapter should serve is for others to say.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

import structlog

from runtime.database import utc_now
from runtime.errors import AdapterRejected, PolicyError, PolicyUnavailable
from runtime.policy.attest import MIN_CHANGE, TOLERANCE, attest
from runtime.policy.base import Policy
from runtime.policy.deployment import AdapterRecord
from runtime.policy.manifest import Probe, verify_adapter

_log = structlog.get_logger(__name__)


class Pointer(Protocol):
    """The part of `runtime.policy.deployment.Deployment` that is followed."""

    def current(self) -> AdapterRecord | None: ...


class Scorer(Protocol):
    """The part of a policy that proves what it serves."""

    async def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, adapter: str | None = None
    ) -> tuple[float, ...]: ...


@runtime_checkable
class Replicated(Protocol):
    """A policy of several servers, each of which must prove what it serves."""

    @property
    def replicas(self) -> Sequence[Scorer]: ...


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """What answers a turn."""

    name: str | None
    """None: the base model."""
    sha256: str | None


BASE = ServedAdapter(None, None)


@dataclass(frozen=True, slots=True)
class SwapStatus:
    served: ServedAdapter
    resident: tuple[str, ...]
    """Least lately served first."""
    refused: dict[str, str]
    """Adapter → why it does not serve."""
    waiting_for: str | None
    """The adapter that the pointer names, when it does not serve yet."""
    last_error: str | None
    """Of the last poll: what kept it from following the pointer; None when nothing did."""
    swaps: int
    since: datetime
    """UTC; when it began to serve here."""


class LivePolicy:
    """The adapter that serves, kept where the deployment pointer stands."""

    def __init__(
        self,
        policy: Policy,
        deployment: Pointer,
        *,
        poll_s: float = 0.25,
        recheck_s: float = 5.0,
        max_resident: int = 4,
        tolerance: float = TOLERANCE,
        min_change: float = MIN_CHANGE,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """
        Args:
            poll_s: seconds between two looks at the pointer.
            recheck_s: seconds between two looks at what the policy holds: a restarted server has lost its adapters.
            max_resident: adapters kept resident, leased ones beyond that; at least 2.
            tolerance, min_change: as in `runtime.policy.attest`.
        """
        self._policy = policy
        self._deployment = deployment
        self._poll_s = poll_s
        self._recheck_s = recheck_s
        self._max_resident = max_resident
        self._tolerance = tolerance
        self._min_change = min_change
        self._clock = clock
        self._now = now
        self._served = BASE
        self._since = now()
        self._resident: dict[str, ServedAdapter] = {}
        self._leases: Counter[str] = Counter()
        self._refused: dict[ServedAdapter, str] = {}
        self._target: str | None = None
        self._last_error: str | None = None
        self._swaps = 0
        self._checked_at = clock()
        self._lock = asyncio.Lock()

    @property
    def policy(self) -> Policy:
        return self._policy

    def current(self) -> ServedAdapter:
        """What a turn that begins now is answered by; `lease` also keeps it resident."""
        return self._served

    @contextmanager
    def lease(self) -> Iterator[ServedAdapter]:
        """What serves now, resident until the block ends."""
        served = self._served
        if served.name is None:
            yield served
            return
        self._leases[served.name] += 1
        try:
            yield served
        finally:
            self._leases[served.name] -= 1

    def status(self) -> SwapStatus:
        return SwapStatus(
            served=self._served,
            resident=tuple(self._resident),
            refused={adapter.name or "": reason for adapter, reason in self._refused.items()},
            waiting_for=self._target if self._target != self._served.name else None,
            last_error=self._last_error,
            swaps=self._swaps,
            since=self._since,
        )

    async def run(self) -> None:
        """Polls until it is cancelled."""
        while True:
            try:
                await self.refresh()
            # Database drivers raise errors of many kinds; serving goes on as it is, and the next poll may do better.
            except Exception as e:
                self._fail(f"{type(e).__name__}: {e}")
            await asyncio.sleep(self._poll_s)

    async def refresh(self) -> ServedAdapter:
        """One poll: follows the pointer if it can, and returns what serves then.

        A refused adapter and a policy that cannot be reached are no errors here: `status` tells of them. The
        deployment's own errors are raised.
        """
        async with self._lock:
            record = await asyncio.to_thread(self._deployment.current)
            self._target = None if record is None else record.name
            try:
                await self._recheck()
                if record is None:
                    self._switch(BASE)
                else:
                    await self._follow(record)
            except PolicyError as e:
                self._fail(str(e))
            else:
                self._last_error = None
            return self._served

    async def _follow(self, record: AdapterRecord) -> None:
        wanted = ServedAdapter(record.name, record.sha256)
        if wanted in self._refused:
            return
        if self._resident.get(record.name) != wanted:
            try:
                await self._bring_in(record)
            except PolicyUnavailable:
                raise  # says nothing about the adapter: tried again at the next poll
            except PolicyError as e:
                self._refused[wanted] = str(e)
                _log.error("adapter refused", adapter=record.name, reason=str(e), serving=self._served.name)
                return
            self._resident[record.name] = wanted
        self._switch(wanted)

    async def _bring_in(self, record: AdapterRecord) -> None:
        """Checks, loads and attests. Raises: PolicyError: then it is not resident."""
        manifest = await asyncio.to_thread(verify_adapter, record.path)
        if manifest.sha256 != record.sha256:
            raise AdapterRejected(
                f"adapter {str(record.path)!r} has sha256 {manifest.sha256[:8]}…, "
                f"the deployment says {record.sha256[:8]}…: publish it again"
            )
        await self._make_room()
        await self._policy.load_adapter(record.name, record.path)
        try:
            await self._attest(record.name, manifest.probes)
        except BaseException:
            await self._policy.unload_adapter(record.name)
            raise

    async def _attest(self, name: str, probes: Sequence[Probe]) -> None:
        trained = [probe.logprobs for probe in probes]
        replicas = self._policy.replicas if isinstance(self._policy, Replicated) else [self._policy]
        for replica in replicas:
            before = {"the base model": await _score(replica, probes, None)}
            previous = self._served.name
            if previous is not None and previous != name:
                before[f"adapter {previous!r}"] = await _score(replica, probes, previous)
            served = await _score(replica, probes, name)
            found = attest(trained, served, before, tolerance=self._tolerance, min_change=self._min_change)
            if not found.ok:
                raise AdapterRejected(f"adapter {name!r} is not attested: {found.reason}")
            _log.info("adapter attested", adapter=name, max_abs_diff=found.max_abs_diff, change=found.min_change)

    async def _make_room(self) -> None:
        """Unloads the adapters that served longest ago, until one more may come; never one that is in use."""
        for name in list(self._resident):
            if len(self._resident) < self._max_resident:
                return
            if name != self._served.name and not self._leases[name]:
                del self._resident[name]
                await self._policy.unload_adapter(name)

    async def _recheck(self) -> None:
        """Forgets adapters that the policy has lost, so that they are loaded and attested again."""
        now = self._clock()
        if now - self._checked_at < self._recheck_s or not self._resident:
            return
        held = await self._policy.adapters()
        self._checked_at = now
        for name in [name for name in self._resident if name not in held]:
            _log.warning("adapter lost by the policy", adapter=name)
            del self._resident[name]
        if self._served.name is not None and self._served.name not in self._resident:
            self._switch(BASE)

    def _switch(self, wanted: ServedAdapter) -> None:
        if wanted == self._served:
            return
        if wanted.name is not None:
            self._resident[wanted.name] = self._resident.pop(wanted.name)  # to the end: served last
        _log.info("adapter swapped", adapter=wanted.name, sha256=wanted.sha256, before=self._served.name)
        self._served = wanted
        self._swaps += 1
        self._since = self._now()

    def _fail(self, error: str) -> None:
        if error != self._last_error:  # once, not at each poll
            _log.warning("deployment pointer not followed", error=error, serving=self._served.name)
        self._last_error = error


async def _score(scorer: Scorer, probes: Sequence[Probe], adapter: str | None) -> list[tuple[float, ...]]:
    scores = (scorer.score(probe.prompt_ids, probe.completion_ids, adapter=adapter) for probe in probes)
    return list(await asyncio.gather(*scores))
