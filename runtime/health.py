"""What a server needs to serve a turn, each part asked whether it is there; what is not names its remedy.

A part that is *required* makes the server not ready when it fails; the others take something away (a tool, a replica, the newest
adapter) while turns are served all the same.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from sqlalchemy.exc import SQLAlchemyError

from runtime.database import check_current
from runtime.errors import PolicyError, StoreError
from runtime.services import Services
from runtime.settings import Settings
from tools.errors import ToolError
from tools.transport import public_form

ANSWER_LIMIT_S = 5.0
"""A part that has said nothing by then counts as failed."""
MB = 1_000_000


class PartStatus(StrEnum):
    OK = "ok"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    status: PartStatus
    required: bool
    problem: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    problem: str
    remedy: str


Check = Callable[[], Awaitable[Fault | None]]


class Server(Protocol):
    """One of several that stand behind the policy."""

    @property
    def url(self) -> str: ...

    async def resident(self) -> object: ...


@runtime_checkable
class Served(Protocol):
    """A policy of servers that answer for themselves."""

    @property
    def replicas(self) -> Sequence[Server]: ...


async def examine(hone: Services) -> list[Part]:
    """All parts, asked at the same time."""
    required: dict[str, Check] = {
        "turns": lambda: _turns(hone),
        "database": lambda: _database(hone),
        "disk": lambda: _disk(hone.settings),
        "model": lambda: _model(hone),
        **{
            f"{name} follower": lambda task=task, name=name: _follower(name, task)
            for name, task in hone.followers.items()
        },
    }
    others: dict[str, Check] = {"secrets": lambda: _secrets(hone), "adapter": lambda: _adapter(hone)}
    if isinstance(hone.policy, Served):
        for replica in hone.policy.replicas:
            others[f"vllm {public_form(replica.url)}"] = lambda replica=replica: _replica(replica)
    asked = [(name, True, check) for name, check in required.items()]
    asked += [(name, False, check) for name, check in others.items()]
    return list(await asyncio.gather(*(_part(*each) for each in asked)))


async def _part(name: str, required: bool, check: Check) -> Part:
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            fault = await check()
    except TimeoutError:
        fault = Fault(
            f"no answer within {ANSWER_LIMIT_S:g} s", "see whether the machine is overloaded; else restart it"
        )
    if fault is None:
        return Part(name, PartStatus.OK, required)
    return Part(name, PartStatus.FAILED, required, fault.problem, fault.remedy)


async def _turns(hone: Services) -> Fault | None:
    if not hone.turns.is_stopping:
        return None
    return Fault(
        "the server is stopping and takes no new turns", "send requests to another server, or wait for the next"
    )


async def _database(hone: Services) -> Fault | None:
    try:
        behind = await asyncio.to_thread(check_current, hone.engine)
    except StoreError as e:
        return Fault(str(e), "start the database, or correct HONE_DATABASE_URL")
    return Fault(behind, "restart the server: it brings the database up to date") if behind else None


async def _disk(settings: Settings) -> Fault | None:
    try:
        free_mb = (await asyncio.to_thread(shutil.disk_usage, settings.home)).free // MB
    except OSError as e:
        return Fault(f"{settings.home} cannot be read: {e.strerror}", "mount or restore the folder (HONE_HOME)")
    if free_mb >= settings.disk_floor_mb:
        return None
    problem = f"{free_mb} MB are free where {settings.home} lies, the floor is {settings.disk_floor_mb} MB"
    return Fault(problem, "make room, or lower HONE_DISK_FLOOR_MB")


async def _model(hone: Services) -> Fault | None:
    try:
        await hone.policy.adapters()
    except PolicyError as e:
        remedy = "start a vLLM server, or correct HONE_VLLM_URLS" if hone.settings.vllm_urls else "restart the server"
        return Fault(str(e), remedy)
    return None


async def _follower(name: str, task: asyncio.Task[None]) -> Fault | None:
    return Fault(f"the task that follows the {name} has stopped", "restart the server") if task.done() else None


async def _secrets(hone: Services) -> Fault | None:
    try:
        problem = await asyncio.to_thread(hone.secrets.problem)
    except (ToolError, SQLAlchemyError):
        return Fault("the stored secrets cannot be read", "see the part database")
    return Fault(problem, "put the master key back (HONE_MASTER_KEY, or master.key in HONE_HOME)") if problem else None


async def _adapter(hone: Services) -> Fault | None:
    """Whether what serves is what the deployment names."""
    status = hone.live.status()
    if status.last_error is not None:
        return Fault(
            f"the deployment is not followed: {status.last_error}", "mend what it names; the next look is soon"
        )
    if status.waiting_for is None:
        return None
    reason = status.refused.get(status.waiting_for, "it is being loaded")
    remedy = "hone adapters rollback, or promote another"
    return Fault(f"{status.waiting_for} should serve and does not: {reason}", remedy)


async def _replica(replica: Server) -> Fault | None:
    try:
        await replica.resident()
    except PolicyError as e:
        return Fault(str(e), "start this server, or take it out of HONE_VLLM_URLS")
    return None
