"""`hone serve`: the server in this process."""

import socket
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from hone.output import console
from runtime.app import create_app
from runtime.errors import BadSettings
from runtime.settings import check_startable, load_settings
from runtime.telemetry import configure_logging


def serve(
    model: Annotated[str | None, typer.Option(help="Folder or hub name of the base model.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind; only loopback while no keys exist.")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any free one.")] = None,
    home: Annotated[Path | None, typer.Option(help="Where state lives.")] = None,
) -> None:
    """Serve chat, tools and traces over HTTP."""
    given = {"model": model, "host": host, "port": port, "home": home}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    check_startable(settings)
    configure_logging(settings)
    app = create_app(settings)
    config = uvicorn.Config(app, host=settings.host, port=settings.port, log_level="warning")
    listening = _listen(config)  # before it is named: with port 0 only the system knows which port it is
    console.print(f"hone on http://{settings.host}:{listening.getsockname()[1]}")
    uvicorn.Server(config).run(sockets=[listening])


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
