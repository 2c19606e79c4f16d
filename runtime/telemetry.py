"""Logging: structlog, one line per event, to standard error."""

import logging
import sys
from typing import Any

import structlog

from runtime.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Sets up structlog for the process; called once, by whoever owns the process."""
    for library in ("httpx2", "httpcore2"):  # below, they log whole addresses and headers: a tool's key may be in them
        logging.getLogger(library).setLevel(logging.WARNING)
    last: Any = (
        structlog.processors.JSONRenderer() if settings.log_json else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.log_level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
