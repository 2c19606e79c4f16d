"""Logging: one line for each event, to standard error, whether it is ours or a library's.

No line holds a secret or a user's words. Our own events name ids, kinds and counts; of an exception the frames and the kind are
told, and its message only where it speaks of this server (`runtime.errors.told`); libraries are heard from WARNING on.
"""

import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import structlog
from opentelemetry import trace as otel
from structlog.typing import EventDict, Processor

from runtime.errors import told
from runtime.settings import Settings

OURS = ("runtime", "tools", "learner", "hone")
"""Packages whose loggers follow `log_level`."""


def configure_logging(settings: Settings) -> None:
    """Sets up logging for the process; called once, by whoever owns the process. Called again, it takes its own place."""
    as_json = settings.log_format == "json" if settings.log_format else not sys.stderr.isatty()
    last: Processor = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    level = logging.getLevelName(settings.log_level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_the_span,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _Pipe()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _tell_exception, last],
            keep_exc_info=True,
        )
    )
    root = logging.getLogger()
    for earlier in [each for each in root.handlers if isinstance(each, _Pipe)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for package in OURS:
        logging.getLogger(package).setLevel(level)
    for library in ("httpx2", "httpcore2"):  # below, they log whole addresses and headers: a tool's key may be in them
        logging.getLogger(library).setLevel(logging.WARNING)


class _Pipe(logging.Handler):
    """The one handler of the process; it writes to what is standard error at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:  # as in logging's own handlers: a line that cannot be written stops nothing
            self.handleError(record)


def _name_the_span(logger: Any, method: str, event: EventDict) -> EventDict:
    """Ties the line to the OpenTelemetry span in which it was written, if there is one."""
    context = otel.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = otel.format_trace_id(context.trace_id)
        event["span_id"] = otel.format_span_id(context.span_id)
    return event


def _tell_exception(logger: Any, method: str, event: EventDict) -> EventDict:
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_lines(error, set()))
    return event


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    """Frames and kinds, the causes first, as Python prints them but without foreign messages."""
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield "which led to"
    yield from (line.rstrip() for line in traceback.format_tb(error.__traceback__))
    yield told(error)
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _lines(part, seen)
