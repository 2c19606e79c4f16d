"""`hone serve`: the server in this process, and how it ends."""

import asyncio
import gc
import os
import socket
from pathlib import Path
from types import FrameType
from typing import Annotated

import structlog
import typer
import uvicorn
from fastapi import FastAPI

from hone.output import console
from runtime.access.keys import Keys
from runtime.app import create_app
from runtime.database import open_database
from runtime.errors import BadSettings
from runtime.services import Services
from runtime.settings import Settings, check_startable, is_loopback, load_settings
from runtime.telemetry.logs import configure_logging

log = structlog.get_logger(__name__)

LAST_BYTES_S = 5
"""What slow readers get, once the turns have ended, to fetch what was said."""
_YOUNG_OBJECTS = 50_000
"""Made and not freed since the garbage collector last looked; a turn makes some thousands that are freed at once."""


def serve(
    model: Annotated[str | None, typer.Option(help="Folder or hub name of the base model.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind; only loopback while no keys exist.")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any free one.")] = None,
    home: Annotated[Path | None, typer.Option(help="Where state lives.")] = None,
) -> None:
    """Serve chat, tools and traces over HTTP."""
    given = {"model": model, "host": host, "port": port, "home": home}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    check_startable(settings, has_keys=_has_keys(settings))
    run(create_app(settings), settings)


def _has_keys(settings: Settings) -> bool:
    """Only asked where it matters, so that a database which cannot be opened is told of by the server."""
    if is_loopback(settings.host):
        return True
    engine = open_database(settings.database)
    try:
        return Keys(engine).exist()
    finally:
        engine.dispose()


def run(app: FastAPI, settings: Settings) -> None:
    """Serves an app of `create_app` until the process is told to stop."""
    configure_logging(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,  # its lines go where ours go
        access_log=False,  # ours says more, and no paths
        log_level="warning",
        timeout_graceful_shutdown=LAST_BYTES_S,
    )
    listening = _listen(config)  # before it is named: with port 0 only the system knows which port it is
    console.print(f"hone on http://{settings.host}:{listening.getsockname()[1]}")
    _Server(config, app, settings).run(sockets=[listening])
    log.info("stopped")


class _Server(uvicorn.Server):
    """Ends in two steps: told to stop, it goes on answering, but new turns and the question whether it is ready with no, until the
    running turns have ended or their time is over; then it closes. Told again, it ends at once, as if it were killed."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: Settings) -> None:
        super().__init__(config)
        self._app = app
        self._grace_s = settings.shutdown_grace_s
        self._told = False
        self._ending: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        _spare_the_collector()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal handler. uvicorn's own would raise the signal once more at the end, and so change the exit code."""
        if self._told:
            os._exit(128 + sig)
        self._told = True
        if self.started:
            self._services.turns.stop_taking()
        else:
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        if self._told and self._ending is None:
            running = self._services.turns.running
            log.info("stopping", turns=running, grace_s=self._grace_s)
            self._ending = asyncio.create_task(self._services.turns.close(grace_s=self._grace_s), name="end-turns")
        if self._ending is not None and self._ending.done() and not self.should_exit:
            log.info("turns ended")
            self.should_exit = True
        return await super().on_tick(counter)

    @property
    def _services(self) -> Services:
        return self._app.state.services


def _spare_the_collector() -> None:
    """Of all that the libraries made at the start nothing will ever be garbage, and looking through it again and again took a
    quarter of the processor (`docs/log.md`). Later objects are looked through as always, less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)


def _listen(config: uvicorn.Config) -> socket.socket:
    try:
        listening = config.bind_socket()
    except SystemExit as e:  # uvicorn's way of saying that the address cannot be had
        raise BadSettings(
            f"cannot listen on {config.host}:{config.port}: stop what listens there, or give another --port (0: any free one)"
        ) from e
    # Taken over by each connection. asyncio sets it by itself only on sockets that were made with TCP's name, which this one
    # was not; without it the body of an answer waits some 40 ms for the client to acknowledge the head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
